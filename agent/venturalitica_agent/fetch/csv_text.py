"""Looks over a CSV file before pandas gets it. pandas forgives: a short row gets empty cells, a row with one cell too
many turns its first column into an index and moves every value one column to the left, a repeated column is renamed.
Each of these would be a measurement of the wrong column."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from venturalitica_agent.fetch.problems import Unfit, listed

MAX_COLUMNS = 10_000
MAX_LINE = 4 << 20
MAX_ROWS = 50_000_000
_REMEDY = "write the table again with DataFrame.to_csv(index=False), or log it as parquet"


def survey(path: Path) -> tuple[tuple[str, ...], int]:
    """Column names as pandas will call them, and the number of rows.

    Raises:
        Unfit: not UTF-8 comma-separated text in which every row has as many cells as the header; with the line.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(_lines(file), strict=True)
        try:
            first = next((r for r in rows if not _blank(r)), None)
            if first is None:
                raise _unreadable("the file is empty", 1)
            columns = _columns(first, rows.line_num)
            count = 0
            for row in rows:
                if _blank(row):
                    continue
                if len(row) != len(columns):
                    raise _unreadable(f"{len(row)} cells where the header has {len(columns)}", rows.line_num)
                count += 1
                if count > MAX_ROWS:
                    raise _unreadable(f"more than {MAX_ROWS:,} rows", rows.line_num)
        except csv.Error as error:
            raise _unreadable(str(error), rows.line_num) from error
        except UnicodeDecodeError as error:
            raise _unreadable("not UTF-8 text", rows.line_num + 1) from error
    return columns, count


def header(path: Path) -> tuple[str, ...]:
    """Column names of a file that `survey` accepted."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(_lines(file), strict=True)
        return next(_columns(row, rows.line_num) for row in rows if not _blank(row))


def _lines(file: TextIO) -> Iterator[str]:
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise _unreadable(f"longer than {MAX_LINE:,} characters", number)
        if "\0" in line:
            raise _unreadable("holds a NUL character", number)
        yield line


def _columns(header: list[str], line: int) -> tuple[str, ...]:
    if len(header) > MAX_COLUMNS:
        raise _unreadable(f"{len(header):,} columns; at most {MAX_COLUMNS:,} are read", line)
    repeated = [name for name, times in Counter(header).items() if times > 1 and name]
    if repeated:
        raise _unreadable(f"the columns {listed(repeated)} occur more than once", line)
    return tuple(name or f"Unnamed: {i}" for i, name in enumerate(header))


def _blank(row: list[str]) -> bool:
    """What pandas skips as an empty line."""
    return not row or (len(row) == 1 and not row[0].strip())


def _unreadable(what: str, line: int) -> Unfit:
    return Unfit(f"line {line}: {what}", remedy=_REMEDY, code="unreadable")
