"""About how many more rows would make an inconclusive control decidable, if the rates stay what they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from venturalitica_agent.evaluate.intervals import Floats

LIMIT = 10_000_000
"""More rows of one group than this are not a plan."""


@dataclass(frozen=True, slots=True, eq=False)
class Growth:
    """How an interval depends on the size of groups.

    Attributes:
        names: of the groups that can grow; ("",) for the whole table. sizes: their rows now.
        limiting: indexes of the groups that make the value: they are asked for first.
        ends: the interval when each group has `factor` times its rows.
    """

    names: tuple[str, ...]
    sizes: Floats
    limiting: Sequence[int]
    ends: Callable[[Floats], tuple[float, float]]


def rows_needed(growth: Growth, decided: Callable[[float, float], bool]) -> dict[str, int]:
    """Group -> more rows (two significant digits, rounded up); empty when no plan of this kind decides.

    Groups are filled up to one common size, as in filling a vessel: first only those that make the value, and if that
    does not decide at any size, all.
    """
    for chosen in (list(growth.limiting), list(range(len(growth.names)))):
        size = _smallest(growth, chosen, decided)
        if size is not None:
            return {growth.names[g]: _rounded(size - growth.sizes[g]) for g in chosen if size > growth.sizes[g]}
    return {}


def _smallest(growth: Growth, chosen: list[int], decided: Callable[[float, float], bool]) -> float | None:
    def enough(size: float) -> bool:
        factors = np.ones(len(growth.sizes))
        factors[chosen] = np.maximum(size, growth.sizes[chosen]) / growth.sizes[chosen]
        return decided(*growth.ends(factors))

    low, high = float(growth.sizes[chosen].min()), float(LIMIT)
    if low >= high or not enough(high):
        return None
    while high - low > max(1.0, 0.005 * high):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if enough(middle) else (middle, high)
    return math.ceil(high)


def _rounded(rows: float) -> int:
    unit: int = 10 ** max(0, math.floor(math.log10(max(rows, 1))) - 1)
    return math.ceil(rows / unit) * unit
