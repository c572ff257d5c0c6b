"""What every control must obey, in whichever shape it was written: metrics, requirements, roles, names."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum

from venturalitica_agent.domain.metric import ALIASES, METRICS, Form, MetricSpec, Need
from venturalitica_agent.domain.policy import LARGEST, Control, DecideOn, Op, Outcome, Policy, Requirement
from venturalitica_agent.domain.retention import DAY, retain_until
from venturalitica_agent.strict_yaml import (
    BadValue,
    Fields,
    MapNode,
    Scalar,
    nearest,
    one_of,
    printable,
    shown,
    understand,
)

SEVERITIES = ("low", "medium", "high", "critical")
DEFAULTS = Control("", "", Requirement(Op.GE, 0.0))

OPERATORS = {
    "<": Op.LT, "lt": Op.LT, "<=": Op.LE, "le": Op.LE, "lte": Op.LE, ">": Op.GT, "gt": Op.GT, ">=": Op.GE,
    "ge": Op.GE, "gte": Op.GE, "==": Op.EQ, "eq": Op.EQ, "!=": Op.NE, "ne": Op.NE,
}  # fmt: skip
POLICY_ID = r"[a-z0-9][a-z0-9._-]{0,63}"
VERSION = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}"
SINCE = r"[1-9][0-9]{0,5}[smhd]"
_UNITS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_ANY_DAY = "2000-01-01"
LONGEST_ID, LONGEST_ROLE, LONGEST_LINE = 120, 200, 500  # characters
MIN_GROUP = (1, 10**9)
LEVEL = (0.5, 0.9999)

role_name = printable(LONGEST_ROLE)
line_of_text = printable(LONGEST_LINE)
_control_text = printable(LONGEST_ID)
# What word processors and spoken language make of an operator.
_MEANT_OPS = {
    "≥": ">=", "≤": "<=", "≠": "!=", "=>": ">=", "=<": "<=", "=": "==", "<>": "!=", "> =": ">=", "< =": "<=",
    "at least": ">=", "at most": "<=", "min": ">=", "max": "<=", "above": ">", "over": ">", "below": "<", "under": "<",
}  # fmt: skip


class OnChange(StrEnum):
    """What a new version does to runs that started before it."""

    NEW_RUNS = "new-runs"  # nothing: it is for runs that start from now on
    RE_AUDIT = "re-audit"


REACHES_BACK = {OnChange.NEW_RUNS: 0.0, OnChange.RE_AUDIT: math.inf}


class SourceKind(StrEnum):
    """Where a threshold comes from. `house` is a default that the policy's owner must confirm."""

    LAW = "law"
    GUIDANCE = "guidance"
    CONVENTION = "convention"
    HOUSE = "house"


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """The file a policy is read from: its name without folders, and its bytes."""

    name: str
    content: bytes

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes, 64 hex."""
        return hashlib.sha256(self.content).hexdigest()

    def policy(self, policy_id: str, version: str, controls: tuple[Control, ...], title: str, shape: str) -> Policy:
        return Policy(policy_id, version, self.digest, self.name, self.content, controls, title, shape=shape)


def metric(scalar: Scalar) -> MetricSpec:
    """The declaration of a metric by its name or by an SDK key that means the same."""
    name = ALIASES.get(scalar.text, scalar.text)
    if name not in METRICS:
        near = nearest(scalar.text, [*METRICS, *ALIASES])
        raise BadValue(f"{shown(scalar.text)} is not a metric that this version measures", near)
    return METRICS[name]


def operator(scalar: Scalar) -> Op:
    """An operator in any of the spellings `< lt <= le lte > gt >= ge gte == eq != ne`."""
    text = scalar.text.strip().lower()
    op = OPERATORS.get(text)
    if op is None:
        near = _MEANT_OPS.get(text) or nearest(text, OPERATORS)
        raise BadValue(f"must be one of {' '.join(OPERATORS)}, not {shown(scalar.text)}", near)
    return op


def requirement(scalar: Scalar) -> Requirement:
    """`>= 0.80`: an operator and a finite number."""
    found = re.fullmatch(r"\s*([<>=!]{1,2}|[A-Za-z]{2,3})\s*([-+.0-9eE]{1,40})\s*", scalar.text)
    number = understand(found[2])[0] if found else None
    if found is None or isinstance(number, bool) or not isinstance(number, int | float):
        what = f'must be an operator and a number, such as ">= 0.80", not {shown(scalar.text)}'
        raise BadValue(what, _meant_requirement(scalar.text))
    if found[1].lower() not in OPERATORS:
        what = f"must start with one of {' '.join(OPERATORS)}, not {shown(found[1])}"
        raise BadValue(what, _meant_requirement(scalar.text))
    return Requirement(operator(Scalar(found[1], found[1])), float(number))


def _meant_requirement(text: str) -> str:
    """What `≥ 0,8`, `at least 80 %` and the like probably mean; empty when nothing is clear."""
    found = re.fullmatch(r"([^\d.,+-]{0,20})([+-]?[\d.,]{1,20})\s*(%?)", " ".join(text.lower().split()))
    if found is None:
        return ""
    word = found[1].strip()
    op = word if word in OPERATORS else _MEANT_OPS.get(word) or nearest(word, OPERATORS)
    number = understand(found[2].replace(",", "."))[0]
    if not op or isinstance(number, bool) or not isinstance(number, int | float):
        return ""
    return f"{op} {number / 100 if found[3] else number:g}"


def policy_id(scalar: Scalar) -> str:
    if not re.fullmatch(POLICY_ID, scalar.text):
        raise BadValue(
            f"must be 1 to 64 of a-z 0-9 . _ - and start with a letter or digit, not {shown(scalar.text)}",
            slug(scalar.text),
        )
    return scalar.text


def policy_version(scalar: Scalar) -> str:
    if not re.fullmatch(VERSION, scalar.text):
        raise BadValue(f"must be 1 to 64 of letters, digits and . _ + -, not {shown(scalar.text)}")
    return scalar.text


def control_id(scalar: Scalar) -> str:
    """Printable, at most 120 characters, without spaces and commas: ids are listed in a tag, separated by commas."""
    text = _control_text(scalar)
    if "," in text or any(c.isspace() for c in text):
        raise BadValue(f"must not hold spaces or commas: {shown(text)}")
    return text


def day(scalar: Scalar) -> date:
    """A day of the calendar, written as 2026-07-27."""
    try:
        # fromisoformat alone would take 20260727 and 2026-W30-1 as well.
        found = date.fromisoformat(scalar.text) if re.fullmatch(DAY, scalar.text) else None
    except ValueError:
        found = None
    if found is None:
        raise BadValue(f"must be a date of the calendar such as 2026-07-27, not {shown(scalar.text)}")
    return found


def retention(scalar: Scalar) -> str:
    """How long evidence is kept: `10 years`, `6 months`, `90 days`, or the last day."""
    try:
        retain_until(scalar.text, _ANY_DAY)
    except ValueError as error:
        raise BadValue(
            f"must be a time such as 10 years, 6 months or 90 days, or a day such as 2036-12-31, not "
            f"{shown(scalar.text)}"
        ) from error
    return scalar.text


def read_on_change(fields: Fields) -> float:
    """`on_change`: `new-runs`, `re-audit`, or `{re-audit-since: 30d}`, as `Policy.reaches_back` in seconds."""
    node = fields.node("on_change")
    if not isinstance(node, MapNode):
        return REACHES_BACK[fields.choice("on_change", OnChange, OnChange.NEW_RUNS)]
    since = Fields(node.pairs, node, fields.mistakes)
    since.require("re-audit-since")
    seconds = since.read("re-audit-since", _some_time, 0.0)
    since.close()
    return seconds


def told_on_change(reaches_back: float) -> str | dict[str, str]:
    """The inverse of `read_on_change`."""
    for word, seconds in REACHES_BACK.items():
        if seconds == reaches_back:
            return word.value
    unit = next(unit for unit, seconds in _UNITS.items() if reaches_back % seconds == 0)
    return {"re-audit-since": f"{reaches_back / _UNITS[unit]:.0f}{unit}"}


def _some_time(scalar: Scalar) -> float:
    if not re.fullmatch(SINCE, scalar.text):
        raise BadValue(f"must be a time such as 30d, 12h or 90m, not {shown(scalar.text)}")
    return float(scalar.text[:-1]) * _UNITS[scalar.text[-1]]


def slug(text: str) -> str:
    """A policy id made from a title or file name; empty when nothing of it is usable."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()[:200]).strip("-")[:64].strip("-")


