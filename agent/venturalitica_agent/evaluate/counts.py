"""The one count of group x label x prediction, and the rates that derive from it.

Counting is the only pass over the rows; a million rows take milliseconds. All rates work on one table as on a stack of
resampled tables.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from venturalitica_agent.domain.policy import Outcome
from venturalitica_agent.evaluate.coding import Coded
from venturalitica_agent.evaluate.sample import Sample

NEGATIVE, POSITIVE, ABSENT = 0, 1, 2

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


def count(sample: Sample, role: str | None = None) -> Counts:
    """(groups, 3, 3) of a role, or (1, 3, 3) of the whole table. Rows with an absent label or prediction are in it."""
    group = sample.groups[role].codes if role is not None else np.zeros(sample.n, dtype=np.int64)
    groups = len(sample.groups[role].names) if role is not None else 1
    cell = (group * 3 + _state(sample, sample.labels)) * 3 + _state(sample, sample.predictions)
    return np.bincount(cell, minlength=groups * 9).reshape(groups, 3, 3)


def _state(sample: Sample, column: Coded | None) -> NDArray[np.int64]:
    if column is None or sample.positive is None:
        return np.full(sample.n, ABSENT, dtype=np.int64)
    states = np.array([*(v == sample.positive for v in column.values), ABSENT], dtype=np.int64)
    return states[column.codes]


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


def _given_label(label: int) -> Callable[[Counts], Rates]:
    return lambda counts: _share(counts[..., label, POSITIVE], _known(counts)[..., label, :].sum(axis=-1))


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
TRUE_POSITIVE = Rate("true positive rate", "rows with a positive label", _given_label(POSITIVE), _complete, _BOTH)
FALSE_POSITIVE = Rate("false positive rate", "rows with a negative label", _given_label(NEGATIVE), _complete, _BOTH)
PRECISION = Rate("precision", "rows predicted positive", _precision, _complete, _BOTH)
JACCARD = Rate("Jaccard index", "rows with a positive label or prediction", _jaccard, _complete, _BOTH)
"""F1 = 2J / (1 + J)."""
