"""How well scores put the positive rows before the negative ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from venturalitica_agent.domain.policy import Control
from venturalitica_agent.domain.verdict import Interval
from venturalitica_agent.evaluate import intervals
from venturalitica_agent.evaluate.coding import listing
from venturalitica_agent.evaluate.intervals import Floats
from venturalitica_agent.evaluate.metrics.estimate import Estimate, left_out
from venturalitica_agent.evaluate.planning import Growth
from venturalitica_agent.evaluate.sample import Sample
from venturalitica_agent.evaluate.undefined import Undefined, given

Ends = Callable[[Floats], tuple[float, float]]


def roc_auc(control: Control, sample: Sample) -> Estimate:
    """Area under the ROC curve of the positive class against the rest; ties count half.

    DeLong interval; where its variance is 0 (perfect or constant scores) the Wilson interval of so many rows as the
    rarer class has, which is never narrower than what so few rows can say.
    """
    truth, scores = scored(sample)
    value, variance = intervals.auc(scores[truth], scores[~truth])
    return _area(control, sample, value, variance, len(scores), int(min(truth.sum(), (~truth).sum())))


def roc_auc_ovr(control: Control, sample: Sample) -> Estimate:
    """Mean over the classes of the area under the ROC curve of a class's probability against the rest.

    A row has a placement in every class's curve. The variance is that of its mean placement within the rows of one
    label: for one curve this is DeLong's, and curves that err together are counted together.
    """
    codes, chances, values = probable(sample)
    classes, sizes = np.unique(codes, return_counts=True)
    if len(classes) < len(values) or len(values) < 2:
        absent = [v for i, v in enumerate(values) if i not in classes]
        raise Undefined(
            f"no row with probabilities has the label {listing(absent)}"
            if absent
            else "the labels hold one class only",
            remedy="audit on data that has every class that the model knows",
        )
    placed, areas = np.zeros(len(codes)), []
    for code, size in zip(classes, sizes, strict=True):
        own = codes == code
        area, over_others, over_own = intervals.placements(chances[own, code], chances[~own, code])
        areas.append(area)
        placed[own] += over_others / size
        placed[~own] += over_own / (len(codes) - size)
    placed /= len(classes)
    variance = 0.0
    for code, size in zip(classes, sizes, strict=True):
        of_label = placed[codes == code]
        if np.ptp(of_label) * size > 1e-9:  # below is rounding, not spread
            variance += float(of_label.var(ddof=1)) * size
    return _area(control, sample, float(np.mean(areas)), variance, len(codes), int(sizes.min()))


def average_precision(control: Control, sample: Sample) -> Estimate:
    """Mean of the precisions at which each positive row is found, going down the scores; tied rows are found together.

    Its interval is the Wilson interval of so many rows as there are positives: the binomial interval of Boyd, Eng &
    Page, ECML PKDD 2013, with Wilson's in place of the plain one.
    """
    truth, scores = scored(sample)
    positives = int(truth.sum())
    order = np.argsort(-scores, kind="stable")
    last_of_ties = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    found = np.cumsum(truth[order])[last_of_ties]
    value = float((np.diff(found, prepend=0) * found / (last_of_ties + 1)).sum() / positives)

    def ends(factor: Floats) -> tuple[float, float]:
        low, high = intervals.wilson(value * positives * factor, positives * factor, control.level)
        return float(low[0]), float(high[0])

    def resample(rng: np.random.Generator, times: int) -> Floats:
        return rng.binomial(positives, value, times) / positives

    return _estimate(control, sample, value, ends, len(scores), "Wilson score at the positives' n", resample)


def scored(sample: Sample) -> tuple[NDArray[np.bool_], Floats]:
    """Whether the label is the positive class, and the score, of the rows that have both; each class has some."""
    labels, scores = given(sample.labels, "labels"), given(sample.scores, "scores")
    truth = np.array([*(v == sample.positive for v in labels.values), False])[labels.codes]
    both = (labels.codes >= 0) & ~np.isnan(scores)
    if not both.all():
        truth, scores = truth[both], scores[both]
    if not 0 < truth.sum() < len(truth):
        raise Undefined("only one class has rows with a score", remedy="audit on data that has both classes")
    return truth, scores


def probable(sample: Sample) -> tuple[NDArray[np.int64], Floats, tuple[object, ...]]:
    """Label codes and (rows, classes) probabilities of the rows that have both, and the classes.

    Classes of the model that no label of this table has are among them.
    """
    labels, chances = given(sample.labels, "labels"), given(sample.probabilities, "probabilities")
    both = (labels.codes >= 0) & ~np.isnan(chances).any(axis=1)
    if not both.any():
        raise Undefined("no row has both a label and probabilities", remedy="audit on data that has such rows")
    return labels.codes[both], chances[both], labels.values


def _area(control: Control, sample: Sample, value: float, variance: float, n: int, fewest: int) -> Estimate:
    """`fewest`: rows of the rarest class."""
    flat = not variance > 0

    def ends(factor: Floats) -> tuple[float, float]:
        if flat:
            low, high = intervals.wilson(value * fewest * factor, fewest * factor, control.level)
            return float(low[0]), float(high[0])
        half = intervals.z_of(control.level) * float(np.sqrt(variance / factor[0]))
        return max(0.0, value - half), min(1.0, value + half)

    def resample(rng: np.random.Generator, times: int) -> Floats:
        return rng.binomial(fewest, value, times) / fewest if flat else rng.normal(value, variance**0.5, times)

    return _estimate(
        control, sample, value, ends, n, "Wilson score at the rarer class's n" if flat else "DeLong", resample
    )


def _estimate(
    control: Control,
    sample: Sample,
    value: float,
    ends: Ends,
    n: int,
    method: str,
    resample: Callable[[np.random.Generator, int], Floats],
) -> Estimate:
    low, high = ends(np.ones(1))
    return Estimate(
        value=value,
        interval=Interval(low, high, control.level, method),
        n=n,
        notes=left_out(sample.n, n, "label or no score"),
        resample=resample,
        growth=Growth(("",), np.array([n], dtype=float), (0,), ends),
    )
