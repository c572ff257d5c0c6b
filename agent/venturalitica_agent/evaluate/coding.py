"""Columns as integer codes, and the question whether two values written by different people are the same value.

Labels, predictions, declared groups and the positive class come from four hands: a table, a model, and agent.yaml
twice. `1`, `1.0`, `True` and `"1"` may or may not mean the same. Here is the only place that decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MISSING = -1
MAX_CLASSES = 1000

_NUMERAL = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


@dataclass(frozen=True, slots=True, eq=False)
class Coded:
    """A column as codes.

    Attributes:
        codes: (n,) int64, index into `values`; -1 = missing.
        values: the distinct values as plain Python objects, ascending where they can be ordered. Coded predictions
            share the codes of the labels, so a value may have no row.
    """

    codes: NDArray[np.int64]
    values: tuple[object, ...]

    def counts(self) -> NDArray[np.int64]:
        """(len(values),) rows of each value."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.values))

    def recode(self, values: tuple[object, ...], index: Sequence[int]) -> Coded:
        """The same column on other values: old code i becomes `index[i]`."""
        table = np.array([*index, MISSING], dtype=np.int64)
        return Coded(table[self.codes], values)


def plain(value: Any) -> Any:
    """A numpy scalar as the Python object that it stands for; anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value


def label(value: object) -> str:
    """The name of a value for people: whole floats without a fraction (`1.0` is "1"), else its text."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value)


def listing(values: Iterable[object], limit: int = 12) -> str:
    """Values as "1, 2 and 3", text in quotes, cut at `limit`."""
    names = [repr(v) if isinstance(v, str) else label(v) for v in values]
    if len(names) > limit:
        names = [*names[: limit - 1], f"{len(names) - limit + 1} more"]
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def encode(series: pd.Series[Any]) -> Coded:
    """Codes of a column of any dtype. Missing is what pandas calls missing. Unused categories are not values.

    Raises:
        TypeError: when the column holds values that can't be compared (lists, dicts).
    """
    codes, uniques = pd.factorize(series, use_na_sentinel=True)
    values = [plain(v) for v in uniques]
    order = _ascending(values)
    index = np.empty(len(order), dtype=np.int64)
    index[order] = np.arange(len(order))
    coded = Coded(np.asarray(codes, dtype=np.int64), tuple(values))
    return coded.recode(tuple(values[i] for i in order), [int(i) for i in index])


def _ascending(values: list[Any]) -> list[int]:
    positions = list(range(len(values)))
    try:
        return sorted(positions, key=lambda i: values[i])
    except TypeError:
        return sorted(positions, key=lambda i: (type(values[i]).__name__, str(values[i])))


def find(wanted: object, values: Sequence[object]) -> tuple[int | None, bool]:
    """Which of a column's distinct values is meant by `wanted`, and whether text had to be read as something else.

    Equal numbers are equal whatever their type. A boolean means a number only in a column of 0 and 1. Text means
    something else than text only when one side is text altogether: "1" is then the number 1, and "True" is True.
    """
    if not isinstance(wanted, bool) or set(values) <= {0, 1}:
        for i, value in enumerate(values):
            if value == wanted:
                return i, False
    if not isinstance(wanted, str) and all(isinstance(v, str) for v in values):
        hits = [i for i, v in enumerate(values) if _reads_as(str(v), wanted)]
    elif isinstance(wanted, str) and not any(isinstance(v, str) for v in values):
        hits = [i for i, v in enumerate(values) if _reads_as(wanted, v)]
    else:
        hits = []
    return (hits[0], True) if len(hits) == 1 else (None, False)


def _reads_as(text: str, value: object) -> bool:
    if text == label(value):
        return True
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not _NUMERAL.fullmatch(text):
        return False
    return Decimal(text) == value if isinstance(value, int) else float(text) == value


def find_all(wanted: Sequence[object], values: Sequence[object]) -> tuple[list[int | None], bool]:
    """`find` for every distinct value of one column among those of another; text is read only as a whole column.

    Two values that would mean the same one are not found.
    """
    hits = [find(w, values) for w in wanted]
    as_text = any(text for _, text in hits)
    if as_text and not (all(isinstance(w, str) for w in wanted) or all(isinstance(v, str) for v in values)):
        return [None if text else i for i, text in hits], False
    found = [i for i, _ in hits]
    return [None if i is not None and found.count(i) > 1 else i for i in found], as_text
