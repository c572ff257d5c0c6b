"""How far apart groups are in the errors of a regression."""

from __future__ import annotations

import numpy as np

from venturalitica_agent.domain.policy import Control
from venturalitica_agent.evaluate import intervals
from venturalitica_agent.evaluate.intervals import Ends, Floats
from venturalitica_agent.evaluate.metrics.comparison import Arms, compare
from venturalitica_agent.evaluate.metrics.estimate import Estimate, left_out
from venturalitica_agent.evaluate.sample import Sample
from venturalitica_agent.evaluate.undefined import given


def mae_diff(control: Control, sample: Sample) -> Estimate:
    """Widest difference of the groups' mean absolute errors."""
    return _of_means(control, sample, "mean absolute error", is_ratio=False, absolute=True)


def mae_ratio(control: Control, sample: Sample) -> Estimate:
    """Lowest / highest mean absolute error, folded into [0, 1]."""
    return _of_means(control, sample, "mean absolute error", is_ratio=True, absolute=True)


def mean_residual_diff(control: Control, sample: Sample) -> Estimate:
    """Widest difference of the groups' mean residuals: is the model too high for one and too low for another?"""
    return _of_means(control, sample, "mean residual", is_ratio=False, absolute=False)


def _of_means(control: Control, sample: Sample, name: str, *, is_ratio: bool, absolute: bool) -> Estimate:
    """Each group's mean has Student's interval; pairs of them make that of the gap (Welch's, but for the t)."""
    grouping = sample.grouping(control.roles)
    residuals = given(sample.estimates, "predicted quantities") - given(sample.truth, "true quantities")
    used = ~np.isnan(residuals)
    codes, rows = grouping.codes[used], np.abs(residuals[used]) if absolute else residuals[used]
    groups = len(grouping.names)
    sizes = np.bincount(codes, minlength=groups)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.bincount(codes, rows, groups) / sizes
        deviations = np.sqrt(np.bincount(codes, (rows - means[codes]) ** 2, groups) / (sizes - 1))

    def ends(level: float) -> Ends:
        low, high = intervals.mean(means, deviations, sizes, level)
        return np.maximum(low, 0.0) if absolute else low, high

    def resample(compared: list[int], rng: np.random.Generator, times: int) -> Floats:
        errors = (deviations / np.sqrt(sizes))[compared]
        drawn: Floats = rng.normal(means[compared], np.nan_to_num(errors), (times, len(compared)))
        return np.maximum(drawn, 0.0) if absolute else drawn

    arms = Arms(name, means, sizes, ends, resample, "Student")
    notes = left_out(sample.n, int(used.sum()), "truth or no prediction")
    return compare(control, grouping, arms, notes, is_ratio=is_ratio)
