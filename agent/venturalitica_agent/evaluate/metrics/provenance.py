"""How the parts of an audit fit together: data and model, what the run said and what is measured, what is proven."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from venturalitica_agent.domain.needs import measured
from venturalitica_agent.domain.policy import Control
from venturalitica_agent.domain.subject import DigestCheck, Problem
from venturalitica_agent.domain.verdict import Interval
from venturalitica_agent.evaluate.coding import listing
from venturalitica_agent.evaluate.intervals import Floats
from venturalitica_agent.evaluate.metrics.estimate import Estimate, census
from venturalitica_agent.evaluate.sample import Sample
from venturalitica_agent.evaluate.undefined import Undefined

_WHOLE, _NUMBER, _TRUTH, _TEXT, _TIME = "whole numbers", "numbers", "true and false", "text", "times"
# What a column may hold, by the type that the signature gives it. Whole numbers are numbers, and safely widened.
_FITTING = {
    "integer": (_WHOLE,),
    "long": (_WHOLE,),
    "float": (_WHOLE, _NUMBER),
    "double": (_WHOLE, _NUMBER),
    "boolean": (_TRUTH,),
    "string": (_TEXT,),
    "datetime": (_TIME,),
}


def schema_match(control: Control, sample: Sample) -> Estimate:
    """Columns of the model's signature that the data hold in a fitting kind / columns of the signature. Exact.

    Columns that the signature doesn't name don't count.
    """
    model, table = sample.background.subject.model, sample.background.table
    if model is None:
        problem = sample.background.subject.problems.get("model") or Problem("there is no model")
        raise Undefined(problem.what, remedy=problem.remedy)
    if not model.inputs:
        raise Undefined(
            "the model was logged without the names of its input columns",
            remedy="log the model with `signature=infer_signature(…)` or an `input_example`",
        )
    kinds = dict(zip(model.inputs, model.input_kinds, strict=False))
    there = [name for name in kinds if table.columns.count(name) == 1]
    held: dict[str, set[str]] = {name: set() for name in there}
    for piece in table.pieces(there) if there else ():
        for name, found in held.items():
            found.add(_kind(piece[name]))
    wrong = [
        words
        for name in model.inputs
        if (words := _mismatch(name, kinds.get(name, ""), table.columns.count(name), held.get(name, set())))
    ]
    value = 1 - len(wrong) / len(model.inputs)
    notes = (f"{len(wrong)} of {len(model.inputs)} columns don't fit: {'; '.join(wrong[:12])}",) if wrong else ()
    return Estimate(value=value, interval=census(value, control.level), n=sample.n, notes=notes)


def _mismatch(name: str, kind: str, times: int, held: set[str]) -> str:
    """Why a column of the signature, which the data have so many times, is not what they hold; empty when it is."""
    if times != 1:
        return f"{name!r} is {'there more than once' if times else 'not there'}"
    if kind not in _FITTING:
        return f"{name!r} has the type {kind or 'unknown'} in the signature, which can't be checked"
    kinds = held - {""} or {""}
    kinds -= {_WHOLE} if _NUMBER in kinds else set()  # whole numbers are numbers
    if kinds <= set(_FITTING[kind]):
        return ""
    return f"{name!r} holds {' and '.join(sorted(kinds)) or 'no value'}, the signature says {kind}"


def _kind(series: pd.Series[Any]) -> str:
    """What a column holds; empty for nothing. Whole numbers that pandas keeps as floats, for some miss, are whole."""
    values = series.dropna()
    if values.empty:
        return ""
    match pd.api.types.infer_dtype(values, skipna=True):
        case "boolean":
            return _TRUTH
        case "integer":
            return _WHOLE
        case "floating" | "mixed-integer-float":
            floats = values.to_numpy(dtype=float)
            return _WHOLE if (np.isfinite(floats) & (floats == np.floor(floats))).all() else _NUMBER
        case "decimal":
            return _NUMBER
        case "string":
            return _TEXT
        case "categorical":
            return _kind(values.astype(object))
        case "datetime64" | "datetime" | "date":
            return _TIME
        case other:
            return f"values of kind {other}"


def declared_difference(control: Control, sample: Sample) -> Estimate:
    """|value that the run logged − our measurement|. The logged value is a constant, so the interval is the set of its
    distances from the measurement's interval.

    The run logs a number once more whenever it likes: the last one counts.
    """

    def apart(low: Floats, high: Floats, told: float) -> tuple[Floats, Floats]:
        nearest = np.maximum(0.0, np.maximum(low - told, told - high))
        return nearest, np.maximum(np.abs(low - told), np.abs(high - told))

    return _beside_logged(control, sample, apart)


def declared_shortfall(control: Control, sample: Sample) -> Estimate:
    """By how much our measurement is worse than the value that the run logged; under 0 where it is better.

    One-sided, as `declared_difference` is two-sided: a model that does better than was said passes.
    """
    higher = measured(control).better == "higher"

    def short(low: Floats, high: Floats, told: float) -> tuple[Floats, Floats]:
        return (told - high, told - low) if higher else (low - told, high - told)

    return _beside_logged(control, sample, short)


Beside = Callable[[Floats, Floats, float], tuple[Floats, Floats]]
"""From the ends of a measurement's interval, and the logged value, to those of a comparison; both ends alike give its
value."""


def _beside_logged(control: Control, sample: Sample, compare: Beside) -> Estimate:
    from venturalitica_agent.evaluate.metrics import REGISTRY  # this is one of them

    spec = measured(control)
    if spec.name not in REGISTRY or spec.name == control.metric:
        raise Undefined("the control doesn't say which metric was logged", remedy="add `of_metric:` to the control")
    told = sample.background.logged.get(control.logged)
    if told is None:
        raise Undefined(
            f"the run logged no metric {control.logged!r}",
            remedy=f"log it, or correct `logged:`; the run logged {listing(sorted(sample.background.logged), 20)}",
        )
    if not (math.isfinite(told) and spec.low <= told <= spec.high):
        raise Undefined(
            f"the run logged {control.logged} = {told:g}, and {spec.name} ranges from {spec.low:g} to {spec.high:g}",
            remedy="log the value on the scale of the metric",
        )
    own = REGISTRY[spec.name](replace(control, metric=spec.name), sample)

    def between(low: float, high: float) -> tuple[float, float]:
        nearest, farthest = compare(np.array(low), np.array(high), told)
        return float(nearest), float(farthest)

    def ends(factor: Floats) -> tuple[float, float]:
        return between(*own.growth.ends(factor)) if own.growth else (-math.inf, math.inf)

    def resample(rng: np.random.Generator, times: int) -> Floats:
        drawn = own.resample(rng, times) if own.resample else np.full(times, own.value)
        return compare(drawn, drawn, told)[0]

    low, high = between(own.interval.low, own.interval.high)
    return replace(
        own,
        value=between(own.value, own.value)[0],
        interval=replace(own.interval, low=low, high=high),
        extremes=None,
        notes=(f"the run logged {control.logged} = {told:.6g}, measured is {own.value:.6g}", *own.notes),
        resample=own.resample and resample,
        growth=own.growth and replace(own.growth, ends=ends),
    )


def evidence_completeness(control: Control, sample: Sample) -> Estimate:
    """Parts found and verified / parts that the policy's other controls look at. Exact: they are counted.

    Parts are the model; each table; each table's digest, verified when it is the one that the tracker recorded; and the
    column of each role, verified unless it was bound by a synonym. What was not looked at is no part.
    """
    parts = dict(_parts(sample))
    if not parts:
        raise Undefined(
            "no other control of the policy looks at a model or at data",
            remedy="add the controls whose evidence is to be complete",
        )
    missing = [f"{part} ({why})" for part, why in parts.items() if why]
    value = 1 - len(missing) / len(parts)
    return Estimate(
        value=value,
        interval=Interval(value, value, control.level, "exact count of the parts"),
        n=len(parts),
        notes=(f"not found or not verified: {'; '.join(missing)}",) if missing else (),
    )


def _parts(sample: Sample) -> Iterator[tuple[str, str]]:
    """Each part with what is wrong with it; empty where nothing is."""
    subject, needs = sample.background.subject, sample.background.needs
    problems = {part: problem.what for part, problem in subject.problems.items()}
    if subject.model is not None or "model" in problems:
        yield "the model", problems.get("model", "")
    for split in sorted(needs.splits):
        data = subject.data.get(split.value)
        gone = problems.get(split.value, "" if data else "there are none")
        yield f"the {split.value} data", gone
        proven = data is not None and data.check is DigestCheck.MATCH
        reason = data.check_reason if data else gone
        yield f"the digest of the {split.value} data", "" if proven else reason or "it was not compared"
    wanted = {role for split in needs.splits.values() for role in split.columns}
    bound = subject.binding
    for role in sorted(wanted | {role for role in needs.predictions if role in bound or f"role:{role}" in problems}):
        found = "it was guessed from a synonym" if role in bound and bound[role].how == "inferred" else ""
        lost = "" if role in bound else "it is bound to no column"
        yield f"the column of {role}", problems.get(f"role:{role}", "") or lost or found
