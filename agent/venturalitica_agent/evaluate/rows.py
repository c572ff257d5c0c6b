"""Rows as numbers, so that equal rows can be counted within a table and across two. Each row is hashed by itself, so a
table may come in pieces.

Cells are equal when their values are: 1 is 1.0 is True, whatever the type of their columns; one missing value is as
good as another; text is equal to no number. The hashes have 64 bits: among a million different rows the chance that any
two are taken for equal is under one in ten million.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from venturalitica_agent.evaluate.coding import plain
from venturalitica_agent.evaluate.undefined import Undefined

Hashes = NDArray[np.uint64]

_MISSING = np.uint64(0x9E3779B97F4A7C15)
_EXACT = 2**53
"""Whole numbers up to here are floats without loss."""


def row_hashes(frame: pd.DataFrame, numbers: Collection[str] = ()) -> Hashes:
    """(n,) one number for each row, of its cells in the order of the columns.

    Args:
        numbers: names of columns in which text that reads as a number is one: another table holds numbers there.

    Raises:
        Undefined: when a column holds values that can't be compared, such as lists.
    """
    hashes = np.zeros(len(frame), dtype=np.uint64)
    for position, name in enumerate(frame.columns):
        hashes = _mixed(hashes ^ _column(frame.iloc[:, position], as_numbers=name in numbers))
    return hashes


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The rows of a table, which may be larger than the memory.

    Attributes:
        columns: their names in order. n: how many rows.
        pieces: the named columns of all rows in order, as frames that hold the same types; raises `Undefined` while
            they are read, where they can't be.
    """

    columns: tuple[str, ...]
    n: int
    pieces: Callable[[Sequence[str]], Iterator[pd.DataFrame]]

    @classmethod
    def of(cls, frame: pd.DataFrame) -> Rows:
        return cls(tuple(frame.columns), len(frame), lambda names: iter([frame[list(names)]]))

    def types(self, names: Sequence[str]) -> pd.DataFrame:
        """A frame of no rows that holds the types of the columns."""
        return next(self.pieces(names)).iloc[:0]

    def hashes(self, names: Sequence[str], numbers: Collection[str] = ()) -> Hashes:
        """(n,) `row_hashes` of the named columns."""
        joined, start = np.empty(self.n, dtype=np.uint64), 0
        for piece in self.pieces(names):
            joined[start : start + len(piece)] = row_hashes(piece, numbers)
            start += len(piece)
        return joined

    def keys(self, names: Sequence[str]) -> list[str]:
        """Those of the columns that differ in every row. A number with a fraction may well do so by itself: it is no
        key, and isn't looked at.
        """
        first = next(self.pieces(names))
        whole = [n for n in names if not pd.api.types.is_float_dtype(first[n].dtype)]
        return [n for n in whole if first[n].is_unique and (len(first) == self.n or not repeats(self.hashes([n])))]


def repeats(hashes: Hashes) -> int:
    """How many of the rows equal an earlier one. Sorts `hashes` in place: they are as long as the table."""
    hashes.sort()
    return int((hashes[1:] == hashes[:-1]).sum())


def among(hashes: Hashes, others: Hashes) -> int:
    """How many of the rows are among the others. Sorts both in place."""
    hashes.sort()
    others.sort()
    places = np.searchsorted(others, hashes)
    places[places == len(others)] = 0
    return int((others[places] == hashes).sum()) if len(others) else 0


def is_number(series: pd.Series[Any]) -> bool:
    """True for columns of numbers and of booleans."""
    return bool(pd.api.types.is_numeric_dtype(series.dtype) and not pd.api.types.is_complex_dtype(series.dtype))


def _column(series: pd.Series[Any], *, as_numbers: bool) -> Hashes:
    if as_numbers and not is_number(series):
        read = pd.to_numeric(series, errors="coerce")
        text = _of_values(series.where(read.isna(), None))
        return np.where(read.notna(), _of_numbers(read), text)
    return _of_numbers(series) if is_number(series) else _of_values(series)


def _of_numbers(series: pd.Series[Any]) -> Hashes:
    missing = series.isna().to_numpy(dtype=bool)
    floats = series.to_numpy(dtype=np.float64, na_value=np.nan) + 0.0  # -0.0 is 0.0
    hashes = pd.util.hash_array(floats, categorize=False)
    large = (np.abs(floats) >= _EXACT) & ~missing & np.isfinite(floats)
    if large.any():
        hashes[large] = _of_values(series[large].astype(object))
    return np.where(missing, _MISSING, hashes)


def _of_values(series: pd.Series[Any]) -> Hashes:
    """Hashes of text, times and everything else, by distinct value."""
    try:
        codes, uniques = pd.factorize(series, use_na_sentinel=True)
    except TypeError as error:
        what = f"column {series.name!r} holds values that can't be compared, such as lists"
        raise Undefined(what, remedy="log the data with one value in each cell") from error
    return np.append(_of_uniques([plain(value) for value in uniques]), _MISSING)[codes]


def _of_uniques(values: list[Any]) -> Hashes:
    as_float = [isinstance(v, bool | int | float) and (abs(v) < _EXACT or math.isinf(v)) for v in values]
    words = ["" if yes else _word(v) for v, yes in zip(values, as_float, strict=True)]
    hashes = pd.util.hash_array(np.array(words, dtype=object), categorize=False)
    floats = np.array([float(v) for v, yes in zip(values, as_float, strict=True) if yes], dtype=np.float64) + 0.0
    hashes[np.array(as_float, dtype=bool)] = pd.util.hash_array(floats, categorize=False)
    return np.asarray(hashes, dtype=np.uint64)


def _word(value: Any) -> str:
    if isinstance(value, str):
        return f"text {value}"
    if isinstance(value, int | float):  # too large for a float to tell it from its neighbours
        return f"number {int(value)}"
    return f"{type(value).__name__} {value}"


def _mixed(hashes: Hashes) -> Hashes:
    """splitmix64's finishing steps: the place of a cell counts, not only its value. Steele et al., OOPSLA 2014."""
    mixed = hashes + _MISSING
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)), dtype=np.uint64)
