"""How well a model tells classes apart, however many there are: functions of the label x prediction table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from venturalitica_agent.domain.policy import Control
from venturalitica_agent.domain.verdict import Interval
from venturalitica_agent.evaluate.coding import label, listing
from venturalitica_agent.evaluate.counts import Counts, confusion
from venturalitica_agent.evaluate.intervals import Floats, share, together
from venturalitica_agent.evaluate.metrics.estimate import Estimate, left_out
from venturalitica_agent.evaluate.planning import Growth
from venturalitica_agent.evaluate.sample import Sample
from venturalitica_agent.evaluate.undefined import Undefined, given

METHOD = "delta method, Student on the logit scale"
MAX_CLASSES = 100
"""More classes than this make a table of which nearly every cell is empty."""

Score = Callable[[Floats], float]
"""Of a (classes, classes) table of labels by predictions; it doesn't change when the whole table is multiplied."""

Slope = Callable[[Floats], Floats]
"""(classes, classes): by how much the score grows with one more row in each cell."""


def balanced_accuracy(control: Control, sample: Sample) -> Estimate:
    """Mean of the recalls of the classes that occur as labels, which are independent proportions."""
    table, rows = _table(sample)
    seen = table.sum(axis=1) > 0
    k = int(seen.sum())
    if k < 2:
        only = label(given(sample.labels, "labels").values[int(seen.argmax())])
        raise Undefined(f"the labels hold one class only ({only})", remedy="audit on data that has every class")
    right, of = table.diagonal()[seen].astype(float), table.sum(axis=1)[seen].astype(float)
    behind = (right + 1 / k) / (of + 2 / k)
    parts = [(p * (1 - p) / n / k**2, max(n - 1, 1)) for p, n in zip(behind, of + 2 / k, strict=True)]
    variance, degrees = together(parts)
    found = _Logit(float((right / of).mean()), float(behind.mean()), variance, degrees, rows)
    return _estimate(control, sample, found)


def f1_macro(control: Control, sample: Sample) -> Estimate:
    """Mean F1 of the classes that occur as label or as prediction."""

    def slope(table: Floats) -> Floats:
        both, own = table.sum(axis=1) + table.sum(axis=0), _f1(table) / (table.sum(axis=1) + table.sum(axis=0))
        step: Floats = (2 * np.diag(1 / both) - own[:, None] - own[None, :]) / len(table)
        return step

    return _of_table(control, sample, lambda table: float(_f1(table).mean()), slope)


def f1_weighted(control: Control, sample: Sample) -> Estimate:
    """Mean F1 of the classes, each weighted by its share of the labels."""

    def weighted(table: Floats) -> float:
        labels = table.sum(axis=1)
        return float((_f1(table) * labels).sum() / labels.sum())

    def slope(table: Floats) -> Floats:
        labels, f1 = table.sum(axis=1), _f1(table)
        share = labels / (labels + table.sum(axis=0))
        own = f1 * share
        steps = f1[:, None] - weighted(table) + 2 * np.diag(share) - own[:, None] - own[None, :]
        step: Floats = steps / labels.sum()
        return step

    return _of_table(control, sample, weighted, slope)


def mcc(control: Control, sample: Sample) -> Estimate:
    """Matthews correlation of labels and predictions, for two classes or more: Gorodkin, Comput. Biol. Chem. 28."""
    table, _ = _table(sample)
    for axis, what in ((1, "labels"), (0, "predictions")):
        if (table.sum(axis=axis) > 0).sum() < 2:
            raise Undefined(
                f"the {what} hold one class only, so it is 0/0",
                remedy="audit on data and a model that have two classes",
            )

    def correlation(table: Floats) -> float:
        shared, spread = _association(table)
        return float(shared / spread.prod() ** 0.5)

    def slope(table: Floats) -> Floats:
        labels, predictions, n = table.sum(axis=1), table.sum(axis=0), table.sum()
        _, spread = _association(table)
        gained = n * np.eye(len(table)) + np.trace(table) - predictions[:, None] - labels[None, :]
        lost = (n - labels)[:, None] / spread[0] + (n - predictions)[None, :] / spread[1]
        step: Floats = gained / spread.prod() ** 0.5 - correlation(table) * lost
        return step

    return _of_table(control, sample, correlation, slope, lowest=-1.0)


