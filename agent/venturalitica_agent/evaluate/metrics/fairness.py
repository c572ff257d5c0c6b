"""How far apart the groups of a role are, and how the worst of them fares: rules on one or more rates of `counts`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from venturalitica_agent.domain.policy import LARGEST, Control, Outcome
from venturalitica_agent.domain.verdict import GroupStat, Interval
from venturalitica_agent.evaluate import counts as of
from venturalitica_agent.evaluate.coding import label
from venturalitica_agent.evaluate.counts import Counts, Rate
from venturalitica_agent.evaluate.gaps import Gap
from venturalitica_agent.evaluate.intervals import Floats, fisher, wilson
from venturalitica_agent.evaluate.metrics.comparison import comparable, reference_of, small
from venturalitica_agent.evaluate.metrics.estimate import Estimate, left_out
from venturalitica_agent.evaluate.planning import Growth
from venturalitica_agent.evaluate.sample import Sample
from venturalitica_agent.evaluate.undefined import Undefined

FEW = 30
"""With fewer rows than this behind a rate, Fisher's exact test is told beside the interval."""

Transform = Callable[[Floats], Floats]


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """What the rates of one metric are taken from.

    Attributes:
        names: of the groups. counts: (groups, ...) of the rows; whatever can be drawn anew as a whole.
        rates: (rate, what makes of `counts` the (..., groups, 3, 3) that the rate is of).
    """

    names: tuple[str, ...]
    counts: Counts
    rates: tuple[tuple[Rate, Callable[[Counts], Counts]], ...]

    @property
    def rows(self) -> Counts:
        """(groups,) rows for which the rates are observable."""
        rate, seen = self.rates[0]
        return rate.rows(seen(self.counts))

    def stack(self, counts: Counts) -> tuple[Floats, Floats]:
        """Numerators and denominators, each (rates, ..., groups)."""
        numerators, denominators = zip(*(rate.of(seen(counts)) for rate, seen in self.rates), strict=True)
        return np.stack(numerators), np.stack(denominators)

    def reasons(self, control: Control) -> list[str]:
        """Why each group is listed only; empty for a group that is compared."""
        _, denominators = self.stack(self.counts)
        reasons = []
        for g, n in enumerate(self.rows):
            empty = [rate.base for (rate, _), below in zip(self.rates, denominators, strict=True) if below[g] == 0]
            if n < control.min_group:
                reasons.append(f"n={n} < {control.min_group}")
            else:
                reasons.append(f"no {empty[0]}" if empty else "")
        return reasons

    def stats(self, control: Control, which: int, reasons: list[str]) -> tuple[GroupStat, ...]:
        """Every group with its own value of one of the rates."""
        rate, seen = self.rates[which]
        stats = []
        for name, n, above, below, reason in zip(
            self.names, self.rows, *rate.of(seen(self.counts)), reasons, strict=True
        ):
            stat = GroupStat(name, int(n), None, int(above), int(below), None, compared=not reason, reason=reason)
            if below:
                low, high = wilson(above, below, control.level)
                own = Interval(float(low), float(high), control.level, "Wilson score")
                stat = replace(stat, value=float(above / below), interval=own)
            stats.append(stat)
        return tuple(stats)

    def resample(self, compared: list[int], rng: np.random.Generator, times: int) -> tuple[Floats, Floats]:
        """`stack` of so many multinomial draws of the compared groups, in batches that bound the memory."""
        table = self.counts[compared]
        cells = table.ravel()
        batch = max(1, 5_000_000 // len(cells))
        drawn = []
        for done in range(0, times, batch):
            some = rng.multinomial(cells.sum(), cells / cells.sum(), min(batch, times - done))
            drawn.append(self.stack(some.reshape(-1, *table.shape)))
        above, below = zip(*drawn, strict=True)
        return np.concatenate(above, axis=1), np.concatenate(below, axis=1)


def disparate_impact(control: Control, sample: Sample) -> Estimate:
    """Lowest / highest selection rate; with a named reference the lowest of group / reference, maybe over 1.

    Nobody named the largest group as the favoured one: its ratios are folded into [0, 1], so that what is to its
    disadvantage counts too.
    """
    return _gap(control, sample, _binary(control, sample, of.SELECTION[control.of]), is_ratio=True, directed=True)


def demographic_parity_diff(control: Control, sample: Sample) -> Estimate:
    """Widest difference of selection rates."""
    return _gap(control, sample, _binary(control, sample, of.SELECTION[control.of]))


def equal_opportunity_diff(control: Control, sample: Sample) -> Estimate:
    """Widest difference of true positive rates."""
    return _gap(control, sample, _binary(control, sample, of.TRUE_POSITIVE))


def equalized_odds_diff(control: Control, sample: Sample) -> Estimate:
    """Wider of the widest differences of true and of false positive rates."""
    return _gap(control, sample, _binary(control, sample, of.TRUE_POSITIVE, of.FALSE_POSITIVE))


def equalized_odds_ratio(control: Control, sample: Sample) -> Estimate:
    """Lower of the lowest ratios of true and of false positive rates, folded into [0, 1]."""
    return _gap(control, sample, _binary(control, sample, of.TRUE_POSITIVE, of.FALSE_POSITIVE), is_ratio=True)


def predictive_parity(control: Control, sample: Sample) -> Estimate:
    """Widest difference of precisions."""
    return _gap(control, sample, _binary(control, sample, of.PRECISION))


def false_positive_rate_diff(control: Control, sample: Sample) -> Estimate:
    """Widest difference of false positive rates."""
    return _gap(control, sample, _binary(control, sample, of.FALSE_POSITIVE))


def false_negative_rate_diff(control: Control, sample: Sample) -> Estimate:
    """Widest difference of false negative rates."""
    return _gap(control, sample, _binary(control, sample, of.FALSE_NEGATIVE))


def demographic_parity_diff_ovr(control: Control, sample: Sample) -> Estimate:
    """Widest difference of the share of a class, each class against the rest; the classes are one family."""
    rate, axis = of.SELECTION[control.of], 2 if control.of is Outcome.LABELS else 1
    what = "share labelled" if control.of is Outcome.LABELS else "share predicted"
    return _gap(control, sample, _by_class(control, sample, rate, what, axis))


def equal_opportunity_diff_ovr(control: Control, sample: Sample) -> Estimate:
    """Widest difference of the recall of a class, each class against the rest; the classes are one family."""
    return _gap(control, sample, _by_class(control, sample, of.TRUE_POSITIVE, "recall of", 2))


def worst_group_accuracy(control: Control, sample: Sample) -> Estimate:
    """Lowest accuracy of a group, over all classes."""
    grouping = sample.grouping(control.roles)
    table = Table(grouping.names, of.confusion(sample, grouping), ((of.ACCURACY, of.right),))
    return _worst(control, sample, table)


def worst_group_selection_rate(control: Control, sample: Sample) -> Estimate:
    """Lowest selection rate of a group."""
    return _worst(control, sample, _binary(control, sample, of.SELECTION[control.of]))


def worst_group_precision(control: Control, sample: Sample) -> Estimate:
    """Lowest precision of a group."""
    return _worst(control, sample, _binary(control, sample, of.PRECISION))


def worst_group_recall(control: Control, sample: Sample) -> Estimate:
    """Lowest true positive rate of a group."""
    return _worst(control, sample, _binary(control, sample, of.TRUE_POSITIVE))


def worst_group_f1(control: Control, sample: Sample) -> Estimate:
    """Lowest F1 score of a group; a group's F1 and its interval are those of its Jaccard index, transformed."""
    return _worst(control, sample, _binary(control, sample, of.JACCARD), of.f1_of_jaccard, "F1 score")


def worst_group_false_positive_rate(control: Control, sample: Sample) -> Estimate:
    """Highest false positive rate of a group."""
    return _worst(control, sample, _binary(control, sample, of.FALSE_POSITIVE), highest=True)


def worst_group_false_negative_rate(control: Control, sample: Sample) -> Estimate:
    """Highest false negative rate of a group."""
    return _worst(control, sample, _binary(control, sample, of.FALSE_NEGATIVE), highest=True)


def _binary(control: Control, sample: Sample, *rates: Rate) -> Table:
    """Rates of the positive class against all others."""
    grouping = sample.grouping(control.roles)
    return Table(grouping.names, of.count(sample, grouping), tuple((rate, lambda counts: counts) for rate in rates))


def _by_class(control: Control, sample: Sample, rate: Rate, what: str, axis: int) -> Table:
    """One rate of each class that occurs (as label: `axis` 2, as prediction: 1) against all other classes."""
    grouping = sample.grouping(control.roles)
    counts = of.confusion(sample, grouping)
    values = of.classes(sample)
    seen = [i for i, n in enumerate(counts.sum(axis=(0, axis))[:-1]) if n]
    if len(seen) < 2:
        raise Undefined("fewer than two classes occur", remedy="audit on data that has every class")
    rates = []
    for i in seen:
        name = f"{what} {label(values[i])}"
        base = f"rows labelled {label(values[i])}" if rate is of.TRUE_POSITIVE else rate.base
        rates.append((replace(rate, name=name, base=base), partial(of.against_rest, positive=i)))
    return Table(grouping.names, counts, tuple(rates))


def _gap(control: Control, sample: Sample, table: Table, *, is_ratio: bool = False, directed: bool = False) -> Estimate:
    names, rows, reasons = table.names, table.rows, table.reasons(control)
    compared = comparable(names, reasons)
    reference = reference_of(control, names, rows, compared, reasons)
    gap = Gap(is_ratio, reference, directed and control.reference not in (None, LARGEST))
    numerators, denominators = table.stack(table.counts[compared])
    shares = numerators / denominators
    value = float(gap.value(shares))
    if not np.isfinite(value):
        rate, _ = table.rates[int(np.argmin(np.isfinite(gap.by_rate(shares))))]
        where = "every compared group" if reference is None else f"the reference group {names[compared[reference]]}"
        raise Undefined(
            f"the {rate.name} is 0 in {where}, so the ratio is a division by 0",
            remedy="ask for the difference in place of the ratio, or audit on more data",
        )
    worst, lowest, highest = gap.extremes(shares)

    def ends(factors: Floats) -> tuple[float, float]:
        return gap.interval(numerators * factors, denominators * factors, control.level)

    def resample(rng: np.random.Generator, times: int) -> Floats:
        above, below = table.resample(compared, rng, times)
        with np.errstate(divide="ignore", invalid="ignore"):
            return gap.value(above / below)

    low, high = ends(np.ones(len(compared)))
    pair = [lowest, highest]
    return Estimate(
        value=value,
        interval=Interval(low, high, control.level, gap.method(numerators, denominators)),
        n=int(rows[compared].sum()),
        groups=table.stats(control, worst, reasons),
        rate=table.rates[worst][0].name,
        reference=names[compared[int(rows[compared].argmax()) if reference is None else reference]],
        extremes=(names[compared[lowest]], names[compared[highest]]),
        small_groups=small(control, names, rows),
        notes=(
            *left_out(sample.n, int(rows.sum()), table.rates[0][0].needs),
            *_exact(numerators[worst, pair], denominators[worst, pair]),
        ),
        resample=resample,
        growth=Growth(tuple(names[g] for g in compared), rows[compared].astype(float), (lowest, highest), ends),
    )


def _exact(numerators: Floats, denominators: Floats) -> tuple[str, ...]:
    """The exact test of the two groups that make the value, where one of them has few rows."""
    if denominators.min() >= FEW or denominators.min() == denominators.max() == 0:
        return ()
    p = fisher(*(int(x) for pair in zip(numerators, denominators, strict=True) for x in pair))
    return (
        f"one of the two groups has under {FEW} rows; Fisher's exact test of no difference between them: p = {p:.3g}",
    )


def _worst(
    control: Control,
    sample: Sample,
    table: Table,
    transform: Transform = lambda share: share,
    name: str = "",
    *,
    highest: bool = False,
) -> Estimate:
    """The lowest (or highest) rate of a group.

    Each of m groups has a Wilson interval of level 1 - alpha/m, so all hold at once with at least 1 - alpha; then the
    lowest of the low ends and the lowest of the high ends enclose the lowest rate, whichever group has it.
    """
    names, rows, reasons = table.names, table.rows, table.reasons(control)
    compared = comparable(names, reasons, least=1)
    (above,), (below,) = table.stack(table.counts[compared])
    values = transform(above / below)
    pick = np.max if highest else np.min
    worst = int(values.argmax() if highest else values.argmin())

    def ends(factors: Floats) -> tuple[float, float]:
        low, high = wilson(above * factors, below * factors, 1 - (1 - control.level) / len(compared))
        return float(pick(transform(low))), float(pick(transform(high)))

    def resample(rng: np.random.Generator, times: int) -> Floats:
        (drawn,), (drawn_of,) = table.resample(compared, rng, times)
        with np.errstate(invalid="ignore"):
            found: Floats = pick(transform(drawn / drawn_of), axis=-1)
        return found

    low, high = ends(np.ones(len(compared)))
    method = "Wilson score" if not name else "Wilson score of TP/(TP+FP+FN), transformed"
    stats = [
        stat
        if stat.value is None or not name or stat.interval is None
        else _transformed(stat, stat.interval, transform)
        for stat in table.stats(control, 0, reasons)
    ]
    return Estimate(
        value=float(values[worst]),
        interval=Interval(
            low,
            high,
            control.level,
            method if len(compared) == 1 else f"{method}, Bonferroni over {len(compared)} groups",
        ),
        n=int(rows[compared].sum()),
        groups=tuple(stats),
        rate=name or table.rates[0][0].name,
        extremes=(names[compared[values.argmin()]], names[compared[values.argmax()]]),
        small_groups=small(control, names, rows),
        notes=left_out(sample.n, int(rows.sum()), table.rates[0][0].needs),
        resample=resample,
        growth=Growth(tuple(names[g] for g in compared), rows[compared].astype(float), (worst,), ends),
    )


def _transformed(stat: GroupStat, own: Interval, transform: Transform) -> GroupStat:
    value, low, high = (float(transform(np.array(x))) for x in (stat.value, own.low, own.high))
    method = f"{own.method}, transformed"
    return replace(
        stat, value=value, numerator=None, denominator=None, interval=replace(own, low=low, high=high, method=method)
    )
