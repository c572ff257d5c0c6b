"""What the controls of a policy need to see of a run, so that nothing else is fetched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from venturalitica_agent.domain.metric import METRICS, Need
from venturalitica_agent.domain.policy import Control, Outcome, Split


@dataclass(frozen=True, slots=True)
class SplitNeeds:
    """Roles that the controls on one split look at.

    Attributes:
        groups: group roles. targets: roles of the truth. Both must be bound to a column.
        predictions: roles of the prediction: a declared column, else the model answers.
    """

    groups: frozenset[str] = frozenset()
    targets: frozenset[str] = frozenset()
    predictions: frozenset[str] = frozenset()

    @property
    def columns(self) -> frozenset[str]:
        """Roles that only a column can fill."""
        return self.groups | self.targets

    def __or__(self, other: SplitNeeds) -> SplitNeeds:
        return SplitNeeds(
            self.groups | other.groups, self.targets | other.targets, self.predictions | other.predictions
        )


@dataclass(frozen=True, slots=True)
class Needs:
    """What is needed, by split; a split that is absent is not looked at."""

    splits: Mapping[Split, SplitNeeds] = field(default_factory=dict)

    @property
    def predictions(self) -> frozenset[str]:
        """Every role of a prediction: without a declared column each of them needs the model."""
        return frozenset().union(*(s.predictions for s in self.splits.values()))

    @classmethod
    def of(cls, controls: Iterable[Control]) -> Needs:
        """What these controls need; those that are skipped at training time need nothing."""
        splits: dict[Split, SplitNeeds] = {}
        for control in controls:
            if not control.skip:
                splits[control.on] = splits.get(control.on, SplitNeeds()) | _of(control)
        return cls(splits)


def _of(control: Control) -> SplitNeeds:
    spec = METRICS[control.metric]
    labels = Need.OUTCOME in spec.needs and control.of is Outcome.LABELS
    predictions = Need.OUTCOME in spec.needs and control.of is Outcome.PREDICTIONS
    return SplitNeeds(
        groups=frozenset(control.roles),
        targets=frozenset({control.target} if labels or spec.needs & {Need.LABELS, Need.TRUTH} else ()),
        predictions=frozenset({control.prediction} if predictions or spec.of_model else ()),
    )
