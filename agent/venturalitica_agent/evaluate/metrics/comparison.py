"""What comparing groups always begins with: which of them can be compared, with which one, and why not the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from venturalitica_agent.domain.policy import LARGEST, Control
from venturalitica_agent.domain.verdict import GroupStat, Interval
from venturalitica_agent.evaluate.coding import listing
from venturalitica_agent.evaluate.gaps import Gap
from venturalitica_agent.evaluate.grouping import MISSING_GROUP, OTHER_GROUP, Grouping
from venturalitica_agent.evaluate.intervals import Ends, Floats
from venturalitica_agent.evaluate.metrics.estimate import Estimate
from venturalitica_agent.evaluate.planning import Growth
from venturalitica_agent.evaluate.undefined import Undefined


@dataclass(frozen=True, slots=True, eq=False)
class Arms:
    """One quantity of every group, where it isn't a proportion. What a quantity of counts needs is in `fairness`.

    Attributes:
        name: what it is, for people.
        values: (groups,), NaN where undefined. rows: (groups,) rows that it rests on.
        ends: (groups,) intervals at a level. method, seed, resamples: of those intervals.
        resample: of some groups, so many times: (times, those groups).
    """

    name: str
    values: Floats
    rows: NDArray[np.int64]
    ends: Callable[[float], Ends]
    resample: Callable[[list[int], np.random.Generator, int], Floats]
    method: str
    seed: int | None = None
    resamples: int | None = None


def compare(control: Control, grouping: Grouping, arms: Arms, notes: tuple[str, ...], *, is_ratio: bool) -> Estimate:
    """The widest difference, or the lowest ratio, of a quantity that isn't a proportion."""
    names = grouping.names
    reasons = [
        f"n={n} < {control.min_group}" if n < control.min_group else "" if np.isfinite(value) else "no rows"
        for n, value in zip(arms.rows, arms.values, strict=True)
    ]
    compared = comparable(names, reasons)
    reference = reference_of(control, names, arms.rows, compared, reasons)
    gap = Gap(is_ratio, reference)
    values, rows = arms.values[compared], arms.rows[compared].astype(float)
    value = float(gap.by_rate(values))
    if not np.isfinite(value):
        raise Undefined(
            f"the {arms.name} is 0 in every compared group, so the ratio is a division by 0",
            remedy="ask for the difference in place of the ratio",
        )
    _, lowest, highest = gap.extremes(values[None])

    def ends(factors: Floats) -> tuple[float, float]:
        def at(level: float) -> Ends:
            low, high = (end[compared] for end in arms.ends(level))
            return values - (values - low) / np.sqrt(factors), values + (high - values) / np.sqrt(factors)

        return gap.interval_of(values, at, control.level)

    low, high = ends(np.ones(len(compared)))
    pairs = len(gap.pairs(len(compared))[0])
    method = f"MOVER {'ratio' if is_ratio else 'difference'}, {arms.method}"
    return Estimate(
        value=value,
        interval=Interval(
            low,
            high,
            control.level,
            method if pairs == 1 else f"{method}, Bonferroni over {pairs} pairs",
            arms.seed,
            arms.resamples,
        ),
        n=int(rows.sum()),
        groups=_stats(control, grouping, arms, reasons),
        rate=arms.name,
        reference=names[compared[int(rows.argmax()) if reference is None else reference]],
        extremes=(names[compared[lowest]], names[compared[highest]]),
        small_groups=small(control, names, arms.rows),
        notes=notes,
        resample=lambda rng, times: gap.by_rate(arms.resample(compared, rng, times)),
        growth=Growth(tuple(names[g] for g in compared), rows, (lowest, highest), ends),
    )


def comparable(names: Sequence[str], reasons: Sequence[str], least: int = 2) -> list[int]:
    """Indexes of the groups for which there is no reason against; at least so many."""
    compared = [g for g, reason in enumerate(reasons) if not reason]
    if len(compared) < least:
        listed = "; ".join(
            f"{name}: {reason or 'could be compared'}" for name, reason in zip(names, reasons, strict=True)
        )
        raise Undefined(
            f"{'fewer than two groups' if least == 2 else 'no group'} can be compared ({listed})",
            remedy="audit on data that holds enough rows of each group, or bind wider groups",
        )
    return compared


def reference_of(
    control: Control, names: Sequence[str], rows: NDArray[np.int64], compared: list[int], reasons: Sequence[str]
) -> int | None:
    """Where the declared or largest reference group stands among the compared ones; None where every pair is compared.

    The largest is the first by name of those with most rows. Rows of no known group are no reference, unless there are
    no others.
    """
    if control.reference is None:
        return None
    if control.reference == LARGEST:
        if LARGEST in names:
            raise Undefined(
                f"`reference: {LARGEST}` asks for the group with most rows, and one of the groups has that name",
                remedy=f"rename the group {LARGEST!r} in agent.yaml, or name another reference",
            )
        known = [g for g in compared if names[g] not in (MISSING_GROUP, OTHER_GROUP)] or compared
        return compared.index(min(known, key=lambda g: (-rows[g], names[g])))
    if control.reference not in names:
        raise Undefined(
            f"the reference group {control.reference!r} does not exist; the groups are {listing(names)}",
            remedy="correct `reference:` of the control",
        )
    place = list(names).index(control.reference)
    if place not in compared:
        raise Undefined(
            f"the reference group {control.reference} can't be compared with: {reasons[place]}",
            remedy="audit on data that holds enough rows of it, or choose another reference",
        )
    return compared.index(place)


def small(control: Control, names: Sequence[str], rows: NDArray[np.int64]) -> tuple[str, ...]:
    """Names of the groups under the control's minimum."""
    return tuple(name for name, n in zip(names, rows, strict=True) if n < control.min_group)


def _stats(control: Control, grouping: Grouping, arms: Arms, reasons: Sequence[str]) -> tuple[GroupStat, ...]:
    lows, highs = arms.ends(control.level)
    stats = []
    for name, n, value, low, high, reason in zip(
        grouping.names, arms.rows, arms.values, lows, highs, reasons, strict=True
    ):
        own = Interval(float(low), float(high), control.level, arms.method, arms.seed, arms.resamples)
        known = bool(np.isfinite(value))
        stats.append(
            GroupStat(
                name,
                int(n),
                float(value) if known else None,
                interval=own if known else None,
                compared=not reason,
                reason=reason,
            )
        )
    return tuple(stats)
