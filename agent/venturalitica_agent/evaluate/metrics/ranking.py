"""How well scores put the positive rows before the negative ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from venturalitica_agent.domain.policy import Control
from venturalitica_agent.domain.verdict import Interval
from venturalitica_agent.evaluate import intervals
from venturalitica_agent.evaluate.coding import listing
from venturalitica_agent.evaluate.intervals import Floats
from venturalitica_agent.evaluate.metrics.estimate import Estimate, left_out
from venturalitica_agent.evaluate.planning import Growth
from venturalitica_agent.evaluate.sample import Sample
from venturalitica_agent.evaluate.undefined import Undefined, given

METHOD = "Student, on the logit scale"
LEAST_AREA, LEAST_PRECISION = 8, 2
"""The variance is never taken to be under that of so many times the rows of the rarer class, or of the positives, each
right with the probability of the value. Where few rows are out of order their spread says too little: without this,
95 % intervals cover 90 % at worst, and with it 93 % (`python -m tests.benchmarks coverage`)."""

Parts = list[tuple[float, float]]
"""(variance, degrees of freedom) of the independent parts of an estimate."""


def roc_auc(control: Control, sample: Sample) -> Estimate:
    """Area under the ROC curve of the positive class against the rest; ties count half."""
    truth, scores = scored(sample)
    value, *placed = intervals.placements(scores[truth], scores[~truth])
    return _area(control, sample, value, placed)


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
    by_label = [placed[codes == code] * size for code, size in zip(classes, sizes, strict=True)]
    return _area(control, sample, float(np.mean(areas)), by_label)


def average_precision(control: Control, sample: Sample) -> Estimate:
    """Mean of the precisions at which each positive row is found, going down the scores; tied rows are found together.

    Its variance is that of the rows' influence on it, within each class and between the two.
    """
    truth, scores = scored(sample)
    n, positives = len(truth), int(truth.sum())
    order = np.argsort(-scores, kind="stable")
    last_of_ties = np.append(np.flatnonzero(np.diff(scores[order])), n - 1)
    found, passed = np.cumsum(truth[order])[last_of_ties], last_of_ties + 1
    own = np.diff(found, prepend=0)
    others = np.diff(passed, prepend=0) - own
    precision = found / passed
    value = float((own * precision).sum() / positives)
    # One more row here adds to the rows passed at every positive from here down, and a positive one to those found.
    gained = _from_here_down(own / passed) + precision - value
    lost = _from_here_down(own * precision / passed)
    parts, between = [], 0.0
    for rows, influence in ((own, (gained - lost) / positives), (others, -lost / positives)):
        size = int(rows.sum())
        mean = float((rows * influence).sum() / size)
        parts.append((float((rows * (influence - mean) ** 2).sum()) * size / max(size - 1, 1), size - 1.0))
        between += size * mean**2
    sure, fewest = LEAST_PRECISION * positives, min(positives, n - positives)
    return _estimate(control, sample, value, parts, sure, fewest, n, between)


def _from_here_down(steps: Floats) -> Floats:
    return np.cumsum(steps[::-1])[::-1]


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


def _area(control: Control, sample: Sample, value: float, placed: Sequence[Floats]) -> Estimate:
    """`placed`: the placements of the rows of each label; an area is the mean of them within each."""
    sizes = [len(rows) for rows in placed]
    parts = [(_variance(rows) / len(rows), len(rows) - 1.0) for rows in placed]
    sure = LEAST_AREA * min(sizes) * (len(sizes) - 1)  # of k curves k - 1 are free
    return _estimate(control, sample, value, parts, sure, min(sizes), sum(sizes))


def _variance(rows: Floats) -> float:
    return float(rows.var(ddof=1)) if len(rows) > 1 and np.ptp(rows) > 1e-9 else 0.0  # below is rounding, not spread


def _estimate(
    control: Control,
    sample: Sample,
    value: float,
    parts: Parts,
    sure: int,
    fewest: int,
    n: int,
    between: float = 0.0,
) -> Estimate:
    """With Student's interval of the value's logit, by the variance that its parts have together.

    Where that is 0, the value certain, or one row all that there is of a class, the Wilson interval of `fewest` rows
    stands in its place, which is never narrower than what so few rows can say.

    Args:
        sure: rows of which the variance is at least that of a proportion. fewest: rows of the rarest class.
        between: variance that is known well, so that it takes no degrees of freedom.
    """
    within, degrees = intervals.together(parts)
    variance = within + between
    flat = not variance > 0 or not 0 < value < 1 or fewest < 2
    variance = max(variance, value * (1 - value) / sure)

    def ends(factor: Floats) -> tuple[float, float]:
        if flat:
            low, high = intervals.wilson(value * fewest * factor, fewest * factor, control.level)
        else:
            low, high = intervals.share(value, variance / factor, degrees * factor, control.level)
        return float(low[0]), float(high[0])

    def resample(rng: np.random.Generator, times: int) -> Floats:
        if flat:
            return rng.binomial(fewest, value, times) / fewest
        drawn: Floats = expit(rng.normal(logit(value), variance**0.5 / (value * (1 - value)), times))
        return drawn

    low, high = ends(np.ones(1))
    return Estimate(
        value=value,
        interval=Interval(low, high, control.level, "Wilson score at the rarer class's n" if flat else METHOD),
        n=n,
        notes=left_out(sample.n, n, "label or no score"),
        resample=resample,
        growth=Growth(("",), np.array([n], dtype=float), (0,), ends),
    )
