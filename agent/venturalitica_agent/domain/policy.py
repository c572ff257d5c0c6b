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


class EvaluateWith(StrEnum):
    """Which version of a policy decides about a run."""

    RUN_START = "run-start"  # the one in force when the run started
    LATEST = "latest"  # the one in force when the run is audited


class Split(StrEnum):
    """Which data a control looks at."""

    EVALUATION = "evaluation"
    TRAINING = "training"


class Outcome(StrEnum):
    """Which column of outcomes a control looks at."""

    LABELS = "labels"
    PREDICTIONS = "predictions"


LARGEST = "largest"  # as `Control.reference`: the largest group that is compared, whichever it is


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
        reference: the group to compare with, or LARGEST; None compares every pair (the widest gap decides).
        risk: id of the risk that the control answers to in the owner's risk register, or empty.
        columns: roles, or names of columns, whose own values are looked at: the quasi-identifiers of the privacy
            metrics, or what makes a row where not every column does.
        sensitive: role, or name of the column, that the quasi-identifiers must not give away.
        shares: group -> its declared share of the rows, 0 to 1; together they are 1.
        logged, of_metric: name of the number that the training run logged, and the metric that it is of.
        noise: standard deviation of the noise on a column of numbers, in those of the column; missing: the chance of a
            number to be taken away; tolerance: how far a predicted quantity may move, in standard deviations of the
            predictions, and not count as changed. None for metrics that don't ask the model again.
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
    columns: tuple[str, ...] = ()
    sensitive: str | None = None
    shares: Mapping[str, float] = field(default_factory=dict)
    logged: str = ""
    of_metric: str = ""
    noise: float | None = None
    missing: float | None = None
    tolerance: float | None = None
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
        evaluate_with: which version decides about a run, while this one is in force.
        reaches_back: seconds before this version came into force: runs that started within them are audited again under
            it. 0 leaves every old run alone (`on_change: new-runs`), infinity takes them all (`re-audit`).
        retain: how long evidence has to be kept, as `domain.retention` reads it; empty: the policy doesn't say.
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
    evaluate_with: EvaluateWith = EvaluateWith.RUN_START
    reaches_back: float = 0.0
    retain: str = ""

    @property
    def ref(self) -> str:
        return f"{self.id}@{self.version}"
