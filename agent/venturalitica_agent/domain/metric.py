"""What each metric is called, means, needs and ranges over. `evaluate.metrics` computes them; policies are checked
against these declarations before anything runs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Need(StrEnum):
    """What a metric must be given."""

    LABELS = "labels"  # the true classes
    PREDICTIONS = "predictions"  # the predicted classes
    OUTCOME = "outcome"  # labels or predictions, as the control's `of` says
    SCORES = "scores"  # the probability (or score) of the positive class
    GROUPS = "groups"  # a group role
    CELLS = "cells"  # which cells of the table are missing


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """Declaration of one metric.

    Attributes:
        low, high: the range of possible values, both inclusive.
        better: "higher" or "lower": the direction in which a requirement makes sense.
        positive: True when the metric needs to know which class is the positive one.
        of_counts: True when it is a function of the group x label x prediction counts.
        source: where the formula comes from.
    """

    name: str
    title: str
    low: float
    high: float
    better: str
    needs: frozenset[Need]
    positive: bool
    of_counts: bool
    source: str


def _spec(
    name: str,
    title: str,
    span: tuple[float, float],
    better: str,
    needs: tuple[Need, ...],
    source: str,
    *,
    positive: bool = True,
    of_counts: bool = True,
) -> MetricSpec:
    return MetricSpec(name, title, span[0], span[1], better, frozenset(needs), positive, of_counts, source)


_PERF = (Need.LABELS, Need.PREDICTIONS)
_UNIT = (0.0, 1.0)
_INF = float("inf")

METRICS: dict[str, MetricSpec] = {
    spec.name: spec
    for spec in (
        _spec("accuracy", "Accuracy", _UNIT, "higher", _PERF, "sklearn.metrics.accuracy_score", positive=False),
        _spec("precision", "Precision", _UNIT, "higher", _PERF, "sklearn.metrics.precision_score"),
        _spec("recall", "Recall (true positive rate)", _UNIT, "higher", _PERF, "sklearn.metrics.recall_score"),
        _spec("f1", "F1 score", _UNIT, "higher", _PERF, "sklearn.metrics.f1_score"),
        _spec(
            "roc_auc",
            "Area under the ROC curve",
            _UNIT,
            "higher",
            (Need.LABELS, Need.SCORES),
            "sklearn.metrics.roc_auc_score",
            of_counts=False,
        ),
        _spec(
            "disparate_impact",
            "Ratio of the lowest to the highest selection rate",
            (0.0, _INF),
            "higher",
            (Need.OUTCOME, Need.GROUPS),
            "fairlearn.metrics.demographic_parity_ratio",
        ),
        _spec(
            "demographic_parity_diff",
            "Difference of selection rates",
            _UNIT,
            "lower",
            (Need.OUTCOME, Need.GROUPS),
            "fairlearn.metrics.demographic_parity_difference",
        ),
        _spec(
            "equal_opportunity_diff",
            "Difference of true positive rates",
            _UNIT,
            "lower",
            (*_PERF, Need.GROUPS),
            "fairlearn.metrics.equal_opportunity_difference",
        ),
        _spec(
            "equalized_odds_diff",
            "Larger of the differences of true and false positive rates",
            _UNIT,
            "lower",
            (*_PERF, Need.GROUPS),
            "fairlearn.metrics.equalized_odds_difference",
        ),
        _spec(
            "equalized_odds_ratio",
            "Smaller of the ratios of true and false positive rates",
            _UNIT,
            "higher",
            (*_PERF, Need.GROUPS),
            "fairlearn.metrics.equalized_odds_ratio",
        ),
        _spec(
            "predictive_parity",
            "Difference of precisions",
            _UNIT,
            "lower",
            (*_PERF, Need.GROUPS),
            "fairlearn.metrics.MetricFrame(precision_score).difference()",
        ),
        _spec(
            "class_imbalance",
            "Ratio of the rarest to the commonest class",
            _UNIT,
            "higher",
            (Need.OUTCOME,),
            "count of the rarest class / count of the commonest class",
            positive=False,
        ),
        _spec(
            "data_completeness",
            "Share of cells that hold a value",
            _UNIT,
            "higher",
            (Need.CELLS,),
            "non-missing cells / all cells",
            positive=False,
            of_counts=False,
        ),
        _spec(
            "min_group_n",
            "Rows in the smallest group",
            (0.0, _INF),
            "higher",
            (Need.GROUPS,),
            "count of the smallest group of the role",
            positive=False,
        ),
    )
}

# The SDK's keys that mean the same thing.
ALIASES: dict[str, str] = {
    "accuracy_score": "accuracy",
    "precision_score": "precision",
    "recall_score": "recall",
    "f1_score": "f1",
    "roc_auc_score": "roc_auc",
    "demographic_parity_difference": "demographic_parity_diff",
    "demographic_parity_ratio": "disparate_impact",
    "equal_opportunity_difference": "equal_opportunity_diff",
    "equalized_odds_difference": "equalized_odds_diff",
    "disparate_impact_ratio": "disparate_impact",
}
