"""The one count of group x label x prediction, and the rates that derive from it.

Counting is the only pass over the rows; a million rows take milliseconds. All rates work on one table as on a stack of
resampled tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from venturalitica_agent.domain.policy import Outcome
from venturalitica_agent.evaluate.grouping import Grouping
from venturalitica_agent.evaluate.sample import Sample
from venturalitica_agent.evaluate.undefined import Undefined

NEGATIVE, POSITIVE, ABSENT = 0, 1, 2
MAX_CELLS = 2_000_000
_BLOCK = 1 << 20  # rows; all of them at once would take three more columns of memory

Counts = NDArray[np.int64]
"""(..., groups, 3, 3): rows by group, by label and by prediction; each negative, positive or absent."""

Rates = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Numerator and denominator of a rate in each group, (..., groups)."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A proportion of rows.

    Attributes:
        name: what it is, for people.
        base: what its denominator counts, for people: "rows with a positive label".
        of: numerator and denominator in each group of a count.
        rows: rows of each group for which the rate is observable.
        needs: what a row must have for that, for people.
    """

    name: str
    base: str
    of: Callable[[Counts], Rates]
    rows: Callable[[Counts], Counts]
    needs: str


def confusion(sample: Sample, grouping: Grouping | None = None) -> Counts:
    """(groups, k + 1, k + 1): rows by group, by label and by prediction, each one of k classes or (the last) absent.

    Labels and predictions share their classes; where only one of them is there, the other is absent in every row.

    Raises:
        Undefined: when there are too many classes to tell them all apart in every group.
    """
    k, groups = len(classes(sample)), _groups(grouping)
    if groups * (k + 1) ** 2 > MAX_CELLS:
        raise Undefined(
            f"{k} classes in {groups} groups are too many to tell apart", remedy="bind wider groups or fewer classes"
        )
    return _tabulate(sample, grouping, [*range(k), k])


def count(sample: Sample, grouping: Grouping | None = None) -> Counts:
    """(groups, 3, 3) by positive and negative. Rows with an absent label or prediction are in it."""
    return _tabulate(sample, grouping, [*(int(v == sample.positive) for v in classes(sample)), ABSENT])


def classes(sample: Sample) -> tuple[object, ...]:
    """The values that labels and predictions share."""
    known = sample.labels if sample.labels is not None else sample.predictions
    return known.values if known is not None else ()


def _tabulate(sample: Sample, grouping: Grouping | None, states: Sequence[int]) -> Counts:
    """The only pass over the rows, in blocks. `states` of the classes, then (the highest) that of an absent one."""
    table, width = np.array(states, dtype=np.int64), states[-1] + 1
    columns = (sample.labels, sample.predictions)
    groups = _groups(grouping)
    found = np.zeros(groups * width**2, dtype=np.int64)
    for start in range(0, sample.n, _BLOCK):
        rows = slice(start, min(start + _BLOCK, sample.n))
        label, prediction = (table[column.codes[rows]] if column is not None else table[[-1]] for column in columns)
        cell = label * width + prediction
        if grouping is not None:
            cell = cell + grouping.codes[rows] * width**2
        found += np.bincount(np.broadcast_to(cell, rows.stop - start), minlength=len(found))
    return found.reshape(groups, width, width)


def _groups(grouping: Grouping | None) -> int:
    return len(grouping.names) if grouping is not None else 1


def against_rest(counts: Counts, positive: int) -> Counts:
    """(..., groups, k + 1, k + 1) to (..., groups, 3, 3): one class against all others."""
    member = np.zeros((counts.shape[-1], 3), dtype=np.int64)
    member[:-1, NEGATIVE] = 1
    member[positive] = 0, 1, 0
    member[-1, ABSENT] = 1
    folded: Counts = member.T @ counts @ member
    return folded


def right(counts: Counts) -> Counts:
    """(..., groups, k + 1, k + 1) to (..., groups, 3, 3) in which the positive prediction is the right one.

    Every known label counts as positive: the true positive rate of that table is the accuracy over all classes.
    """
    known = counts[..., :-1, :-1]
    hits = np.trace(known, axis1=-2, axis2=-1)
    table = np.zeros((*counts.shape[:-2], 3, 3), dtype=np.int64)
    table[..., POSITIVE, POSITIVE] = hits
    table[..., POSITIVE, NEGATIVE] = known.sum(axis=(-2, -1)) - hits
    table[..., ABSENT, ABSENT] = counts.sum(axis=(-2, -1)) - known.sum(axis=(-2, -1))
    return table


def _known(counts: Counts) -> Counts:
    return counts[..., :ABSENT, :ABSENT]


def _complete(counts: Counts) -> Counts:
    total: Counts = _known(counts).sum(axis=(-2, -1))
    return total


def _share(numerator: Counts, denominator: Counts) -> Rates:
    return numerator.astype(np.float64), denominator.astype(np.float64)


def _selected_labels(counts: Counts) -> Rates:
    labels = counts.sum(axis=-1)
    return _share(labels[..., POSITIVE], labels[..., :ABSENT].sum(axis=-1))


def _selected_predictions(counts: Counts) -> Rates:
    predictions = counts.sum(axis=-2)
    return _share(predictions[..., POSITIVE], predictions[..., :ABSENT].sum(axis=-1))


def _given_label(label: int, prediction: int = POSITIVE) -> Callable[[Counts], Rates]:
    return lambda counts: _share(counts[..., label, prediction], _known(counts)[..., label, :].sum(axis=-1))


def _precision(counts: Counts) -> Rates:
    return _share(counts[..., POSITIVE, POSITIVE], _known(counts)[..., :, POSITIVE].sum(axis=-1))


def _jaccard(counts: Counts) -> Rates:
    known = _known(counts)
    return _share(counts[..., POSITIVE, POSITIVE], known.sum(axis=(-2, -1)) - known[..., NEGATIVE, NEGATIVE])


_BOTH = "label or no prediction"
SELECTION = {
    Outcome.LABELS: Rate(
        "selection rate",
        "rows with a label",
        _selected_labels,
        lambda counts: counts[..., :ABSENT, :].sum(axis=(-2, -1)),
        "label",
    ),
    Outcome.PREDICTIONS: Rate(
        "selection rate",
        "rows with a prediction",
        _selected_predictions,
        lambda counts: counts[..., :ABSENT].sum(axis=(-2, -1)),
        "prediction",
    ),
}
ACCURACY = Rate("accuracy", "rows with a label and a prediction", _given_label(POSITIVE), _complete, _BOTH)
"""Of the counts that `right` makes."""
TRUE_POSITIVE = Rate("true positive rate", "rows with a positive label", _given_label(POSITIVE), _complete, _BOTH)
FALSE_POSITIVE = Rate("false positive rate", "rows with a negative label", _given_label(NEGATIVE), _complete, _BOTH)
FALSE_NEGATIVE = Rate(
    "false negative rate", "rows with a positive label", _given_label(POSITIVE, NEGATIVE), _complete, _BOTH
)
PRECISION = Rate("precision", "rows predicted positive", _precision, _complete, _BOTH)
JACCARD = Rate("Jaccard index", "rows with a positive label or prediction", _jaccard, _complete, _BOTH)
"""F1 = 2J / (1 + J): see `f1_of_jaccard`."""


def f1_of_jaccard(index: NDArray[np.float64]) -> NDArray[np.float64]:
    """F1 from TP/(TP+FP+FN), which is a proportion: Hand, Christen & Kirielle, Mach. Learn. 110 (2021) 451."""
    return 2 * index / (1 + index)
