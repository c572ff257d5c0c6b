"""Metrics that are a mean over rows, or a function of one: how far probabilities or quantities are off."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from venturalitica_agent.domain.policy import Control
from venturalitica_agent.domain.verdict import Interval
from venturalitica_agent.evaluate import intervals
from venturalitica_agent.evaluate.intervals import Floats
from venturalitica_agent.evaluate.metrics.estimate import Estimate, left_out
from venturalitica_agent.evaluate.metrics.ranking import probable, scored
from venturalitica_agent.evaluate.planning import Growth
from venturalitica_agent.evaluate.sample import Sample
from venturalitica_agent.evaluate.undefined import Undefined, given

Fold = Callable[[float, float], tuple[float, float]]
"""The interval of a function of a mean, from that of the mean; both ends alike give the function itself."""

_LEAST = float(np.finfo(np.float64).eps)
MOST_LOSS = -float(np.log(_LEAST))
"""The loss of a probability of 0, which is raised to 2.2e-16 first, as scikit-learn does."""
_PERFECT = "every prediction equals the truth exactly: is the target among the model's inputs?"


def brier(control: Control, sample: Sample) -> Estimate:
    """Mean squared distance of the score of the positive class from 1 where the label is it, and from 0 elsewhere."""
    truth, scores = scored(sample)
    losses = (probabilities(scores) - truth) ** 2
    return _of_mean(control, sample, losses, "label or no score", most=1.0)


def log_loss(control: Control, sample: Sample) -> Estimate:
    """Mean of minus the logarithm of the probability that the model gave to the true class."""
    codes, chances, _ = probable(sample)
    if abs(probabilities(chances).sum(axis=1) - 1).max() > 1e-3:
        raise Undefined("the probabilities of a row don't add up to 1", remedy="log a model whose probabilities do")
    own = np.clip(chances[np.arange(len(codes)), codes], _LEAST, 1 - _LEAST)
    return _of_mean(control, sample, -np.log(own), "label or no probabilities", most=MOST_LOSS)


def mae(control: Control, sample: Sample) -> Estimate:
    """Mean absolute residual."""
    residuals, _ = quantities(sample)
    return _of_mean(control, sample, np.abs(residuals), _NEITHER)


def rmse(control: Control, sample: Sample) -> Estimate:
    """Root of the mean squared residual; its interval is the root of that of the mean."""
    residuals, _ = quantities(sample)
    return _of_mean(
        control, sample, residuals**2, _NEITHER, lambda low, high: (max(low, 0) ** 0.5, max(high, 0) ** 0.5)
    )


def abs_mean_residual(control: Control, sample: Sample) -> Estimate:
    """Size of the mean residual: how far predictions are off in one direction. The note says in which."""

    def size(low: float, high: float) -> tuple[float, float]:
        return max(low, -high, 0.0), max(abs(low), abs(high))

    residuals, _ = quantities(sample)
    mean = float(residuals.mean())
    way = "high" if mean > 0 else "low"
    notes = (f"predictions are {abs(mean):.6g} too {way} on average",) if mean else ()
    return _of_mean(control, sample, residuals, _NEITHER, size, notes=notes)


def r2(control: Control, sample: Sample) -> Estimate:
    """1 - (mean squared residual / variance of the truth).

    The logarithm of that quotient is nearly normal, with the variance of the rows' influence on it (delta method); a
    quotient of 0 has no such interval, and none is made up.
    """
    residuals, truth = quantities(sample)
    n = len(truth)
    squares, spread = residuals**2, (truth - truth.mean()) ** 2
    if n < 2 or not spread.any():
        raise Undefined("the truth is the same in every row: there is no variance to explain", remedy=_MORE)
    left = float(squares.mean() / spread.mean())
    influence = squares / squares.mean() - spread / spread.mean() if left else np.zeros(n)
    deviation = float(influence.std(ddof=1))

    def ends(factor: Floats) -> tuple[float, float]:
        low, high = intervals.mean(0.0, deviation, n * factor[0], control.level)
        return 1 - left * float(np.exp(high)) if left else -np.inf, 1 - left * float(np.exp(low))

    def resample(rng: np.random.Generator, times: int) -> Floats:
        values: Floats = 1 - left * np.exp(rng.normal(0.0, deviation / n**0.5, times))
        return values

    low, high = ends(np.ones(1))
    return Estimate(
        value=1 - left,
        interval=Interval(low, high, control.level, "delta method on log(1 − R²)" if left else _NO_SPREAD),
        n=n,
        notes=(*left_out(sample.n, n, _NEITHER), *((_PERFECT,) if not left else ())),
        resample=resample,
        growth=Growth(("",), np.array([n], dtype=float), (0,), ends) if left else None,
    )


_NEITHER = "truth or no prediction"
_MORE = "audit on data that has such rows"
_NO_SPREAD = "none: every row is alike, so the spread is unknown"


def quantities(sample: Sample) -> tuple[Floats, Floats]:
    """Residuals (prediction - truth) and truth of the rows that have both."""
    truth, estimates = given(sample.truth, "true quantities"), given(sample.estimates, "predicted quantities")
    both = ~(np.isnan(truth) | np.isnan(estimates))
    if not both.any():
        raise Undefined("no row has both a truth and a prediction", remedy=_MORE)
    return estimates[both] - truth[both], truth[both]


def probabilities(scores: Floats) -> Floats:
    """The same scores, if all of them can be probabilities."""
    low, high = float(scores.min()), float(scores.max())
    if low < 0 or high > 1:
        raise Undefined(
            f"the scores run from {low:g} to {high:g}: they are no probabilities",
            remedy="log a model that has predict_proba, or bind `score` to a column of probabilities",
        )
    return scores


def _of_mean(
    control: Control,
    sample: Sample,
    rows: Floats,
    lacking: str,
    fold: Fold = lambda low, high: (max(low, 0.0), high),
    *,
    most: float | None = None,
    notes: tuple[str, ...] = (),
) -> Estimate:
    """A function of the mean of `rows`, with Student's interval of the mean.

    Losses have a bound (`most`): their mean is a share of it, and the interval is that of the share's logit, which
    allows for the few rows that lose much. Rows that are all alike show no spread. If they have a bound, the Wilson
    interval of the share covers them: no quantity in [0, 1] varies more than a proportion of the same mean.
    """
    n, mean = len(rows), float(rows.mean())
    deviation = float(rows.std(ddof=1)) if n > 1 else 0.0
    alike = bool((rows == rows[0]).all())

    def ends(factor: Floats) -> tuple[float, float]:
        if alike and most is not None:
            low, high = intervals.wilson(mean / most * n * factor, n * factor, control.level)
            return fold(float(low[0]) * most, float(high[0]) * most)
        if most is not None:
            variance = (deviation / most) ** 2 / (n * factor)
            low, high = intervals.share(mean / most, variance, n * factor - 1, control.level)
            return fold(float(low[0]) * most, float(high[0]) * most)
        found = intervals.mean(mean, 0.0 if alike else deviation, n * factor[0], control.level)
        return fold(float(found[0]), float(found[1]))

    def resample(rng: np.random.Generator, times: int) -> Floats:
        return np.array([fold(m, m)[1] for m in rng.normal(mean, deviation / n**0.5, times)])

    low, high = ends(np.ones(1))
    if alike:
        method = _NO_SPREAD if most is None else "Wilson score of the share of the bound"
    else:
        method = "Student" if most is None else "Student, on the logit scale of the share of the bound"
    perfect = (_PERFECT,) if alike and most is None and not rows[0] else ()
    return Estimate(
        value=fold(mean, mean)[1],
        interval=Interval(low, high, control.level, method),
        n=n,
        notes=(*left_out(sample.n, n, lacking), *notes, *perfect),
        resample=resample,
        growth=Growth(("",), np.array([n], dtype=float), (0,), ends) if not alike or most is not None else None,
    )
