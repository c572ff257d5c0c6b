"""What the data is like, whatever a model makes of it."""

from __future__ import annotations

import numpy as np

from venturalitica_agent.domain.policy import Control, Outcome
from venturalitica_agent.domain.verdict import GroupStat, Interval
from venturalitica_agent.evaluate.coding import label
from venturalitica_agent.evaluate.intervals import Floats, wilson
from venturalitica_agent.evaluate.metrics.estimate import Estimate, census, left_out
from venturalitica_agent.evaluate.planning import Growth
from venturalitica_agent.evaluate.sample import Sample
from venturalitica_agent.evaluate.undefined import Undefined, given


def class_imbalance(control: Control, sample: Sample) -> Estimate:
    """Count of the rarest class / count of the commonest.

    Given their sum, one of two class counts is binomial: the interval of a pair's ratio is its share's Wilson interval
    as odds, and that of the lowest ratio the minimum over pairs, simultaneous by Bonferroni (see `gaps`). Labels have
    the classes that occur; predictions have the labels' classes too, so a class that is never predicted gives 0.
    """
    outcome = given(sample.labels if control.of is Outcome.LABELS else sample.predictions, control.of)
    found = outcome.counts()
    classes = [i for i in range(len(found)) if found[i] or control.of is Outcome.PREDICTIONS]
    counts = found[classes]
    n = int(counts.sum())
    if n == 0:
        raise Undefined(f"no row has one of the {control.of}", remedy="audit on data that has rows")
    if len(counts) < 2:
        raise Undefined(
            f"the {control.of} hold one class only ({label(outcome.values[classes[0]])}): nothing to compare",
            remedy="audit on data that has every class",
        )
    first, second = np.triu_indices(len(counts), 1)
    each = 1 - (1 - control.level) / len(first)

    def ends(factor: Floats) -> tuple[float, float]:
        both = (counts[first] + counts[second]).astype(float)
        seen = both > 0
        low, high = wilson(counts[first][seen] * factor[0], both[seen] * factor[0], each)
        with np.errstate(divide="ignore"):
            low, high = low / (1 - low), high / (1 - high)
            return float(np.minimum(low, 1 / high).min()), float(min(1.0, np.minimum(high, 1 / low).min()))

    def resample(rng: np.random.Generator, times: int) -> Floats:
        drawn = rng.multinomial(n, counts / n, times)
        shares: Floats = drawn.min(axis=1) / drawn.max(axis=1)
        return shares

    low, high = ends(np.ones(1))
    method = "Wilson score of the share, as odds"
    names = [label(outcome.values[i]) for i in classes]
    return Estimate(
        value=float(counts.min() / counts.max()),
        interval=Interval(
            low, high, control.level, method if len(first) == 1 else f"{method}, Bonferroni over {len(first)} pairs"
        ),
        n=n,
        extremes=(names[int(counts.argmin())], names[int(counts.argmax())]),
        notes=left_out(sample.n, n, "label" if control.of is Outcome.LABELS else "prediction"),
        resample=resample,
        growth=Growth(("",), np.array([n], dtype=float), (0,), ends),
    )


def data_completeness(control: Control, sample: Sample) -> Estimate:
    """Share of the table's cells that hold a value: a census of this table, so exact."""
    cells = sample.n * sample.n_columns
    if cells == 0:
        raise Undefined("the table has no cells", remedy="audit on data that has columns")
    value = float(1 - sample.missing_by_row.sum() / cells)
    return Estimate(value=value, interval=census(value, control.level), n=sample.n)


def min_group_n(control: Control, sample: Sample) -> Estimate:
    """Rows of the smallest group of the role, also of those that were declared and have none: a census, so exact."""
    grouping = sample.groups[given(control.role, "group role")]
    sizes = np.bincount(grouping.codes, minlength=len(grouping.names))
    value = float(sizes.min())
    return Estimate(
        value=value,
        interval=census(value, control.level),
        n=sample.n,
        groups=tuple(GroupStat(name, int(size)) for name, size in zip(grouping.names, sizes, strict=True)),
        extremes=(grouping.names[int(sizes.argmin())], grouping.names[int(sizes.argmax())]),
    )
