"""A policy: a versioned file of controls; its identity is id + version + SHA-256 of its bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Op(StrEnum):
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="
    EQ = "=="
    NE = "!="

    def holds(self, value: float, threshold: float) -> bool:
        """False whenever the comparison isn't true of a finite number: NaN never passes."""
        if value != value:
            return False
        match self:
            case Op.LT:
                return value < threshold
            case Op.LE:
                return value <= threshold
            case Op.GT:
                return value > threshold
            case Op.GE:
                return value >= threshold
            case Op.EQ:
                return value == threshold
            case Op.NE:
                return value != threshold


class Enforcement(StrEnum):
    """What a violated control does to the run's status."""

    BLOCK = "block"  # fail
    WARN = "warn"  # warn
    REPORT = "report"  # never changes the status


class DecideOn(StrEnum):
    INTERVAL = "interval"
    POINT = "point"


class Split(StrEnum):
    """Which data a control looks at."""

    EVALUATION = "evaluation"
    TRAINING = "training"


class Outcome(StrEnum):
    """Which column of outcomes a control looks at."""

    LABELS = "labels"
    PREDICTIONS = "predictions"


@dataclass(frozen=True, slots=True)
class Requirement:
    op: Op
    threshold: float

    def __str__(self) -> str:
        return f"{self.op} {self.threshold:g}"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a threshold comes from: law, guidance, convention or house."""

    kind: str = "house"
    ref: str = ""


@dataclass(frozen=True, slots=True)
class Control:
    """One requirement.

    Attributes:
        role: the group role it compares, or None for whole-data metrics.
        crossed_with: further group roles; the groups are then the intersections of all their groups.
        target, prediction: roles (names of columns or bindings) of truth and prediction; normally "target"
            and "prediction"; an SDK policy may name others.
        min_group: rows under which a group is listed, not compared.
        reference: the group to compare with; None compares every pair (the widest gap decides).
        risk: id of the risk that the control answers to in the owner's risk register, or empty.
        skip: a reason why this control isn't evaluated at training time (an SDK lifecycle phase), else empty.
        line: line of the control in its policy file, for messages.
    """

    id: str
    metric: str
    require: Requirement
    article: str = ""
    title: str = ""
    role: str | None = None
    crossed_with: tuple[str, ...] = ()
    on: Split = Split.EVALUATION
    of: Outcome = Outcome.PREDICTIONS
    target: str = "target"
    prediction: str = "prediction"
    decide_on: DecideOn = DecideOn.INTERVAL
    enforcement: Enforcement = Enforcement.BLOCK
    severity: str = "medium"
    min_group: int = 30
    level: float = 0.95
    reference: str | None = None
    source: Source = field(default_factory=Source)
    risk: str = ""
    skip: str = ""
    line: int = 0

    @property
    def roles(self) -> tuple[str, ...]:
        """Every group role that it looks at."""
        return (self.role, *self.crossed_with) if self.role is not None else ()

    @property
    def role_name(self) -> str:
        """Its group roles in words: "gender", or "gender × age" for intersections."""
        return " × ".join(self.roles)


@dataclass(frozen=True, slots=True)
class Selector:
    """Which runs something applies to: glob on the experiment name, exact tags, ended statuses."""

    experiment: str = "*"
    tags: Mapping[str, str] = field(default_factory=dict)
    status: tuple[str, ...] = ("FINISHED",)


@dataclass(frozen=True, slots=True)
class Policy:
    """One version of one policy, with the exact bytes it came from.

    Attributes:
        digest: SHA-256 (64 hex) of `content`.
        applies_to: which runs, where agent.yaml doesn't say; None means that the file doesn't say either.
        shape: "native", or the OSCAL shape it was read from.
    """

    id: str
    version: str
    digest: str
    file_name: str
    content: bytes
    controls: tuple[Control, ...]
    title: str = ""
    law: Mapping[str, str] = field(default_factory=dict)
    applies_to: Selector | None = None
    shape: str = "native"

    @property
    def ref(self) -> str:
        return f"{self.id}@{self.version}"
