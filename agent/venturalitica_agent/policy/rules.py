"""What every control must obey, in whichever shape it was written: metrics, requirements, roles, names."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from venturalitica_agent.domain.metric import ALIASES, METRICS, MetricSpec, Need
from venturalitica_agent.domain.policy import Control, DecideOn, Op, Outcome, Policy, Requirement
from venturalitica_agent.strict_yaml import BadValue, Fields, Scalar, nearest, one_of, printable, shown, understand

SEVERITIES = ("low", "medium", "high", "critical")
DEFAULTS = Control("", "", Requirement(Op.GE, 0.0))

_OPS = {
    "<": Op.LT, "lt": Op.LT, "<=": Op.LE, "le": Op.LE, "lte": Op.LE, ">": Op.GT, "gt": Op.GT, ">=": Op.GE,
    "ge": Op.GE, "gte": Op.GE, "==": Op.EQ, "eq": Op.EQ, "!=": Op.NE, "ne": Op.NE,
}  # fmt: skip
_POLICY_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_control_text = printable(120)
role_name = printable(200)


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
    op = _OPS.get(text)
    if op is None:
        near = text[::-1] if text[::-1] in _OPS else nearest(text, _OPS)
        raise BadValue(f"must be one of {' '.join(_OPS)}, not {shown(scalar.text)}", near)
    return op


def requirement(scalar: Scalar) -> Requirement:
    """`>= 0.80`: an operator and a finite number."""
    found = re.fullmatch(r"\s*([<>=!]{1,2}|[A-Za-z]{2,3})\s*([-+.0-9eE]{1,40})\s*", scalar.text)
    number = understand(found[2])[0] if found else None
    if found is None or isinstance(number, bool) or not isinstance(number, int | float):
        raise BadValue(f'must be an operator and a number, such as ">= 0.80", not {shown(scalar.text)}')
    return Requirement(operator(Scalar(found[1], found[1])), float(number))


def policy_id(scalar: Scalar) -> str:
    if not _POLICY_ID.fullmatch(scalar.text):
        raise BadValue(
            f"must be 1 to 64 of a-z 0-9 . _ - and start with a letter or digit, not {shown(scalar.text)}",
            slug(scalar.text),
        )
    return scalar.text


def policy_version(scalar: Scalar) -> str:
    if not _VERSION.fullmatch(scalar.text):
        raise BadValue(f"must be 1 to 64 of letters, digits and . _ + -, not {shown(scalar.text)}")
    return scalar.text


def control_id(scalar: Scalar) -> str:
    """Printable, at most 120 characters, without spaces and commas: ids are listed in a tag, separated by commas."""
    text = _control_text(scalar)
    if "," in text or any(c.isspace() for c in text):
        raise BadValue(f"must not hold spaces or commas: {shown(text)}")
    return text


def slug(text: str) -> str:
    """A policy id made from a title or file name; empty when nothing of it is usable."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()[:200]).strip("-")[:64].strip("-")


def decided(fields: Fields, control: Control) -> Control:
    """The control with what both shapes say of deciding: severity, min_group, level, decide_on, reference."""
    return replace(
        control,
        severity=fields.read("severity", one_of(SEVERITIES), control.severity),
        min_group=fields.whole("min_group", control.min_group, 1, 10**9),
        level=fields.number("level", control.level, 0.5, 0.9999),
        decide_on=fields.choice("decide_on", DecideOn, control.decide_on),
        reference=fields.read("reference", role_name, control.reference),
    )


def needs_predictions(spec: MetricSpec) -> bool:
    return Need.PREDICTIONS in spec.needs or Need.SCORES in spec.needs


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
    if not grouped and control.reference is not None:
        yield "reference", f"{spec.name} doesn't compare groups: remove the reference group"
    if wrong := _wrong_requirement(control, spec):
        yield "require", wrong


def _wrong_requirement(control: Control, spec: MetricSpec) -> str:
    op, threshold = control.require.op, control.require.threshold
    # The lowest rate over the highest one can't exceed 1; only against a fixed reference group can it.
    high = 1.0 if spec.name == "disparate_impact" and control.reference is None else spec.high
    if not spec.low <= threshold <= high:
        return f"{spec.name} ranges from {spec.low:g} to {high:g}: a threshold of {threshold:g} is outside"
    rising = op in (Op.GT, Op.GE)
    if op not in (Op.EQ, Op.NE) and rising != (spec.better == "higher"):
        right = ">=" if spec.better == "higher" else "<="
        return f"{spec.better} {spec.name} is better: {control.require} is the wrong way round, write {right}"
    if (op, threshold) in ((Op.GE, spec.low), (Op.LE, high)):
        return f"{spec.name} {control.require} is always true: it requires nothing"
    if (op, threshold) in ((Op.GT, high), (Op.LT, spec.low)):
        return f"{spec.name} {control.require} can never be true"
    return ""