def decided(fields: Fields, control: Control) -> Control:
    """The control with what both shapes say of deciding: severity, min_group, level, decide_on, reference."""
    return replace(
        control,
        severity=fields.read("severity", one_of(SEVERITIES), control.severity),
        min_group=fields.whole("min_group", control.min_group, *MIN_GROUP),
        level=fields.number("level", control.level, *LEVEL),
        decide_on=fields.choice("decide_on", DecideOn, control.decide_on),
        reference=fields.read("reference", role_name, control.reference),
    )


def needs_predictions(spec: MetricSpec) -> bool:
    return spec.of_model


def may_have_reference(spec: MetricSpec) -> bool:
    """True for gaps between groups, which can all be gaps to one of them."""
    return Need.GROUPS in spec.needs and spec.form in (Form.DIFFERENCE, Form.RATIO)


def outcome(spec: MetricSpec, wanted: Outcome) -> Outcome:
    """What the control looks at: the metric has the say, except where it takes either."""
    if needs_predictions(spec):
        return Outcome.PREDICTIONS
    return wanted if Need.OUTCOME in spec.needs else Outcome.LABELS


def complaints(control: Control, spec: MetricSpec) -> Iterator[tuple[str, str]]:
    """What is wrong with a control as a whole, as (which part: "require", "role" or "reference", sentence)."""
    grouped = Need.GROUPS in spec.needs
    if grouped and control.role is None:
        yield "role", f"{spec.name} compares groups: name the group role"
    if not grouped and control.role is not None:
        yield "role", f"{spec.name} doesn't compare groups: remove the role"
    if not may_have_reference(spec) and control.reference is not None:
        yield "reference", f"{spec.name} doesn't compare groups with one another: remove the reference group"
    if wrong := _wrong_requirement(control, spec):
        yield "require", wrong


def _wrong_requirement(control: Control, spec: MetricSpec) -> str:
    op, threshold = control.require.op, control.require.threshold
    # The lowest rate over the highest one can't exceed 1; only against a named reference group can it.
    high = 1.0 if spec.name == "disparate_impact" and control.reference in (None, LARGEST) else spec.high
    if not spec.low <= threshold <= high:
        hint = f" ({threshold:g} % is written {threshold / 100:g})" if high == 1 < threshold <= 100 else ""
        return f"{spec.name} ranges from {spec.low:g} to {high:g}: a threshold of {threshold:g} is outside{hint}"
    rising = op in (Op.GT, Op.GE)
    if op not in (Op.EQ, Op.NE) and rising != (spec.better == "higher"):
        right = ">=" if spec.better == "higher" else "<="
        return f"{spec.better} {spec.name} is better: {control.require} is the wrong way round, write {right}"
    if (op, threshold) in ((Op.GE, spec.low), (Op.LE, high)):
        return f"{spec.name} {control.require} is always true: it requires nothing"
    if (op, threshold) in ((Op.GT, high), (Op.LT, spec.low)):
        return f"{spec.name} {control.require} can never be true"
    return ""
