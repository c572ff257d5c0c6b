"""What a new version of a policy changes, control by control, in words for who owns it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from itertools import pairwise
from typing import Any

from venturalitica_agent.domain.metric import METRICS
from venturalitica_agent.domain.policy import (
    LARGEST,
    Control,
    DecideOn,
    Enforcement,
    EvaluateWith,
    Op,
    Policy,
    Requirement,
    Selector,
    Source,
)
from venturalitica_agent.domain.retention import DAY
from venturalitica_agent.policy.rules import OnChange, told_on_change

_OPS = {
    Op.LT: "below", Op.LE: "at most", Op.GT: "above", Op.GE: "at least", Op.EQ: "exactly", Op.NE: "anything but",
}  # fmt: skip
_EFFECT = {
    Enforcement.BLOCK: "fails the run", Enforcement.WARN: "gives a warning", Enforcement.REPORT: "is only reported",
}  # fmt: skip
_DECIDES = {
    EvaluateWith.RUN_START: "the version in force when a run started decides about it",
    EvaluateWith.LATEST: "the latest version decides about every run that is audited",
}  # fmt: skip
_STRENGTH = (Enforcement.REPORT, Enforcement.WARN, Enforcement.BLOCK)
# Fields whose change makes the control another question, told as "<noun> is <new> (was <old>)".
_SUBJECT = {
    "roles": "the compared role", "on": "the data it looks at", "of": "what it looks at",
    "target": "the role of the truth", "prediction": "the role of the prediction", "reference": "the reference group",
    "columns": "the list of columns", "sensitive": "the sensitive column", "shares": "the declared share of each group",
    "logged": "the logged number", "of_metric": "the metric that was logged",
    "noise": "the noise on numbers", "missing": "the chance of a missing number",
    "tolerance": "the move that counts as none",
}  # fmt: skip
_WORDING = {
    "title": "the title", "article": "the article", "risk": "the risk", "source": "the source of the threshold",
    "severity": "the severity",
}  # fmt: skip


class Kind(StrEnum):
    """What a change means for a run."""

    ADDED = "added"  # asks what nobody asked before
    REMOVED = "removed"
    TIGHTENED = "tightened"  # what passes now passed before, and some that passed doesn't
    LOOSENED = "loosened"
    CHANGED = "changed"  # asks something else: neither more nor less
    REWORDED = "reworded"  # no verdict changes


@dataclass(frozen=True, slots=True)
class Change:
    """One change. `control` is its id in the new version (for `removed`, in the old one); empty: the policy itself."""

    kind: Kind
    control: str
    words: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.control}: {self.words}" if self.control else f"{self.kind}: {self.words}"


def diff(old: Policy, new: Policy) -> tuple[Change, ...]:
    """Every change from `old` to `new`: first of the policy itself, then by control in the order of `new`, then what
    was removed. A control that only got another id is told as renamed. Empty when both ask the same in the same words.
    """
    before = {control.id: control for control in old.controls}
    after = {control.id: control for control in new.controls}
    former = _renamed(before, after)
    changes = list(_of_policy(old, new))
    for name, control in after.items():
        if name in before:
            changes += _of_control(before[name], control)
        elif name in former:
            changes.append(Change(Kind.REWORDED, name, f"is the former {former[name]} under a new id"))
        else:
            changes.append(Change(Kind.ADDED, name, f"{_asks(control)}; a violation {_EFFECT[control.enforcement]}"))
    gone = [control for name, control in before.items() if name not in after and name not in former.values()]
    changes += [Change(Kind.REMOVED, control.id, f"no longer asks that {_asks(control)}") for control in gone]
    return tuple(changes)


def _renamed(before: dict[str, Control], after: dict[str, Control]) -> dict[str, str]:
    """New id -> old id, for controls that are equal in all but their id."""
    found: dict[str, str] = {}
    for name, control in after.items():
        for past, other in before.items():
            unclaimed = name not in before and past not in after and past not in found.values()
            if unclaimed and replace(other, id=name, line=control.line) == control:
                found[name] = past
                break
    return found


def _of_policy(old: Policy, new: Policy) -> Iterator[Change]:
    if old.id != new.id:
        yield Change(Kind.CHANGED, "", f"these are two policies, {old.id} and {new.id}")
    if old.applies_to != new.applies_to:
        yield Change(Kind.CHANGED, "", f"applies to {_runs(new.applies_to)} (was: {_runs(old.applies_to)})")
    if old.evaluate_with is not new.evaluate_with:
        yield Change(Kind.CHANGED, "", f"{_DECIDES[new.evaluate_with]} (was: {_DECIDES[old.evaluate_with]})")
    if old.reaches_back != new.reaches_back:
        yield Change(Kind.CHANGED, "", f"{_reaches(new.reaches_back)} (was: {_reaches(old.reaches_back)})")
    if old.retain != new.retain:
        now, before = (f"evidence is kept {_kept(policy.retain)}" for policy in (new, old))
        yield Change(Kind.CHANGED, "", f"{now} (was: {before})")
    if old.title != new.title:
        yield Change(Kind.REWORDED, "", _was("the title", new.title, old.title))
    if old.law != new.law:
        yield Change(Kind.REWORDED, "", _was("the law", ", ".join(new.law.values()), ", ".join(old.law.values())))


def _kept(retain: str) -> str:
    if not retain:
        return "for no time that it names"
    return f"until {retain}" if re.fullmatch(DAY, retain) else f"for {retain}"


def _of_control(old: Control, new: Control) -> Iterator[Change]:
    def change(kind: Kind, words: str) -> Change:
        return Change(kind, new.id, words)

    asks_else = any(getattr(old, name) != getattr(new, name) for name in _SUBJECT)
    if old.metric != new.metric:
        yield change(Kind.CHANGED, f"{_asks(new)} (was: {_asks(old)})")
    elif old.require != new.require:
        kind = Kind.CHANGED if asks_else else _stricter(old, new)
        yield change(kind, f"{_title(new)} must be {_number(new.require)} (was {_number(old.require)})")
    for name, noun in _SUBJECT.items():
        if getattr(old, name) != getattr(new, name):
            comma = ", " if name == "columns" else " × "
            now, before = (_told(getattr(c, name), comma) for c in (new, old))
            if name == "reference":
                now, before = ("the largest" if group == LARGEST else group for group in (now, before))
            yield change(Kind.CHANGED, _was(noun, now, before))
    yield from _of_deciding(old, new, change)
    for name, noun in _WORDING.items():
        if getattr(old, name) != getattr(new, name):
            yield change(Kind.REWORDED, _was(noun, _told(getattr(new, name)), _told(getattr(old, name))))
    for name in _others():
        if getattr(old, name) != getattr(new, name):
            yield change(Kind.CHANGED, _was(name, _told(getattr(new, name)), _told(getattr(old, name))))


def _of_deciding(old: Control, new: Control, change: Callable[[Kind, str], Change]) -> Iterator[Change]:
    """How a measured value becomes an outcome."""
    if old.enforcement is not new.enforcement:
        stronger = _STRENGTH.index(new.enforcement) > _STRENGTH.index(old.enforcement)
        words = f"a violation now {_EFFECT[new.enforcement]} (before: {_EFFECT[old.enforcement]})"
        yield change(Kind.TIGHTENED if stronger else Kind.LOOSENED, words)
    if old.decide_on is not new.decide_on:
        if new.decide_on is DecideOn.INTERVAL:
            words = "the whole interval must hold, not the measured value alone: close calls become inconclusive"
            yield change(Kind.TIGHTENED, words)
        else:
            words = "the measured value alone decides, no longer the whole interval: close calls get a verdict"
            yield change(Kind.LOOSENED, words)
    if old.level != new.level:
        words = f"the level of the interval is {new.level:.6g} (was {old.level:.6g})"
        decides = old.decide_on is new.decide_on is DecideOn.INTERVAL
        harder = Kind.TIGHTENED if new.level > old.level else Kind.LOOSENED
        yield change(harder if decides else Kind.CHANGED, words)
    if old.min_group != new.min_group:
        words = f"a group needs {new.min_group} rows to be compared (was {old.min_group})"
        yield change(Kind.TIGHTENED if new.min_group > old.min_group else Kind.LOOSENED, words)
    if old.skip != new.skip:
        if new.skip:
            yield change(Kind.CHANGED if old.skip else Kind.LOOSENED, f"is not evaluated: {new.skip}")
        else:
            yield change(Kind.TIGHTENED, "is evaluated now")


def _stricter(old: Control, new: Control) -> Kind:
    """Compares what the two requirements let pass over the metric's range.

    Each is true on whole stretches between the thresholds and the ends of the range, so looking at these points and
    once in between each pair is enough.
    """
    spec, thresholds = METRICS[new.metric], (old.require.threshold, new.require.threshold)
    low, high = max(spec.low, min(thresholds) - 1), min(spec.high, max(thresholds) + 1)
    points = sorted({low, high, *thresholds})
    points += [(a + b) / 2 for a, b in pairwise(points)]
    before, after = ({x for x in points if r.op.holds(x, r.threshold)} for r in (old.require, new.require))
    if after < before:
        return Kind.TIGHTENED
    return Kind.LOOSENED if after > before else Kind.CHANGED


def _others() -> list[str]:
    """Fields of a control that nothing above speaks of; none today, and none will be lost tomorrow."""
    told = {"id", "line", "metric", "require", "role", "crossed_with", *_SUBJECT, *_WORDING}
    told |= {"enforcement", "decide_on", "level", "min_group", "skip"}
    return [field.name for field in fields(Control) if field.name not in told]


def _asks(control: Control) -> str:
    by = f" by {control.role_name}" if control.roles else ""
    return f"{_title(control)}{by} must be {_number(control.require)}"


def _title(control: Control) -> str:
    title = METRICS[control.metric].title
    return f"{title[0].lower()}{title[1:]}" if title[1:2].islower() else title


def _number(requirement: Requirement) -> str:
    return f"{_OPS[requirement.op]} {requirement.threshold:.12g}"


def _was(noun: str, now: str, before: str) -> str:
    return f"{noun} is {now or 'not given'} (was {before or 'not given'})"


def _told(value: Any, comma: str = " × ") -> str:
    match value:
        case None:
            return ""
        case tuple():
            return comma.join(map(str, value))
        case Mapping():
            return ", ".join(f"{name} {share:g}" for name, share in value.items())
        case Source():
            return ", ".join(filter(None, (value.kind, value.ref)))
        case _:
            return str(value)


def _reaches(seconds: float) -> str:
    match told_on_change(seconds):
        case dict() as since:
            return f"runs of the {since['re-audit-since']} before it are audited again"
        case word:
            return "earlier runs are audited again" if word == OnChange.RE_AUDIT else "earlier runs keep their verdict"


def _runs(selector: Selector | None) -> str:
    if selector is None:
        return "the runs that agent.yaml names"
    tags = "".join(f", tagged {key}={value}" for key, value in selector.tags.items())
    return f"runs of {selector.experiment} that ended {' or '.join(selector.status)}{tags}"
