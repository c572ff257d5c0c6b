"""What the controls of a policy need to see of a run, so that nothing else is fetched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from venturalitica_agent.domain.metric import METRICS, MetricSpec, Need
from venturalitica_agent.domain.policy import Control, Outcome, Split

SCORE = "score"  # the role of a logged score of the positive class


@dataclass(frozen=True, slots=True)
class SplitNeeds:
    """Roles that the controls on one split look at.

    Attributes:
        groups: group roles. targets: roles of the truth. Both must be bound to a column.
        predictions: roles of the prediction: a declared column, else the model answers.
        scores: roles of score columns: used where one is declared and the model doesn't answer.
        values: roles of columns whose own values are looked at, not their groups.
        model: True when the model itself is looked at, whoever makes the predictions.
    """

    groups: frozenset[str] = frozenset()
    targets: frozenset[str] = frozenset()
    predictions: frozenset[str] = frozenset()
    scores: frozenset[str] = frozenset()
    values: frozenset[str] = frozenset()
    model: bool = False

    @property
    def columns(self) -> frozenset[str]:
        """Roles that only a column can fill."""
        return self.groups | self.targets | self.values

    def __or__(self, other: SplitNeeds) -> SplitNeeds:
        return SplitNeeds(
            self.groups | other.groups,
            self.targets | other.targets,
            self.predictions | other.predictions,
            self.scores | other.scores,
            self.values | other.values,
            self.model or other.model,
        )


@dataclass(frozen=True, slots=True)
class Needs:
    """What is needed, by split; a split that is absent is not looked at."""

    splits: Mapping[Split, SplitNeeds] = field(default_factory=dict)

    @property
    def predictions(self) -> frozenset[str]:
        """Every role of a prediction: without a declared column each of them needs the model."""
        return frozenset().union(*(s.predictions for s in self.splits.values()))

    @property
    def model(self) -> bool:
        """True when the model is needed whoever makes the predictions."""
        return any(s.model for s in self.splits.values())

    @classmethod
    def of(cls, controls: Iterable[Control]) -> Needs:
        """What these controls need; those that are skipped at training time need nothing."""
        splits: dict[Split, SplitNeeds] = {}
        for control in controls:
            for split in _splits(control) if not control.skip else ():
                splits[split] = splits.get(split, SplitNeeds()) | _of(control)
        return cls(splits)


def measured(control: Control) -> MetricSpec:
    """The metric that the control's own data go into: of a comparison with a logged value, the one that was logged."""
    return METRICS[control.of_metric or control.metric]


def _splits(control: Control) -> tuple[Split, ...]:
    needs = METRICS[control.metric].needs
    if METRICS[control.metric].of_audit:
        return ()  # it looks at what the others look at, or at no table
    return tuple(Split) if Need.SPLITS in needs else (control.on,)


def _of(control: Control) -> SplitNeeds:
    spec = measured(control)
    labels = Need.OUTCOME in spec.needs and control.of is Outcome.LABELS
    predictions = Need.OUTCOME in spec.needs and control.of is Outcome.PREDICTIONS
    return SplitNeeds(
        groups=frozenset(control.roles),
        targets=frozenset({control.target} if labels or spec.needs & {Need.LABELS, Need.TRUTH} else ()),
        predictions=frozenset({control.prediction} if predictions or spec.of_model else ()),
        scores=frozenset({SCORE} if spec.needs & {Need.SCORES, Need.PROBABILITIES} else ()),
        values=frozenset({*control.columns, *({control.sensitive} if control.sensitive else ())}),
        model=bool(spec.needs & {Need.SIGNATURE, Need.NOISE, Need.GAPS}),
    )
