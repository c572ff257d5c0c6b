"""Every metric of `domain.metric.METRICS` as a pure function of a control and a sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from venturalitica_agent.domain.policy import Control
from venturalitica_agent.evaluate.metrics import data, fairness, performance
from venturalitica_agent.evaluate.metrics.estimate import Estimate
from venturalitica_agent.evaluate.sample import Sample

Metric = Callable[[Control, Sample], Estimate]
"""Raises `Undefined` where the metric has no value. What the metric needs (`MetricSpec.needs`) must be there."""

REGISTRY: Mapping[str, Metric] = {
    "accuracy": performance.accuracy,
    "precision": performance.precision,
    "recall": performance.recall,
    "f1": performance.f1,
    "roc_auc": performance.roc_auc,
    "disparate_impact": fairness.disparate_impact,
    "demographic_parity_diff": fairness.demographic_parity_diff,
    "equal_opportunity_diff": fairness.equal_opportunity_diff,
    "equalized_odds_diff": fairness.equalized_odds_diff,
    "equalized_odds_ratio": fairness.equalized_odds_ratio,
    "predictive_parity": fairness.predictive_parity,
    "class_imbalance": data.class_imbalance,
    "data_completeness": data.data_completeness,
    "min_group_n": data.min_group_n,
}
