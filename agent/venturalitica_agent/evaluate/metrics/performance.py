"""How well a model predicts: proportions of counts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from venturalitica_agent.domain.policy import Control
from venturalitica_agent.domain.verdict import Interval
from venturalitica_agent.evaluate import intervals
from venturalitica_agent.evaluate.counts import ABSENT, JACCARD, PRECISION, TRUE_POSITIVE, Rate, count, f1_of_jaccard
from venturalitica_agent.evaluate.intervals import Floats
from venturalitica_agent.evaluate.metrics.estimate import Estimate, left_out
from venturalitica_agent.evaluate.planning import Growth
from venturalitica_agent.evaluate.sample import Sample
from venturalitica_agent.evaluate.undefined import Undefined, given

Transform = Callable[[Floats], Floats]
Resample = Callable[[np.random.Generator, int], Floats]

_MORE_DATA = "audit on data that has such rows"


def accuracy(control: Control, sample: Sample) -> Estimate:
    """Share of rows whose prediction is the label, over all classes; Wilson interval."""
    labels, predictions = given(sample.labels, "labels").codes, given(sample.predictions, "predictions").codes
    both = (labels >= 0) & (predictions >= 0)
    n = int(both.sum())
    if n == 0:
        raise Undefined("no row has both a label and a prediction", remedy=_MORE_DATA)
    right = int((labels == predictions)[both].sum())
    notes = left_out(sample.n, n, "label or no prediction")
    return proportion(control, right, n, n, notes, lambda rng, times: rng.binomial(n, right / n, times) / n)


def precision(control: Control, sample: Sample) -> Estimate:
    """Share of true positives among the rows predicted positive; Wilson interval."""
    return _of_rate(control, sample, PRECISION)


def recall(control: Control, sample: Sample) -> Estimate:
    """Share of rows predicted positive among those with a positive label; Wilson interval."""
    return _of_rate(control, sample, TRUE_POSITIVE)


def f1(control: Control, sample: Sample) -> Estimate:
    """Harmonic mean of precision and recall.

    F1 = 2J/(1+J) with J = TP/(TP+FP+FN), a proportion; so its interval is the Wilson interval of J, transformed: exact
    as J's, without resampling. Hand, Christen & Kirielle, Mach. Learn. 110 (2021) 451.
    """
    return _of_rate(control, sample, JACCARD, f1_of_jaccard, "Wilson score of TP/(TP+FP+FN), transformed")


def _of_rate(
    control: Control,
    sample: Sample,
    rate: Rate,
    transform: Transform = lambda share: share,
    method: str = "Wilson score",
) -> Estimate:
    counts = count(sample)
    (numerator,), (denominator,) = rate.of(counts)
    rows = int(rate.rows(counts)[0])
    if denominator == 0:
        raise Undefined(f"there are no {rate.base}, so it is 0/0", remedy=_MORE_DATA)
    notes = left_out(sample.n, rows, rate.needs)

    def resample(rng: np.random.Generator, times: int) -> Floats:
        known = counts[:, :ABSENT, :ABSENT].ravel()
        drawn = np.zeros((times, 1, 3, 3), dtype=np.int64)
        drawn[..., :ABSENT, :ABSENT] = rng.multinomial(rows, known / rows, times).reshape(times, 1, 2, 2)
        above, below = rate.of(drawn)
        with np.errstate(invalid="ignore"):
            return transform((above / below)[:, 0])

    return proportion(control, numerator, denominator, rows, notes, resample, transform, method)


def proportion(
    control: Control,
    numerator: float,
    denominator: float,
    rows: int,
    notes: tuple[str, ...],
    resample: Resample,
    transform: Transform = lambda share: share,
    method: str = "Wilson score",
) -> Estimate:
    def ends(factor: Floats) -> tuple[float, float]:
        low, high = intervals.wilson(numerator * factor, denominator * factor, control.level)
        return float(transform(low)[0]), float(transform(high)[0])

    low, high = ends(np.ones(1))
    return Estimate(
        value=float(transform(np.array(numerator / denominator))),
        interval=Interval(low, high, control.level, method),
        n=rows,
        notes=notes,
        resample=resample,
        growth=Growth(("",), np.array([rows], dtype=float), (0,), ends),
    )
