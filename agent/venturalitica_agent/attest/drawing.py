"""What pictures are made of: a scale with its ticks, and text that fits and can't be markup."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Sequence
from html import escape

from venturalitica_agent.logging import clean

NAME = 24
"""Columns of text that a name has room for; a wide character takes two."""

_TINY = 1e-100
"""A scale can't tell less than this from nothing."""


def finite(x: float | None) -> bool:
    """True for numbers that a scale can hold with room to spare."""
    return x is not None and abs(x) < 1e100


def scale(marks: Sequence[float], limits: tuple[float, float] | None) -> tuple[float, float]:
    """A range that holds all marks with some room, from 0 where that is not far, within what is possible."""
    low, high = min(marks, default=0.0), max(marks, default=1.0)
    largest = max(abs(low), abs(high))
    alike = high - low <= max(1e-9 * largest, _TINY)
    room = (high - low) * 0.08 if not alike else largest * 0.1 if largest > _TINY else 0.5
    start = 0.0 if 0 <= low <= (high - low) * 2 else low - room
    end = high + room
    if limits is not None:
        start, end = max(start, limits[0]), min(end, limits[1])
    elif start == 0.0 and 0.8 < high <= 1:
        end = 1.0
    return (start, end) if end > start else (start - room, start + room)


def ticks(start: float, end: float) -> Iterator[float]:
    """About four round numbers between the ends of a scale."""
    rough = (end - start) / 4
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough)
    place = math.ceil(start / step - 1e-9)
    while place * step <= end + step * 1e-9 and step > 0:
        yield float(f"{place * step:.10g}")
        place += 1


def plain(text: str) -> str:
    """Untrusted text on one line, without control characters and reordering marks."""
    return " ".join(clean(text[:2000]).split())


def fitted(text: str) -> str:
    return cut(plain(text), NAME)


def cut(text: str, columns: int) -> str:
    """Text that fits into so many columns, with an ellipsis where it had to be cut."""
    used = 0
    kept: list[str] = []
    for character in text:
        if unicodedata.combining(character) and (not kept or unicodedata.combining(kept[-1])):
            continue  # marks stacked on each other grow out of their row
        used += 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if used > columns:
            return "".join(kept[: len(kept) - 1]) + "…"
        kept.append(character)
    return "".join(kept)


def escaped(text: str) -> str:
    return escape(clean(text), quote=True)


def text(x: float, y: float, words: str, *, anchor: str = "start", small: bool = False, strong: bool = False) -> str:
    if not words:
        return ""
    looks = (f' text-anchor="{anchor}"' if anchor != "start" else "") + (' font-size="11"' if small else "")
    looks += ' font-weight="bold"' if strong else ""
    return f'<text x="{round(x, 1)}" y="{round(y, 1)}"{looks}>{escaped(words)}</text>'
