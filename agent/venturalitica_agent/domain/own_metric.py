"""What goes to a metric of a user's package, and what comes back. Such metrics run in the sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Handed:
    """What a metric is given.

    Attributes:
        arrays: (n,) by what the metric needs: codes where there are `values`, else numbers.
        values: of classes and groups: the value behind each code.
        levels: of the intervals that are wanted; seed: of the resamples that make them.
    """

    arrays: Mapping[str, NDArray[np.generic]]
    values: Mapping[str, tuple[str | int | float | bool, ...]]
    positive: str | int | float | bool | None
    levels: tuple[float, ...]
    seed: int


@dataclass(frozen=True, slots=True)
class Told:
    """A metric's value with its interval at each of the levels that were asked for, checked."""

    value: float
    ends: Mapping[float, tuple[float, float]]
    method: str
    notes: tuple[str, ...]
