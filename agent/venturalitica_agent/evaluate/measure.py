"""One control measured on one sample: a number with its interval, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

import numpy as np

from venturalitica_agent.domain.metric import METRICS, MetricSpec, Need
from venturalitica_agent.domain.needs import measured
from venturalitica_agent.domain.policy import Control, DecideOn, Outcome
from venturalitica_agent.domain.subject import Problem
from venturalitica_agent.domain.verdict import Measurement, Status, Unmeasured
from venturalitica_agent.evaluate.decision import by_interval
from venturalitica_agent.evaluate.grouping import MISSING_GROUP, OTHER_GROUP
from venturalitica_agent.evaluate.metrics import REGISTRY
from venturalitica_agent.evaluate.metrics.estimate import Estimate
from venturalitica_agent.evaluate.metrics.own import own_metric
from venturalitica_agent.evaluate.planning import rows_needed
from venturalitica_agent.evaluate.sample import Sample
from venturalitica_agent.evaluate.undefined import Undefined

RESAMPLES = 1000


def measure(control: Control, sample: Sample) -> Measurement | Unmeasured:
    """The control's metric on `sample`. The same input gives the same output, to the last bit."""
    spec = METRICS.get(control.metric)
    if spec is None:
        return unmeasured(
            control, Problem(f"there is no metric {control.metric!r}", "correct `metric:` of the control")
        )
    if sample.n == 0:
        return unmeasured(control, Problem("the table has no rows", "audit on data that has rows"))
    parts = list(_parts(control, measured(control)))
    for part in parts:
        problem = _problem(control, sample, part)
        if problem is not None:
            return unmeasured(control, problem)
    try:
        estimate = (own_metric if spec.origin else REGISTRY[spec.name])(control, sample)
    except Undefined as nothing:
        return Unmeasured(control.id, control.metric, nothing.what, nothing.remedy)
    flip_rate, flip_notes = _flip_rate(control, estimate)
    noted = [note for part in parts for note in sample.notes.get(part, ())]
    if Need.GROUPS in spec.needs:
        noted += sample.grouping(control.roles).notes
    return Measurement(
        control=control.id,
        metric=control.metric,
        value=estimate.value,
        interval=estimate.interval,
        n=estimate.n,
        groups=estimate.groups,
        rate=estimate.rate,
        reference=estimate.reference,
        extremes=estimate.extremes,
        flip_rate=flip_rate,
        small_groups=estimate.small_groups,
        needed=_needed(control, estimate),
        notes=(*estimate.notes, *noted, *flip_notes),
    )


def unmeasured(control: Control, problem: Problem) -> Unmeasured:
    """A control whose data, model or column is not there, in the words of what is wrong with it."""
    return Unmeasured(control.id, control.metric, problem.what, problem.remedy)


def _parts(control: Control, spec: MetricSpec) -> Iterator[str]:
    """The parts of a sample that the control can't do without, by their key in `Sample.problems`."""
    outcome = "labels" if control.of is Outcome.LABELS else "predictions"
    of_need = {
        Need.LABELS: "labels",
        Need.PREDICTIONS: "predictions",
        Need.OUTCOME: outcome,
        Need.SCORES: "scores",
        Need.PROBABILITIES: "probabilities",
        Need.TRUTH: "truth",
        Need.ESTIMATES: "estimates",
        Need.CELLS: "cells",
    }
    yield from (part for need, part in of_need.items() if need in spec.needs)
    if Need.GROUPS in spec.needs:
        yield from (f"role:{role}" for role in control.roles or (None,))
    if spec.positive:
        yield "positive"


def _problem(control: Control, sample: Sample, part: str) -> Problem | None:
    if part in sample.problems:
        return sample.problems[part]
    if part.startswith("role:") and control.role is None:
        return Problem("the control names no group role", "add `role:` to the control")
    role = part.removeprefix("role:")
    if role != part and role not in sample.groups:
        return Problem(f"no column is bound to the role {role!r}", f"add {role!r} to `columns:` in agent.yaml")
    return None


def _needed(control: Control, estimate: Estimate) -> dict[str, int]:
    """Rows to the minimum of each small group, and rows to a decision where the interval straddles the threshold."""
    sizes = {stat.group: stat.n for stat in estimate.groups}
    unknown = (MISSING_GROUP, OTHER_GROUP)
    needed = {name: control.min_group - sizes[name] for name in estimate.small_groups if name not in unknown}
    if control.decide_on is DecideOn.POINT or estimate.growth is None:
        return needed

    def decided(low: float, high: float) -> bool:
        return by_interval(control.require, low, high) is not Status.INCONCLUSIVE

    if not decided(estimate.interval.low, estimate.interval.high):
        needed |= rows_needed(estimate.growth, decided)
    return needed


def _flip_rate(control: Control, estimate: Estimate) -> tuple[float | None, tuple[str, ...]]:
    """How often another sample of the same kind would turn the decision on the point around, and how that was found."""
    if control.decide_on is not DecideOn.POINT:
        return None, ()
    if estimate.resample is None:
        return 0.0, ()
    seed = int.from_bytes(sha256(control.id.encode()).digest()[:4], "big")
    values = estimate.resample(np.random.default_rng(seed), RESAMPLES)
    values = values[np.isfinite(values)]
    if not len(values):
        return None, ()
    here = control.require.op.holds(estimate.value, control.require.threshold)
    flips = sum(control.require.op.holds(float(v), control.require.threshold) is not here for v in values)
    return flips / len(values), (f"flip rate from {len(values)} multinomial resamples, seed {seed}",)
