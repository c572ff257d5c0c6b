"""How far apart the groups of a role are: each metric is a rule (`gaps.Gap`) on one or two rates of `counts`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from venturalitica_agent.domain.policy import Control
from venturalitica_agent.domain.verdict import GroupStat, Interval
from venturalitica_agent.evaluate.coding import listing
from venturalitica_agent.evaluate.counts import (
    FALSE_POSITIVE,
    PRECISION,
    SELECTION,
    TRUE_POSITIVE,
    Counts,
    Rate,
    count,
)
from venturalitica_agent.evaluate.gaps import Gap
from venturalitica_agent.evaluate.intervals import Floats, wilson
from venturalitica_agent.evaluate.metrics.estimate import Estimate, left_out
from venturalitica_agent.evaluate.planning import Growth
from venturalitica_agent.evaluate.sample import Sample
from venturalitica_agent.evaluate.undefined import Undefined, given


def disparate_impact(control: Control, sample: Sample) -> Estimate:
    """Lowest / highest selection rate; with a declared reference the lowest of group / reference, maybe over 1."""
    return _gap(control, sample, (SELECTION[control.of],), is_ratio=True, directed=True)


def demographic_parity_diff(control: Control, sample: Sample) -> Estimate:
    """Widest difference of selection rates."""
    return _gap(control, sample, (SELECTION[control.of],), is_ratio=False)


def equal_opportunity_diff(control: Control, sample: Sample) -> Estimate:
    """Widest difference of true positive rates."""
    return _gap(control, sample, (TRUE_POSITIVE,), is_ratio=False)


def equalized_odds_diff(control: Control, sample: Sample) -> Estimate:
    """Wider of the widest differences of true and of false positive rates."""
    return _gap(control, sample, (TRUE_POSITIVE, FALSE_POSITIVE), is_ratio=False)


def equalized_odds_ratio(control: Control, sample: Sample) -> Estimate:
    """Lower of the lowest ratios of true and of false positive rates, folded into [0, 1]."""
    return _gap(control, sample, (TRUE_POSITIVE, FALSE_POSITIVE), is_ratio=True)


def predictive_parity(control: Control, sample: Sample) -> Estimate:
    """Widest difference of precisions."""
    return _gap(control, sample, (PRECISION,), is_ratio=False)


def _gap(
    control: Control, sample: Sample, rates: tuple[Rate, ...], *, is_ratio: bool, directed: bool = False
) -> Estimate:
    role = given(control.role, "group role")
    names = sample.groups[role].names
    counts = count(sample, role)
    rows = rates[0].rows(counts)
    reasons = _reasons(control, rates, counts, rows)
    compared = [g for g, reason in enumerate(reasons) if not reason]
    if len(compared) < 2:
        listed = "; ".join(
            f"{name}: {reason or 'could be compared'}" for name, reason in zip(names, reasons, strict=True)
        )
        raise Undefined(
            f"fewer than two groups can be compared ({listed})",
            remedy="audit on data that holds enough rows of each group, or bind wider groups",
        )
    reference = _reference(control, names, compared, reasons)
    gap = Gap(is_ratio, reference, directed and reference is not None)
    table = counts[compared]
    numerators, denominators = _stack(rates, table)
    shares = numerators / denominators
    value = float(gap.value(shares))
    if not np.isfinite(value):
        rate = rates[int(np.argmin(np.isfinite(gap.by_rate(shares))))]
        where = "every compared group" if reference is None else f"the reference group {control.reference}"
        raise Undefined(
            f"the {rate.name} is 0 in {where}, so the ratio is a division by 0",
            remedy="ask for the difference in place of the ratio, or audit on more data",
        )
    worst, lowest, highest = gap.extremes(shares)

    def ends(factors: Floats) -> tuple[float, float]:
        return gap.interval(numerators * factors, denominators * factors, control.level)

    def resample(rng: np.random.Generator, times: int) -> Floats:
        cells = table.ravel()
        drawn = rng.multinomial(cells.sum(), cells / cells.sum(), times).reshape(times, *table.shape)
        above, below = _stack(rates, drawn)
        with np.errstate(divide="ignore", invalid="ignore"):
            return gap.value(above / below)

    low, high = ends(np.ones(len(compared)))
    return Estimate(
        value=value,
        interval=Interval(low, high, control.level, gap.method(numerators, denominators)),
        n=int(rows[compared].sum()),
        groups=_stats(control, names, rows, rates[worst].of(counts), reasons),
        rate=rates[worst].name,
        reference=names[compared[int(rows[compared].argmax()) if reference is None else reference]],
        extremes=(names[compared[lowest]], names[compared[highest]]),
        small_groups=tuple(name for name, n in zip(names, rows, strict=True) if n < control.min_group),
        notes=left_out(sample.n, int(rows.sum()), rates[0].needs),
        resample=resample,
        growth=Growth(tuple(names[g] for g in compared), rows[compared].astype(float), (lowest, highest), ends),
    )


def _stack(rates: tuple[Rate, ...], counts: Counts) -> tuple[Floats, Floats]:
    """Numerators and denominators, each (rates, ..., groups)."""
    numerators, denominators = zip(*(rate.of(counts) for rate in rates), strict=True)
    return np.stack(numerators), np.stack(denominators)


def _reasons(control: Control, rates: tuple[Rate, ...], counts: Counts, rows: Counts) -> list[str]:
    """Why each group is listed only; empty for a group that is compared."""
    reasons = []
    for g, n in enumerate(rows):
        empty = [rate.base for rate in rates if rate.of(counts[g])[1] == 0]
        if n < control.min_group:
            reasons.append(f"n={n} < {control.min_group}")
        else:
            reasons.append(f"no {empty[0]}" if empty else "")
    return reasons


def _reference(control: Control, names: tuple[str, ...], compared: list[int], reasons: list[str]) -> int | None:
    """Where the declared reference stands among the compared groups."""
    if control.reference is None:
        return None
    if control.reference not in names:
        raise Undefined(
            f"the reference group {control.reference!r} does not exist; the groups are {listing(names)}",
            remedy="correct `reference:` of the control",
        )
    place = names.index(control.reference)
    if place not in compared:
        raise Undefined(
            f"the reference group {control.reference} can't be compared with: {reasons[place]}",
            remedy="audit on data that holds enough rows of it, or choose another reference",
        )
    return compared.index(place)


def _stats(
    control: Control, names: tuple[str, ...], rows: Counts, rates: tuple[Floats, Floats], reasons: list[str]
) -> tuple[GroupStat, ...]:
    stats = []
    for name, n, numerator, denominator, reason in zip(names, rows, *rates, reasons, strict=True):
        stat = GroupStat(name, int(n), None, int(numerator), int(denominator), None, compared=not reason, reason=reason)
        if denominator:
            low, high = wilson(numerator, denominator, control.level)
            own = Interval(float(low), float(high), control.level, "Wilson score")
            stat = replace(stat, value=float(numerator / denominator), interval=own)
        stats.append(stat)
    return tuple(stats)
