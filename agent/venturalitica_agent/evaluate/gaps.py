"""Gaps between groups: the widest difference, or the lowest ratio, of a rate, and an interval for it.

Let `r_ij` be the ratio of the rates of groups i and j, and `[l_ij, u_ij]` an interval for it. Each of m pairwise
intervals has level 1 - alpha/m, so by Bonferroni all hold at once with probability at least 1 - alpha. Whenever they
all hold, `min l_ij <= min r_ij <= min u_ij`, where the minimum is over ordered pairs (`[1/u_ij, 1/l_ij]` is the
interval of `r_ji`). So `[min l, min u]` covers the gap at level 1 - alpha, without any assumption on how the pairs
depend on each other, nor on which pair is the extreme one. Likewise the maximum of absolute differences. Several rates
(equalized odds) are one family: m counts the pairs of all. With two groups and one rate m is 1: the plain interval,
folded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from venturalitica_agent.evaluate.intervals import SMALL, Ends, Floats, difference_of, newcombe, ratio, ratio_of


@dataclass(frozen=True, slots=True)
class Gap:
    """How rates of groups become one number.

    Attributes:
        is_ratio: the lowest ratio (1 = equal) when True, else the widest absolute difference (0 = equal).
        reference: index of the group to compare the others with; None compares every pair.
        directed: with a reference, the ratio is group / reference and may exceed 1; else it is folded into [0, 1].
    """

    is_ratio: bool
    reference: int | None = None
    directed: bool = False

    def by_rate(self, rates: Floats) -> Floats:
        """(..., groups) rates to (...) gaps; NaN where it is 0/0, infinite over a reference rate of 0."""
        if self.reference is None:
            low, high = rates.min(axis=-1), rates.max(axis=-1)
            return _divide(low, high) if self.is_ratio else high - low
        base = rates[..., [self.reference]]
        others = np.delete(rates, self.reference, axis=-1)
        if not self.is_ratio:
            widest: Floats = np.abs(others - base).max(axis=-1)
            return widest
        folded = (others, base) if self.directed else (np.minimum(others, base), np.maximum(others, base))
        lowest: Floats = _divide(*folded).min(axis=-1)
        return lowest

    def value(self, rates: Floats) -> Floats:
        """(rates, ..., groups) to (...): the worst gap over the rates on the first axis."""
        gaps = self.by_rate(rates)
        worst: Floats = gaps.min(axis=0) if self.is_ratio else gaps.max(axis=0)
        return worst

    def extremes(self, rates: Floats) -> tuple[int, int, int]:
        """Which rate (of (rates, groups)) makes the gap, between which groups: (rate, lowest, highest)."""
        gaps = self.by_rate(rates)
        worst = int(gaps.argmin() if self.is_ratio else gaps.argmax())
        of = rates[worst]
        if self.reference is None:
            return worst, int(of.argmin()), int(of.argmax())
        base = self.reference
        one_by_one = [Gap(self.is_ratio, 0, self.directed).by_rate(of[[base, g]]) for g in range(len(of)) if g != base]
        farthest = int(np.argmin(one_by_one) if self.is_ratio else np.argmax(one_by_one))
        other = farthest + (farthest >= base)
        if self.is_ratio and self.directed:
            return worst, other, base
        low, high = (other, base) if of[other] <= of[base] else (base, other)
        return worst, low, high

    def pairs(self, groups: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Indexes (i, j) of the compared pairs; j is the reference where there is one."""
        if self.reference is None:
            return np.triu_indices(groups, 1)
        others = np.delete(np.arange(groups), self.reference)
        return others, np.full(groups - 1, self.reference)

    def interval(self, numerators: Floats, denominators: Floats, level: float) -> tuple[float, float]:
        """The simultaneous interval, from (rates, groups) counts with denominators over 0."""
        i, j = self.pairs(numerators.shape[-1])
        each = 1 - (1 - level) / (len(i) * len(numerators))
        arms = numerators[:, i], denominators[:, i], numerators[:, j], denominators[:, j]
        return self._folded(*(ratio if self.is_ratio else newcombe)(*arms, each))

    def interval_of(self, values: Floats, ends: Callable[[float], Ends], level: float) -> tuple[float, float]:
        """The simultaneous interval of (groups) independent estimates; `ends` gives their intervals at a level."""
        i, j = self.pairs(len(values))
        low, high = ends(1 - (1 - level) / len(i))
        arms = (values[i], low[i], high[i]), (values[j], low[j], high[j])
        return self._folded(*(ratio_of if self.is_ratio else difference_of)(*arms))

    def _folded(self, low: Floats, high: Floats) -> tuple[float, float]:
        """The interval of the gap, from one for each pair that together hold at the level."""
        if not self.is_ratio:
            nearest = np.maximum(0.0, np.maximum(low, -high))
            return float(nearest.max()), float(np.maximum(np.abs(low), np.abs(high)).max())
        if not self.directed:
            with np.errstate(divide="ignore"):
                low, high = np.minimum(low, 1 / high), np.minimum(np.minimum(high, 1 / low), 1.0)
        return float(low.min()), float(high.min())

    def method(self, numerators: Floats, denominators: Floats) -> str:
        """The name of what `interval` computes on these counts."""
        pairs = len(self.pairs(numerators.shape[-1])[0]) * len(numerators)
        name = "Newcombe score difference"
        if self.is_ratio:
            few = np.minimum(numerators, denominators - numerators) < SMALL
            name = "MOVER ratio of Wilson intervals" if few.all() else "Katz log ratio"
            if few.any() and not few.all():
                name += ", MOVER ratio of Wilson intervals for counts under 5"
        return name if pairs == 1 else f"{name}, Bonferroni over {pairs} pairs"


def _divide(numerator: Floats, denominator: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.divide(numerator, denominator)
