"""Many controls that ask one question: the more of them, the likelier that one is decided by chance. Holm's remedy.

A family is the controls of one policy on the same table with the same article and the same group roles, both named,
that are decided on an interval and can change the verdict: "is there a difference by gender, as Article 10(2)(f)
asks?", put in several ways. A control without article or role has no family. Exact counts leave nothing to chance.

Holm, Scand. J. Statist. 6 (1979) 65: with m controls still open, each is asked at level 1 - alpha/m; those decided
leave, and the others are asked again as a smaller family, until none leaves. The chance that any is decided wrongly is
at most alpha, however the controls depend on each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from venturalitica_agent.domain.policy import Control, DecideOn, Enforcement
from venturalitica_agent.domain.verdict import Measurement, Status, Unmeasured
from venturalitica_agent.evaluate.decision import by_interval
from venturalitica_agent.evaluate.measure import measure
from venturalitica_agent.evaluate.sample import Sample

Results = dict[str, Measurement | Unmeasured]
Ask = Callable[[Control], Measurement | Unmeasured]
"""Measures a control at the level that it has."""


def measure_all(controls: Sequence[Control], sample: Sample) -> Results:
    """The controls of one policy on one table, by id, with the intervals of each family at Holm's levels."""
    found: Results = {control.id: measure(control, sample) for control in controls}
    for family in families(controls, found):
        found |= step_down(family, partial(measure, sample=sample))
    return found


def families(controls: Iterable[Control], found: Mapping[str, Measurement | Unmeasured]) -> list[list[Control]]:
    """The families of two controls or more, among those that were measured."""
    by_question: dict[tuple[object, ...], list[Control]] = {}
    for control in controls:
        result = found.get(control.id)
        if _is_asked(control) and isinstance(result, Measurement) and result.interval.low < result.interval.high:
            table = control.on, control.target, control.prediction
            by_question.setdefault((control.article, control.roles, *table), []).append(control)
    return [family for family in by_question.values() if len(family) > 1]


def levels(control: Control, controls: Iterable[Control]) -> tuple[float, ...]:
    """Every level that the control may be asked at, among these controls, for who can't be asked again."""
    alike = [c for c in controls if _is_asked(c) and (c.article, c.roles) == (control.article, control.roles)]
    held = (1 - (1 - control.level) / m for m in range(1, len(alike) + 1))
    return tuple(dict.fromkeys((control.level, *held)))


def _is_asked(control: Control) -> bool:
    counts = control.decide_on is DecideOn.INTERVAL and control.enforcement is not Enforcement.REPORT
    return bool(control.article and control.roles) and counts


def step_down(family: list[Control], ask: Ask) -> Results:
    """The controls of one family, each with the interval of the level at which it was decided, or was last asked."""
    found: Results = {}
    still = family
    while still:
        m = len(still)
        undecided = []
        for control in still:
            result = ask(replace(control, level=1 - (1 - control.level) / m))
            if isinstance(result, Measurement):
                note = (
                    f"one of {len(family)} controls on {control.role_name} under article {control.article}, with {m} "
                    f"undecided at its turn: level {result.interval.level * 100:.4g} % in place of "
                    f"{control.level * 100:.4g} % (Holm)"
                )
                result = replace(result, notes=(*result.notes, note))
                if by_interval(control.require, result.interval.low, result.interval.high) is Status.INCONCLUSIVE:
                    undecided.append(control)
            found[control.id] = result
        if len(undecided) == m:
            break
        still = undecided
    return found
