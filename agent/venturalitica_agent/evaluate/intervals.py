"""Confidence intervals of proportions and means, of their differences and ratios, and of the area under a ROC curve.

All are closed forms: no random numbers, the same answer for ever, and usable at the narrow tails that comparing many
groups needs (a simulation would take millions of draws there). Counts may be fractions, so that one can ask what an
interval would be with more rows. All functions take arrays and work elementwise.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, gammaln, logit, ndtri, stdtrit

Floats = NDArray[np.float64]
Ends = tuple[Floats, Floats]
Arm = tuple[Floats, Floats, Floats]
"""An estimate with the low and high end of its interval."""

SMALL = 5
"""Under so many rows in any cell the normal approximation of a log ratio isn't used."""
_BLOCK = 1 << 20  # rows


def z_of(level: float) -> float:
    """The standard normal quantile of a two-sided interval of `level` (0 < level < 1)."""
    return float(ndtri(0.5 + level / 2))


def wilson(k: ArrayLike, n: ArrayLike, level: float) -> Ends:
    """Score interval of the proportion k of n (n > 0). Wilson, JASA 22 (1927); Newcombe 1998, method 3."""
    k, n = np.asarray(k, dtype=float), np.asarray(n, dtype=float)
    z2 = z_of(level) ** 2
    centre = (k + z2 / 2) / (n + z2)
    half = np.sqrt(z2 * (k * (n - k) / n + z2 / 4)) / (n + z2)
    return np.where(k <= 0, 0.0, centre - half), np.where(k >= n, 1.0, centre + half)


def newcombe(k1: ArrayLike, n1: ArrayLike, k2: ArrayLike, n2: ArrayLike, level: float) -> Ends:
    """Interval of k1/n1 - k2/n2 from the two Wilson intervals. Newcombe, Stat. Med. 17 (1998) 873, method 10."""
    return difference_of(_with_wilson(k1, n1, level), _with_wilson(k2, n2, level))


def difference_of(first: Arm, second: Arm) -> Ends:
    """Interval of first - second, two independent estimates of any kind, from the interval of each.

    The method of variance estimates recovery (MOVER): Zou & Donner, Stat. Med. 27 (2008) 1693.
    """
    (p1, l1, u1), (p2, l2, u2) = first, second
    d = p1 - p2
    return d - np.hypot(p1 - l1, u2 - p2), d + np.hypot(u1 - p1, p2 - l2)


def ratio(k1: ArrayLike, n1: ArrayLike, k2: ArrayLike, n2: ArrayLike, level: float) -> Ends:
    """Interval of (k1/n1) / (k2/n2): `katz`, or `mover_ratio` where any of the four counts is under 5."""
    k1, n1, k2, n2 = (np.asarray(x, dtype=float) for x in (k1, n1, k2, n2))
    few = np.minimum.reduce([k1, n1 - k1, k2, n2 - k2]) < SMALL
    plain = katz(k1, n1, k2, n2, level)
    exact = mover_ratio(k1, n1, k2, n2, level)
    return np.where(few, exact[0], plain[0]), np.where(few, exact[1], plain[1])


def katz(k1: ArrayLike, n1: ArrayLike, k2: ArrayLike, n2: ArrayLike, level: float) -> Ends:
    """Log-normal interval of a ratio of proportions, for counts over 0. Katz et al., Biometrics 34 (1978) 469."""
    k1, n1, k2, n2 = (np.asarray(x, dtype=float) for x in (k1, n1, k2, n2))
    with np.errstate(divide="ignore", invalid="ignore"):
        log = np.log(k1 / n1) - np.log(k2 / n2)
        half = z_of(level) * np.sqrt(1 / k1 - 1 / n1 + 1 / k2 - 1 / n2)
        return np.exp(log - half), np.exp(log + half)


def mover_ratio(k1: ArrayLike, n1: ArrayLike, k2: ArrayLike, n2: ArrayLike, level: float) -> Ends:
    """Interval of a ratio of proportions from the two Wilson intervals, sound at counts of 0 and n.

    The ratio's counterpart of Newcombe's difference: Donner & Zou, Stat. Methods Med. Res. 21 (2012) 347;
    recommended for small samples by Fagerland, Lydersen & Laake, ibid. 24 (2015) 224. The high end is infinite where
    the second proportion may be 0.
    """
    return ratio_of(_with_wilson(k1, n1, level), _with_wilson(k2, n2, level))


