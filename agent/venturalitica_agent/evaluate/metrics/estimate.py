"""What a metric function hands back: its value with all that measuring needs beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from venturalitica_agent.domain.verdict import GroupStat, Interval
from venturalitica_agent.evaluate.intervals import Floats
from venturalitica_agent.evaluate.planning import Growth


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """A metric's value on one sample. The fields of the same name are those of `domain.verdict.Measurement`.

    Attributes:
        resample: values in so many multinomial resamples of the counts (NaN where undefined there); None when the
            value describes the table itself and doesn't vary.
        growth: how the interval would shrink with more rows; None when more rows wouldn't decide.
    """

    value: float
    interval: Interval
    n: int
    groups: tuple[GroupStat, ...] = ()
    rate: str = ""
    reference: str | None = None
    extremes: tuple[str, str] | None = None
    small_groups: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    resample: Callable[[np.random.Generator, int], Floats] | None = None
    growth: Growth | None = None


def left_out(total: int, used: int, what: str) -> tuple[str, ...]:
    """The note on rows that don't count, if there are any."""
    return (f"{total - used} of {total} rows have no {what} and were left out",) if used < total else ()


def shrinking(value: float, interval: Interval, rows: int) -> Growth:
    """How an interval without a closed form shrinks with more rows: by the square root, about its value."""

    def ends(factor: Floats) -> tuple[float, float]:
        shrunk = float(factor[0]) ** -0.5
        return value - (value - interval.low) * shrunk, value + (interval.high - value) * shrunk

    return Growth(("",), np.array([rows], dtype=float), (0,), ends)


def census(value: float, level: float) -> Interval:
    """The interval of a quantity that describes the audited table, not a population that it was drawn from."""
    return Interval(value, value, level, "exact count of this table")
