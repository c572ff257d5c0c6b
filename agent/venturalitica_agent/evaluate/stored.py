"""Answers for a policy from measurements that were made for another version of it, without model and data.

A measurement answers every control that asks the same question, whatever it requires. What it holds is an interval at
one level; another level is asked where the control says so or where its family changed. Then the interval is computed
again where the counts that are stored suffice (which shows in that they give the stored interval too), or the stored
one settles the matter: intervals of one method at two levels lie within each other. Nothing is guessed beyond that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import fields, replace

import numpy as np

from venturalitica_agent.domain.metric import METRICS, Form, Need
from venturalitica_agent.domain.needs import Needs
from venturalitica_agent.domain.policy import LARGEST, Control, DecideOn, Enforcement, Policy
from venturalitica_agent.domain.verdict import Finding, Measurement, Status, Unmeasured, Verdict
from venturalitica_agent.errors import PermanentError
from venturalitica_agent.evaluate.decision import by_interval
from venturalitica_agent.evaluate.families import Results, families, step_down
from venturalitica_agent.evaluate.gaps import Gap
from venturalitica_agent.evaluate.intervals import wilson

Ends = Callable[[float], tuple[float, float]]
"""The interval at a level."""

_DIRECTED = ("disparate_impact",)

_JUDGING = {
    "id",
    "require",
    "article",
    "title",
    "decide_on",
    "enforcement",
    "severity",
    "source",
    "risk",
    "skip",
    "line",
}
_LEVELS = {"level", "min_group"}
_ASKED = tuple(field.name for field in fields(Control) if field.name not in _JUDGING | _LEVELS)
"""What makes a control another question; a field that is not known here does."""


class Unanswerable(PermanentError):
    """What is stored does not answer a control; the message says why, for people."""


def answers(policy: Policy, old: Policy, verdict: Verdict) -> tuple[Results, dict[str, str]]:
    """What the findings of `verdict`, given under `old`, say about the controls of `policy`.

    Returns:
        The results, to be judged, by control; and by control why it has none. A control that can't change a verdict
        is in neither.
    """
    findings = {finding.control: finding for finding in reversed(verdict.findings)}
    asked = [control for control in policy.controls if not control.skip]
    found: Results = {}
    unanswered: dict[str, str] = {}
    for control in asked:
        try:
            found[control.id] = _stored(control, policy, old, findings)
        except Unanswerable as why:
            unanswered[control.id] = str(why)
    groups = families(asked, found)
    together = {control.id for family in groups for control in family}
    for family in [*groups, *([control] for control in asked if control.id in found and control.id not in together)]:
        try:
            found |= _at_levels(family, found)
        except Unanswerable as why:
            unanswered |= {control.id: str(why) for control in family}
    known = {name: result for name, result in found.items() if name not in unanswered}
    counting = {control.id for control in asked if control.enforcement is not Enforcement.REPORT}
    return known, {name: why for name, why in unanswered.items() if name in counting}


def _stored(control: Control, policy: Policy, old: Policy, findings: dict[str, Finding]) -> Measurement | Unmeasured:
    same_id = [past for past in old.controls if past.id == control.id]
    equal = [past for past in old.controls if _same_question(past, control)]
    if not equal:
        raise Unanswerable("asks something else now" if same_id else "is new")
    past = min(equal, key=lambda past: (past.id != control.id, _differences(past, control)))
    if Need.EVIDENCE in METRICS[control.metric].needs and Needs.of(policy.controls) != Needs.of(old.controls):
        raise Unanswerable("looks at what all controls look at, and they look at something else now")
    finding = findings.get(past.id)
    if finding is None or past.skip:
        raise Unanswerable("was not asked then")
    measurement = finding.measurement
    if measurement is None:
        if past.min_group != control.min_group:
            raise Unanswerable("could not be measured with another min_group")
        return Unmeasured(control.id, control.metric, finding.sentence, finding.remedy)
    low, high = sorted((past.min_group, control.min_group))
    if any(low <= group.n < high for group in measurement.groups):
        raise Unanswerable("compares other groups by its min_group")
    return replace(measurement, control=control.id)


def _same_question(one: Control, other: Control) -> bool:
    return all(getattr(one, name) == getattr(other, name) for name in _ASKED)


def _differences(one: Control, other: Control) -> int:
    return sum(getattr(one, field.name) != getattr(other, field.name) for field in fields(Control))


def _at_levels(family: list[Control], found: Results) -> Results:
    def ask(control: Control) -> Measurement | Unmeasured:
        result = found[control.id]
        return at_level(control, result) if isinstance(result, Measurement) else result

    return step_down(family, ask) if len(family) > 1 else {control.id: ask(control) for control in family}


def at_level(control: Control, measurement: Measurement) -> Measurement:
    """A measurement that decides `control` as one at the control's level would.

    Raises:
        Unanswerable: where that can't be known from what is stored.
    """
    own, level = measurement.interval, control.level
    if control.decide_on is DecideOn.POINT or own.low == own.high or math.isclose(own.level, level, abs_tol=1e-12):
        return measurement
    for ends in _recomputations(control, measurement):
        if all(math.isclose(*pair, abs_tol=1e-12) for pair in zip(ends(own.level), (own.low, own.high), strict=True)):
            low, high = ends(level)
            return replace(measurement, interval=replace(own, low=low, high=high, level=level))
    decided = by_interval(control.require, own.low, own.high) is not Status.INCONCLUSIVE
    if decided if level < own.level else not decided:
        return measurement
    raise Unanswerable(f"needs the interval at {level * 100:.4g} %; stored is the one at {own.level * 100:.4g} %")


def _recomputations(control: Control, measurement: Measurement) -> Iterator[Ends]:
    """Intervals that the stored counts allow for; which of them the metric has, the stored interval tells."""
    if not measurement.groups:
        n = measurement.n
        yield lambda level: _pair(*wilson(round(measurement.value * n), n, level))
        return
    compared = [group for group in measurement.groups if group.compared]
    counts = [(g.numerator, g.denominator) for g in compared if g.numerator is not None and g.denominator]
    if len(counts) < len(compared):
        return
    above, below = np.array(counts, dtype=float).T
    spec = METRICS[control.metric]
    if spec.form is Form.WORST:
        pick = np.min if spec.better == "higher" else np.max
        yield lambda level: _pair(*map(pick, wilson(above, below, 1 - (1 - level) / len(counts))))
    elif len(counts) > 1 and spec.form in (Form.RATIO, Form.DIFFERENCE):
        names = [group.group for group in compared]
        with_one = control.reference is not None and measurement.reference in names
        reference = names.index(measurement.reference or "") if with_one else None
        directed = control.metric in _DIRECTED and with_one and control.reference != LARGEST
        gap = Gap(spec.form is Form.RATIO, reference, directed)
        yield lambda level: gap.interval(above[None], below[None], level)


def _pair(low: object, high: object) -> tuple[float, float]:
    return float(low), float(high)  # type: ignore[arg-type]  # numpy's scalars
