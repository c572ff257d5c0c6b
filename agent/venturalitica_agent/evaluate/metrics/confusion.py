"""How well a model tells classes apart, however many there are: functions of the label x prediction table."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from venturalitica_agent.domain.policy import Control
from venturalitica_agent.domain.verdict import Interval
from venturalitica_agent.evaluate.coding import label, listing
from venturalitica_agent.evaluate.counts import Counts, confusion
from venturalitica_agent.evaluate.intervals import Floats, sum_of, wilson
from venturalitica_agent.evaluate.metrics.estimate import Estimate, left_out, shrinking
from venturalitica_agent.evaluate.planning import Growth
from venturalitica_agent.evaluate.sample import Sample
from venturalitica_agent.evaluate.undefined import Undefined, given

RESAMPLES = 1000
SEED = 1
MAX_CLASSES = 100
"""More classes than this make a table of which nearly every cell is empty."""

Score = Callable[[Floats], Floats]
"""(..., classes, classes) tables of labels by predictions to (...) values."""


def balanced_accuracy(control: Control, sample: Sample) -> Estimate:
    """Mean of the recalls of the classes that occur as labels.

    The recalls are independent proportions: each has its Wilson interval, and those of the parts make that of the mean.
    """
    table, rows = _table(sample)
    seen = table.sum(axis=1) > 0
    if seen.sum() < 2:
        only = label(given(sample.labels, "labels").values[int(seen.argmax())])
        raise Undefined(f"the labels hold one class only ({only})", remedy="audit on data that has every class")
    right, of = table.diagonal()[seen].astype(float), table.sum(axis=1)[seen].astype(float)
    weights = np.full(len(of), 1 / len(of))

    def ends(factor: Floats) -> tuple[float, float]:
        return sum_of(weights, right / of, wilson(right * factor[0], of * factor[0], control.level))

    def resample(rng: np.random.Generator, times: int) -> Floats:
        drawn = rng.multinomial(rows, table.ravel() / rows, times).reshape(times, *table.shape)[:, seen]
        with np.errstate(invalid="ignore"):
            recalls = np.diagonal(drawn[:, :, seen], axis1=1, axis2=2) / drawn.sum(axis=2)
        values: Floats = recalls.mean(axis=1)
        return values

    low, high = ends(np.ones(1))
    return Estimate(
        value=float((right / of).mean()),
        interval=Interval(low, high, control.level, "MOVER mean of Wilson intervals"),
        n=rows,
        notes=left_out(sample.n, rows, "label or no prediction"),
        resample=resample,
        growth=Growth(("",), np.array([rows], dtype=float), (0,), ends),
    )


def f1_macro(control: Control, sample: Sample) -> Estimate:
    """Mean F1 of the classes that occur as label or as prediction."""
    return _of_table(control, sample, lambda table: _f1(table).mean(axis=-1))


def f1_weighted(control: Control, sample: Sample) -> Estimate:
    """Mean F1 of the classes, each weighted by its share of the labels."""

    def weighted(table: Floats) -> Floats:
        labels = table.sum(axis=-1)
        value: Floats = (_f1(table) * labels).sum(axis=-1) / labels.sum(axis=-1)
        return value

    return _of_table(control, sample, weighted)


def mcc(control: Control, sample: Sample) -> Estimate:
    """Matthews correlation of labels and predictions, for two classes or more: Gorodkin, Comput. Biol. Chem. 28."""
    table, _ = _table(sample)
    for axis, what in ((1, "labels"), (0, "predictions")):
        if (table.sum(axis=axis) > 0).sum() < 2:
            raise Undefined(
                f"the {what} hold one class only, so it is 0/0",
                remedy="audit on data and a model that have two classes",
            )

    def correlation(table: Floats) -> Floats:
        labels, predictions = table.sum(axis=-1), table.sum(axis=-2)
        n = labels.sum(axis=-1)
        shared = np.trace(table, axis1=-2, axis2=-1) * n - (labels * predictions).sum(axis=-1)
        spread = (n**2 - (labels**2).sum(axis=-1)) * (n**2 - (predictions**2).sum(axis=-1))
        value: Floats = shared / np.sqrt(spread)
        return value

    return _of_table(control, sample, correlation)


def _f1(table: Floats) -> Floats:
    """F1 of each class; every class has a label or a prediction."""
    value: Floats = 2 * np.diagonal(table, axis1=-2, axis2=-1) / (table.sum(axis=-1) + table.sum(axis=-2))
    return value


def _table(sample: Sample) -> tuple[Counts, int]:
    """Labels by predictions of the rows that have both, and their number."""
    table = confusion(sample)[0, :-1, :-1]
    rows = int(table.sum())
    if rows == 0:
        raise Undefined("no row has both a label and a prediction", remedy="audit on data that has such rows")
    return table, rows


def _of_table(control: Control, sample: Sample, score: Score) -> Estimate:
    """A score of the table, with an interval from draws of tables that could be behind it."""
    whole, rows = _table(sample)
    seen = (whole.sum(axis=0) + whole.sum(axis=1)) > 0
    table = whole[seen][:, seen].astype(float)
    if len(table) < 2:
        raise Undefined("labels and predictions hold one class only", remedy="audit on data that has every class")
    if len(table) > MAX_CLASSES:
        values = [v for v, here in zip(given(sample.labels, "labels").values, seen, strict=True) if here]
        raise Undefined(
            f"there are {len(table)} classes ({listing(values, 4)}), more than {MAX_CLASSES}",
            remedy="ask for accuracy or balanced_accuracy, which have no such limit",
        )
    value = float(score(table))
    drawn = score(_behind(table, np.random.default_rng(SEED), RESAMPLES))
    tail = (1 - control.level) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    interval = Interval(
        min(float(low), value), max(float(high), value), control.level, "Dirichlet draws of the table", SEED, RESAMPLES
    )
    return Estimate(
        value=value,
        interval=interval,
        n=rows,
        notes=left_out(sample.n, rows, "label or no prediction"),
        resample=lambda rng, times: score(_behind(table, rng, times)),
        growth=shrinking(value, interval, rows),
    )


def _behind(table: Floats, rng: np.random.Generator, times: int) -> Floats:
    """(times, classes, classes) tables of shares that could have given this one: draws from its Dirichlet posterior.

    To the rows seen come two that weren't, one right and one wrong, spread evenly over the cells of their kind; so a
    table without a mistake isn't taken for proof that there are none.
    """
    k = len(table)
    unseen = np.full((k, k), 1 / (k * (k - 1)))
    np.fill_diagonal(unseen, 1 / k)
    drawn: Floats = rng.standard_gamma(table + unseen, (times, k, k))
    return drawn