def ratio_of(first: Arm, second: Arm) -> Ends:
    """Interval of first / second, two independent estimates that can't be negative, from the interval of each."""
    (p1, l1, u1), (p2, l2, u2) = first, second
    product = p1 * p2
    least, most = l1 * (2 * p1 - l1), u1 * (2 * p1 - u1)
    below, above = l2 * (2 * p2 - l2), u2 * (2 * p2 - u2)
    with np.errstate(divide="ignore", invalid="ignore"):
        low = least / (product + np.sqrt(np.maximum(product**2 - least * above, 0)))
        high = (product + np.sqrt(np.maximum(product**2 - most * below, 0))) / below
    return np.where(l1 <= 0, 0.0, low), np.where(l2 <= 0, np.inf, high)


def mean(value: ArrayLike, deviation: ArrayLike, n: ArrayLike, level: float) -> Ends:
    """Student's interval of the mean of n values with their standard deviation; unbounded where that is 0 or unknown.

    Values that are all alike show no spread, which isn't to say that there is none.
    """
    value, deviation, n = (np.asarray(x, dtype=float) for x in (value, deviation, n))
    with np.errstate(invalid="ignore", divide="ignore"):
        half = stdtrit(n - 1, 0.5 + level / 2) * deviation / np.sqrt(n)
    half = np.where((n >= 2) & (deviation > 0), half, np.inf)
    return value - half, value + half


def share(value: ArrayLike, variance: ArrayLike, degrees: ArrayLike, level: float) -> Ends:
    """Student's interval on the logit scale of an estimate in (0, 1), from its variance (delta method).

    Near 0 and 1 an estimate is far from normal, and its logit much less so; the ends never leave (0, 1).
    """
    value, variance = np.asarray(value, dtype=float), np.asarray(variance, dtype=float)
    half = stdtrit(degrees, 0.5 + level / 2) * np.sqrt(variance) / (value * (1 - value))
    return expit(logit(value) - half), expit(logit(value) + half)


def together(parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Variance of a sum of independent parts, from (variance, degrees of freedom) of each, and its degrees of freedom.

    Satterthwaite, Biometrics Bulletin 2 (1946) 110. A variance of 0 has infinitely many degrees.
    """
    variance = sum(part for part, _ in parts)
    spread = sum(part**2 / degrees for part, degrees in parts if part)
    return variance, variance**2 / spread if spread else np.inf


def _with_wilson(k: ArrayLike, n: ArrayLike, level: float) -> Arm:
    k, n = np.asarray(k, dtype=float), np.asarray(n, dtype=float)
    low, high = wilson(k, n, level)
    return k / n, low, high


def fisher(k1: int, n1: int, k2: int, n2: int) -> float:
    """Two-sided p of Fisher's exact test that k1 of n1 and k2 of n2 have the same proportion behind them.

    The probability of all tables with these margins that are at most as likely as this one (within 1e-7, as in R).
    """
    hits = np.arange(max(0, k1 + k2 - n2), min(n1, k1 + k2) + 1)
    log = _log_choose(n1, hits) + _log_choose(n2, k1 + k2 - hits)
    chance = np.exp(log - log.max())
    return float(min(1.0, chance[chance <= chance[k1 - hits[0]] * (1 + 1e-7)].sum() / chance.sum()))


def _log_choose(n: int, k: NDArray[np.int64]) -> Floats:
    found: Floats = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return found


def placements(positives: Floats, negatives: Floats) -> tuple[float, Floats, Floats]:
    """Area under the ROC curve, and for each positive (negative) the share of the others that it is rightly beyond.

    Both classes are not empty; ties count half. The variances of these shares are those of DeLong et al., Biometrics 44
    (1988) 837, here in O(n log n): Sun & Xu, IEEE SPL 21 (2014) 1389.
    """
    m, n = len(positives), len(negatives)
    over_negatives = _below(positives, np.sort(negatives))
    area = float(over_negatives.sum() / (m * n))
    over_negatives /= n
    over_positives = _below(negatives, np.sort(positives))
    over_positives /= -m  # in place: these are as long as the table
    over_positives += 1
    return area, over_negatives, over_positives


def _below(values: Floats, others: Floats) -> Floats:
    """How many of `others` (ascending) are below each value; ties count half. In blocks, to need little memory."""
    found = np.empty(len(values))
    for start in range(0, len(values), _BLOCK):
        order = np.argsort(values[start : start + _BLOCK]) + start  # looking up what is sorted is many times faster
        ordered = values[order]
        found[order] = (np.searchsorted(others, ordered) + np.searchsorted(others, ordered, side="right")) / 2
    return found
