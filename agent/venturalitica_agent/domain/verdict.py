"""Measurements, findings and the verdict, with the one vocabulary that tags, reports and exit codes use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Status(StrEnum):
    """Outcome of a control or of a run (a run may also be `pending`, which is not an outcome)."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    WARN = "warn"
    ERROR = "error"
    SKIP = "skip"
    WAIVED = "waived"


STALE = "stale"
"""In the place of a run's status: its model or data changed after the audit, and the next audit has not ended."""

WAIVABLE = (Status.FAIL, Status.WARN, Status.INCONCLUSIVE, Status.ERROR)
_PRECEDENCE = (Status.ERROR, Status.FAIL, Status.INCONCLUSIVE, Status.WARN, Status.PASS)


def worst(statuses: Iterable[Status]) -> Status:
    """error > fail > inconclusive > warn > pass; `skip` and `waived` are counted apart and never read as pass.

    With nothing but `skip` and `waived` (or nothing at all) the outcome is `skip`.
    """
    seen = set(statuses)
    return next((s for s in _PRECEDENCE if s in seen), Status.SKIP)


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval; `method` names it, with seed and number of resamples where it was resampled."""

    low: float
    high: float
    level: float
    method: str
    seed: int | None = None
    resamples: int | None = None


@dataclass(frozen=True, slots=True)
class GroupStat:
    """One group under one control.

    Attributes:
        n: rows in the group. numerator, denominator: the counts behind `value`, where it is a proportion.
        value: the group's own rate (selection rate, true positive rate, ...); None when undefined.
        compared: False when the group is listed only; `reason` says why.
    """

    group: str
    n: int
    value: float | None = None
    numerator: int | None = None
    denominator: int | None = None
    interval: Interval | None = None
    compared: bool = True
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Measurement:
    """A metric's value for one control, with what is needed to judge it again without the model.

    Attributes:
        n: rows that the value rests on.
        rate: what the groups' own values are ("selection rate"); empty for metrics without groups.
        reference: the group compared with: the control's own, else the largest compared group.
        extremes: names of the groups that make the value: (lowest, highest).
        flip_rate: share of resamples in which the decision on the point estimate would be the other one.
        small_groups: groups with fewer rows than the control's `min_group`.
        needed: about how many more rows of which group a decision would need, at the rates seen; the key is ""
            for metrics without groups; empty when unknown.
    """

    control: str
    metric: str
    value: float
    interval: Interval
    n: int
    groups: tuple[GroupStat, ...] = ()
    rate: str = ""
    reference: str | None = None
    extremes: tuple[str, str] | None = None
    flip_rate: float | None = None
    small_groups: tuple[str, ...] = ()
    needed: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unmeasured:
    """A control that could not be measured, why, and what would make it measurable."""

    control: str
    metric: str
    reason: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Waived:
    """Why a finding doesn't count for now, who answers for that, and the last day of it (as 2026-12-31)."""

    reason: str
    owner: str
    expires: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One control's outcome. `sentence` is for the data scientist: what, by how much, which group, what to do.

    Attributes:
        would_be: of a waived finding, the status that it would have without the waiver.
    """

    control: str
    status: Status
    sentence: str
    metric: str
    article: str = ""
    severity: str = "medium"
    enforcement: str = "block"
    require: str = ""
    decided_on: str = "interval"
    measurement: Measurement | None = None
    remedy: str = ""
    waived: Waived | None = None
    would_be: Status | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The run's outcome under one policy."""

    policy: str
    version: str
    policy_digest: str
    status: Status
    findings: tuple[Finding, ...]

    @property
    def counts(self) -> dict[Status, int]:
        """How many findings of each status; those with enforcement `report` are excluded, as from `status`."""
        found = Counter(f.status for f in self.findings if f.enforcement != "report")
        return {s: found[s] for s in Status}

    @property
    def not_passed(self) -> tuple[str, ...]:
        """Ids of the controls that made the status what it is: those that fail, warn or could not be evaluated."""
        bad = (Status.FAIL, Status.ERROR, Status.WARN)
        return tuple(f.control for f in self.findings if f.enforcement != "report" and f.status in bad)

    @property
    def waived(self) -> dict[str, Waived]:
        """The waivers that changed a finding, by control."""
        return {f.control: f.waived for f in self.findings if f.waived is not None}


def counts_tag(counts: Mapping[Status, int]) -> str:
    """`p6 f1 i2 w0 e0 s0 x0`: pass fail inconclusive warn error skip waived."""
    letters = zip("pfiwesx", Status, strict=True)
    return " ".join(f"{letter}{counts.get(status, 0)}" for letter, status in letters)
