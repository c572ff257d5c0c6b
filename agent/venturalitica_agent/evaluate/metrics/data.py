"""What the data is like, whatever a model makes of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from venturalitica_agent.domain.policy import Control, Outcome
from venturalitica_agent.domain.verdict import GroupStat, Interval
from venturalitica_agent.evaluate.coding import label, listing
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
    counts, names = _classes(control, sample)
    n = int(counts.sum())
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


def minority_share(control: Control, sample: Sample) -> Estimate:
    """Count of the rarest class / rows that have one.

    The lowest of the classes' Wilson intervals, simultaneous by Bonferroni: the same as for the worst group.
    """
    counts, names = _classes(control, sample)
    n = int(counts.sum())
    m = 1 if len(counts) == 2 else len(counts)  # of two classes one share says all

    def ends(factor: Floats) -> tuple[float, float]:
        low, high = wilson(counts * factor, np.full(len(counts), n) * factor, 1 - (1 - control.level) / m)
        return float(low.min()), float(min(high.min(), 1 / len(counts)))

    def resample(rng: np.random.Generator, times: int) -> Floats:
        shares: Floats = rng.multinomial(n, counts / n, times).min(axis=1) / n
        return shares

    low, high = ends(np.ones(1))
    method = "Wilson score" if m == 1 else f"Wilson score, Bonferroni over {m} classes"
    return Estimate(
        value=float(counts.min() / n),
        interval=Interval(low, high, control.level, method),
        n=n,
        notes=(
            f"the rarest class is {names[int(counts.argmin())]}",
            *left_out(sample.n, n, "label" if control.of is Outcome.LABELS else "prediction"),
        ),
        resample=resample,
        growth=Growth(("",), np.array([n], dtype=float), (0,), ends),
    )


def _classes(control: Control, sample: Sample) -> tuple[NDArray[np.int64], list[str]]:
    """Rows and name of each class; of at least two.

    Labels have the classes that occur; predictions have the labels' classes too.
    """
    outcome = given(sample.labels if control.of is Outcome.LABELS else sample.predictions, control.of)
    found = outcome.counts()
    classes = [i for i in range(len(found)) if found[i] or control.of is Outcome.PREDICTIONS]
    counts = found[classes]
    if counts.sum() == 0:
        raise Undefined(f"no row has one of the {control.of}", remedy="audit on data that has rows")
    if len(counts) < 2:
        raise Undefined(
            f"the {control.of} hold one class only ({label(outcome.values[classes[0]])}): nothing to compare",
            remedy="audit on data that has every class",
        )
    return counts, [label(outcome.values[i]) for i in classes]


def data_completeness(control: Control, sample: Sample) -> Estimate:
    """Share of the table's cells that hold a value: a census of this table, so exact."""
    cells = given(sample.cells, "counts of missing cells")
    if cells.total == 0:
        raise Undefined("the table has no cells", remedy="audit on data that has columns")
    value = 1 - cells.missing / cells.total
    return Estimate(value=value, interval=census(value, control.level), n=sample.n)


def min_group_n(control: Control, sample: Sample) -> Estimate:
    """Rows of the smallest group of the role, also of those that were declared and have none: a census, so exact."""
    grouping = sample.grouping(control.roles)
    sizes = np.bincount(grouping.codes, minlength=len(grouping.names))
    value = float(sizes.min())
    return Estimate(
        value=value,
        interval=census(value, control.level),
        n=sample.n,
        groups=tuple(GroupStat(name, int(size)) for name, size in zip(grouping.names, sizes, strict=True)),
        extremes=(grouping.names[int(sizes.argmin())], grouping.names[int(sizes.argmax())]),
    )


def representation_gap(control: Control, sample: Sample) -> Estimate:
    """Widest |share of the rows − declared share| over the groups; what the policy doesn't declare has a share of 0.

    The declared shares are constants, so each group's interval is the set of their distances from its share's Wilson
    interval, and that of the widest gap the maximum over groups, simultaneous by Bonferroni.
    """
    grouping = sample.grouping(control.roles)
    strangers = [name for name in control.shares if name not in grouping.names]
    if strangers:
        raise Undefined(
            f"{control.role_name} has no group {listing(strangers)}; its groups are {listing(grouping.names, 40)}",
            remedy="correct `shares:`, or declare the group in `groups:` of agent.yaml if no row needs to be in it",
        )
    counts = np.bincount(grouping.codes, minlength=len(grouping.names))
    declared = np.array([control.shares.get(name, 0.0) for name in grouping.names])
    n, m = sample.n, max(1, len(counts) - (len(counts) == 2))
    gaps = np.abs(counts / n - declared)
    widest = grouping.names[int(gaps.argmax())]

    def ends(factor: Floats) -> tuple[float, float]:
        low, high = wilson(counts * factor, np.full(len(counts), n) * factor, 1 - (1 - control.level) / m)
        near = np.maximum(0.0, np.maximum(low - declared, declared - high))
        return float(near.max()), float(np.maximum(high - declared, declared - low).max())

    def resample(rng: np.random.Generator, times: int) -> Floats:
        drawn: Floats = np.abs(rng.multinomial(n, counts / n, times) / n - declared).max(axis=1)
        return drawn

    low, high = ends(np.ones(1))
    method = "distances of the Wilson score from the declared shares"
    return Estimate(
        value=float(gaps.max()),
        interval=Interval(low, high, control.level, method + (f", Bonferroni over {m} groups" if m > 1 else "")),
        n=n,
        groups=tuple(
            GroupStat(name, int(count), float(count / n), int(count), n)
            for name, count in zip(grouping.names, counts, strict=True)
        ),
        extremes=(widest, widest),
        resample=resample,
        growth=Growth(("",), np.array([n], dtype=float), (0,), ends),
    )