def _association(table: Floats) -> tuple[float, Floats]:
    """What labels and predictions share beyond chance, and how spread each of the two is; all times n squared."""
    sums = np.stack([table.sum(axis=1), table.sum(axis=0)])
    n = table.sum()
    return float(np.trace(table) * n - sums.prod(axis=0).sum()), n**2 - (sums**2).sum(axis=1)


def _f1(table: Floats) -> Floats:
    """F1 of each class; every class has a label or a prediction."""
    value: Floats = 2 * np.diagonal(table) / (table.sum(axis=1) + table.sum(axis=0))
    return value


def _table(sample: Sample) -> tuple[Counts, int]:
    """Labels by predictions of the rows that have both, and their number."""
    table = confusion(sample)[0, :-1, :-1]
    rows = int(table.sum())
    if rows == 0:
        raise Undefined("no row has both a label and a prediction", remedy="audit on data that has such rows")
    return table, rows


def _of_table(control: Control, sample: Sample, score: Score, slope: Slope, *, lowest: float = 0.0) -> Estimate:
    """A score between `lowest` and 1, with the variance that it has on multinomial tables (delta method).

    The degrees of freedom are those of the rows that a class has on average.
    """
    whole, rows = _table(sample)
    seen = (whole.sum(axis=0) + whole.sum(axis=1)) > 0
    table = whole[seen][:, seen].astype(float)
    k = len(table)
    if k < 2:
        raise Undefined("labels and predictions hold one class only", remedy="audit on data that has every class")
    if k > MAX_CLASSES:
        values = [v for v, here in zip(given(sample.labels, "labels").values, seen, strict=True) if here]
        raise Undefined(
            f"there are {k} classes ({listing(values, 4)}), more than {MAX_CLASSES}",
            remedy="ask for accuracy or balanced_accuracy, which have no such limit",
        )
    unseen = np.full((k, k), 1 / (k * (k - 1)))
    np.fill_diagonal(unseen, 1 / k)
    behind = table + unseen
    variance = float((slope(behind) ** 2 * behind).sum())
    return _estimate(control, sample, _Logit(score(table), score(behind), variance, rows / k - 1, rows, lowest))


@dataclass(frozen=True, slots=True)
class _Logit:
    """A score that is told on the logit scale of its range.

    Attributes:
        behind: the score of a table with two more rows that weren't seen, one right and one wrong, spread evenly over
            the cells of their kind; so a table without a mistake isn't taken for proof that there are none.
        variance: of the score on tables like that one, with so many `degrees` of freedom.
        rows: of the table. lowest: the score of the worst table; the best has 1.
    """

    value: float
    behind: float
    variance: float
    degrees: float
    rows: int
    lowest: float = 0.0

    def ends(self, factor: float, level: float) -> tuple[float, float]:
        """The interval with `factor` times the rows."""
        degrees = max(self.degrees * factor, 1.0)
        low, high = share(self._centre, self._variance / factor, degrees, level)
        return min(self._score(float(low)), self.value), max(self._score(float(high)), self.value)

    def resample(self, rng: np.random.Generator, times: int) -> Floats:
        spread = self._variance**0.5 / (self._centre * (1 - self._centre))
        drawn: Floats = self.lowest + (1 - self.lowest) * expit(rng.normal(logit(self._centre), spread, times))
        return drawn

    @property
    def _centre(self) -> float:
        certain = not self.lowest < self.value < 1
        return ((self.behind if certain else self.value) - self.lowest) / (1 - self.lowest)

    @property
    def _variance(self) -> float:
        return self.variance / (1 - self.lowest) ** 2

    def _score(self, share: float) -> float:
        return self.lowest + (1 - self.lowest) * share


def _estimate(control: Control, sample: Sample, found: _Logit) -> Estimate:
    low, high = found.ends(1.0, control.level)
    return Estimate(
        value=found.value,
        interval=Interval(low, high, control.level, METHOD),
        n=found.rows,
        notes=left_out(sample.n, found.rows, "label or no prediction"),
        resample=found.resample,
        growth=Growth(
            ("",),
            np.array([found.rows], dtype=float),
            (0,),
            lambda factor: found.ends(float(factor[0]), control.level),
        ),
    )
