"""Metrics of users' packages: what they are handed, and what they told as a measurement like any other."""

from __future__ import annotations

from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from venturalitica_agent.domain.metric import METRICS, Need
from venturalitica_agent.domain.own_metric import Handed
from venturalitica_agent.domain.policy import Control
from venturalitica_agent.domain.subject import Problem
from venturalitica_agent.domain.verdict import GroupStat, Interval
from venturalitica_agent.evaluate.coding import Coded
from venturalitica_agent.evaluate.metrics.estimate import Estimate, left_out
from venturalitica_agent.evaluate.sample import Sample
from venturalitica_agent.evaluate.undefined import Undefined, given

_Plain = str | int | float | bool


def handed(control: Control, sample: Sample, levels: tuple[float, ...]) -> Handed:
    """What the control's metric is given: the rows that have everything it needs.

    Raises:
        Undefined: a part is not there at all, or no row has all of them.
    """
    spec = METRICS[control.metric]
    whole = _whole(control, sample)
    codes = {name: coded for name, coded in _coded(control, sample).items() if Need[name.upper()] in spec.needs}
    numbers = {
        name: given(array, Need[name.upper()].value)
        for name, array in (("scores", sample.scores), ("truth", sample.truth), ("estimates", sample.estimates))
        if Need[name.upper()] in spec.needs
    }
    if not whole.any():
        raise Undefined("no row has everything that the metric needs", remedy="audit on data that has such rows")
    seed = int.from_bytes(sha256(control.id.encode()).digest()[:4], "big")
    return Handed(
        arrays={name: coded.codes[whole].astype(np.int64) for name, coded in codes.items()}
        | {name: array[whole] for name, array in numbers.items()},
        values={name: tuple(_plain(v) for v in coded.values) for name, coded in codes.items()},
        positive=_plain(sample.positive) if spec.positive and sample.positive is not None else None,
        levels=levels,
        seed=seed,
    )


def own_metric(control: Control, sample: Sample) -> Estimate:
    """What the metric told of the rows that it was handed, at the control's level. A group under `min_group` is handed
    over like the others, and keeps the control from being decided."""
    told = sample.told.get(control.id)
    if isinstance(told, Problem):
        raise Undefined(told.what, remedy=told.remedy)
    told = given(told, "answers of this metric")
    if control.level not in told.ends:
        raise Undefined(f"the metric was not asked for an interval of {control.level * 100:.4g} %")
    low, high = told.ends[control.level]
    n = int(_whole(control, sample).sum())
    groups, small = _groups(control, sample)
    return Estimate(
        value=told.value,
        interval=Interval(low, high, control.level, told.method),
        n=n,
        groups=groups,
        rate="",
        small_groups=small,
        notes=(*told.notes, *left_out(sample.n, n, "value for each column that the metric needs")),
    )


def _whole(control: Control, sample: Sample) -> NDArray[np.bool_]:
    """(n,) which rows have all parts that the metric needs."""
    needs = METRICS[control.metric].needs
    whole = np.ones(sample.n, dtype=bool)
    for name, coded in _coded(control, sample).items():
        if Need[name.upper()] in needs:
            whole &= coded.codes >= 0
    for need, numbers in ((Need.SCORES, sample.scores), (Need.TRUTH, sample.truth), (Need.ESTIMATES, sample.estimates)):
        if need in needs:
            whole &= ~np.isnan(given(numbers, need.value))
    return whole


def _coded(control: Control, sample: Sample) -> dict[str, Coded]:
    """Labels, predictions and groups, as far as the metric needs them."""
    needs = METRICS[control.metric].needs
    found = {}
    if Need.LABELS in needs:
        found["labels"] = given(sample.labels, "labels")
    if Need.PREDICTIONS in needs:
        found["predictions"] = given(sample.predictions, "predictions")
    if Need.GROUPS in needs:
        grouping = sample.grouping(control.roles)
        found["groups"] = Coded(grouping.codes.astype(np.int64), tuple(grouping.names))
    return found


def _groups(control: Control, sample: Sample) -> tuple[tuple[GroupStat, ...], tuple[str, ...]]:
    if Need.GROUPS not in METRICS[control.metric].needs:
        return (), ()
    grouping = sample.grouping(control.roles)
    sizes = np.bincount(grouping.codes, minlength=len(grouping.names))
    stats = tuple(
        GroupStat(name, int(size), compared=bool(enough), reason="" if enough else f"n={size} < {control.min_group}")
        for name, size, enough in zip(grouping.names, sizes, sizes >= control.min_group, strict=True)
    )
    return stats, tuple(stat.group for stat in stats if not stat.compared)


def _plain(value: object) -> _Plain:
    """A class as JSON can carry it."""
    found = value.item() if isinstance(value, np.generic) else value
    return found if isinstance(found, str | int | float | bool) else str(found)
