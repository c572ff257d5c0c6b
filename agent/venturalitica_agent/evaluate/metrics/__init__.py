"""Every metric of `domain.metric.METRICS` as a pure function of a control and a sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from venturalitica_agent.domain.metric import METRICS
from venturalitica_agent.domain.policy import Control
from venturalitica_agent.evaluate.metrics import (
    calibration,
    confusion,
    data,
    fairness,
    history,
    means,
    performance,
    privacy,
    provenance,
    ranking,
    regression,
    repeats,
    robustness,
)
from venturalitica_agent.evaluate.metrics.estimate import Estimate
from venturalitica_agent.evaluate.sample import Sample

Metric = Callable[[Control, Sample], Estimate]
"""Raises `Undefined` where the metric has no value. What the metric needs (`MetricSpec.needs`) must be there."""

_MODULES = (
    performance,
    confusion,
    ranking,
    means,
    calibration,
    regression,
    fairness,
    data,
    repeats,
    privacy,
    provenance,
    robustness,
    history,
)

REGISTRY: Mapping[str, Metric] = {
    name: getattr(module, name) for name in METRICS for module in _MODULES if hasattr(module, name)
}
"""Each metric is the function of its name."""
