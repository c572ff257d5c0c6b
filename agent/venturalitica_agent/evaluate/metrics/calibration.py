"""Whether a score of 0.7 means that seven of ten rows are positive, and whether it means so in every group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from venturalitica_agent.domain.policy import Control
from venturalitica_agent.domain.verdict import Interval
from venturalitica_agent.evaluate.intervals import Ends, Floats
from venturalitica_agent.evaluate.metrics.comparison import Arms, compare
from venturalitica_agent.evaluate.metrics.estimate import Estimate, left_out, shrinking
from venturalitica_agent.evaluate.metrics.means import probabilities
from venturalitica_agent.evaluate.metrics.ranking import scored
from venturalitica_agent.evaluate.sample import Sample
from venturalitica_agent.evaluate.undefined import given

BINS = 10
DRAWS = 4000
SEED = 1
METHOD = "simulated distance of the bins"
RATE = "calibration error"


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """Rows by group and by tenth of the score; all (groups, BINS).

    Attributes:
        rows: how many. positive: how many of them have the positive label. scored: the sum of their scores.
    """

    rows: Floats
    positive: Floats
    scored: Floats

    @property
    def error(self) -> Floats:
        """(groups,) expected calibration error; NaN for a group without rows."""
        with np.errstate(invalid="ignore"):
            value: Floats = np.abs(self.positive - self.scored).sum(axis=-1) / self.rows.sum(axis=-1)
        return value

    def ends(self, level: float) -> Ends:
        """(groups,) intervals of the error.

        The error found is the sum of |true distance + noise| over the bins, so by the triangle inequality it is never
        farther from the true error than the sum of |noise|. That sum's quantile is drawn, from the normal noise of
        each bin's share of positives (with one more row of each label, so that no bin is thought to be without).
        This covers at least at the level, and it doesn't take the error that chance alone makes for a true one.
        """
        chance = (self.positive + 1) / (self.rows + 2)
        n = self.rows.sum(axis=-1, keepdims=True)
        with np.errstate(invalid="ignore"):
            noise = np.sqrt(self.rows * chance * (1 - chance)) / n
        draws = np.abs(np.random.default_rng(SEED).standard_normal((DRAWS, self.rows.shape[-1])))
        reach = np.quantile(draws @ noise.T, level, axis=0)
        return np.maximum(self.error - reach, 0.0), np.minimum(self.error + reach, 1.0)

    def of(self, groups: list[int]) -> Bins:
        return Bins(self.rows[groups], self.positive[groups], self.scored[groups])


def ece(control: Control, sample: Sample) -> Estimate:
    """Distance of the share of positives from the mean score, over ten bins of equal width, weighted by their rows."""
    bins, rows = _binned(sample, np.zeros(sample.n, dtype=np.int64), 1)
    low, high = bins.ends(control.level)
    interval = Interval(float(low[0]), float(high[0]), control.level, METHOD, SEED, DRAWS)
    value = float(bins.error[0])
    return Estimate(
        value=value,
        interval=interval,
        n=rows,
        notes=left_out(sample.n, rows, "label or no score"),
        resample=lambda rng, times: _again(bins, rng, times).error,
        growth=shrinking(value, interval, rows),
    )


def ece_diff(control: Control, sample: Sample) -> Estimate:
    """Widest difference of the groups' calibration errors."""
    grouping = sample.grouping(control.roles)
    bins, rows = _binned(sample, grouping.codes, len(grouping.names))
    sizes = bins.rows.sum(axis=1).astype(np.int64)

    def resample(compared: list[int], rng: np.random.Generator, times: int) -> Floats:
        return np.stack([_again(bins.of([g]), rng, times).error for g in compared], axis=-1)

    arms = Arms(RATE, bins.error, sizes, bins.ends, resample, METHOD, SEED, DRAWS)
    return compare(control, grouping, arms, left_out(sample.n, rows, "label or no score"), is_ratio=False)


def _again(bins: Bins, rng: np.random.Generator, times: int) -> Bins:
    """One group's bins, so many times, with labels drawn anew at each bin's share of positives."""
    share = np.divide(bins.positive, bins.rows, out=np.zeros_like(bins.rows), where=bins.rows > 0)
    drawn = rng.binomial(bins.rows.astype(np.int64), share, (times, BINS)).astype(float)
    return Bins(np.broadcast_to(bins.rows, drawn.shape), drawn, np.broadcast_to(bins.scored, drawn.shape))


def _binned(sample: Sample, groups: NDArray[np.int64], n_groups: int) -> tuple[Bins, int]:
    """The bins of each group, and how many rows are in them. A score on an edge belongs to the bin below it."""
    labels, scores = given(sample.labels, "labels"), given(sample.scores, "scores")
    scored(sample)  # refuses what has no rows of both classes
    used = (labels.codes >= 0) & ~np.isnan(scores)
    positive = np.array([*(v == sample.positive for v in labels.values), False])[labels.codes[used]]
    chance = probabilities(scores[used])
    cell = groups[used] * BINS + np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], chance)
    sums = (np.bincount(cell, weights, n_groups * BINS).astype(float) for weights in (None, positive, chance))
    return Bins(*(of.reshape(n_groups, BINS) for of in sums)), int(used.sum())
