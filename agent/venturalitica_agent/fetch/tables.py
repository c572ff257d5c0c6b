"""Reads the three kinds of table that runs log: CSV, parquet, and MLflow's `log_table` JSON. Nothing is ever executed:
no pickles, no extension types, no cells that are more than one value."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from venturalitica_agent.fetch import csv_text, parquet
from venturalitica_agent.fetch.problems import Unfit, listed
from venturalitica_agent.strict_yaml import shown

if TYPE_CHECKING:
    import pandas as pd

MAX_FILE = 2 << 30
_MAX_JSON = 256 << 20
_FORMATS = {".csv": "csv", ".parquet": "parquet", ".pq": "parquet", ".json": "json-split"}


@dataclass(frozen=True, slots=True)
class Shape:
    """What a table holds: its column names in order and its number of rows.

    Attributes:
        lossless: True when reading it gives back the very table that was written: index, types and all.
    """

    columns: tuple[str, ...]
    rows: int
    lossless: bool = False


def format_of(name: str) -> str:
    """ "csv", "parquet" or "json-split", by the file's suffix; else Unfit."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix not in _FORMATS:
        raise Unfit(
            f"{shown(name)} is not a table that we read",
            remedy="log the data as .csv, .parquet or with mlflow.log_table",
            code="unsupported",
        )
    return _FORMATS[suffix]


def describe(path: Path, format_: str) -> Shape:
    """Columns and rows. CSV and JSON are read whole and every row is checked; of parquet only the metadata is read.

    Raises:
        Unfit: the table can't be read; for CSV the message has the line.
    """
    _check_size(path, format_)
    if format_ == "parquet":
        layout = parquet.survey(path)
        return Shape(layout.columns, layout.rows, lossless=layout.pandas)
    if format_ == "csv":
        return Shape(*csv_text.survey(path))
    columns, rows = _split(path)
    return Shape(tuple(columns), len(rows))


def read_table(
    path: Path,
    format_: str,
    columns: Sequence[str] | None = None,
    *,
    with_index: bool = False,
) -> pd.DataFrame:
    """A table that `describe` accepted, as pandas reads it by default.

    Args:
        columns: names to read, in the order wanted; None for all (of parquet: all that hold plain values).
        with_index: give back the row index that pandas wrote into parquet; else rows are numbered from 0.

    Raises:
        Unfit: the table can't be read or has no such column.
    """
    import pandas as pd

    shape = describe(path, format_) if format_ == "parquet" else None
    _check_size(path, format_)
    if shape is not None:
        _check_columns(columns, shape.columns)
        return parquet.read(path, columns, with_index=with_index)
    if format_ == "json-split":
        names, rows = _split(path)
        frame = pd.DataFrame(rows, columns=names)
    else:
        try:
            frame = pd.read_csv(path, low_memory=False)
        except (ValueError, OverflowError) as error:  # pandas' ParserError is a ValueError
            raise _unreadable(" ".join(str(error).split())[:200]) from error
    _check_columns(columns, [str(c) for c in frame.columns])
    return frame if columns is None else frame[list(columns)]


def _check_columns(wanted: Sequence[str] | None, present: Sequence[str]) -> None:
    there = set(present)
    if missing := [c for c in wanted or () if c not in there]:
        raise Unfit(f"has no column {listed(missing)}; its columns are {listed(present, 30)}", code="missing")


def _check_size(path: Path, format_: str) -> None:
    most = _MAX_JSON if format_ == "json-split" else MAX_FILE
    if (size := path.stat().st_size) > most:
        raise _unreadable(f"{size:,} bytes; at most {most:,} are read")


def _split(path: Path) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of `{"columns": [...], "data": [[...], ...]}`, checked cell by cell."""
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise _unreadable(f"not JSON: {' '.join(str(error).split())[:200]}") from error
    columns = document.get("columns") if isinstance(document, dict) else None
    rows = document.get("data") if isinstance(document, dict) else None
    if not isinstance(columns, list) or not isinstance(rows, list) or not all(isinstance(c, str) for c in columns):
        raise _unreadable('not a table as mlflow.log_table writes it ({"columns": …, "data": …})')
    if len(columns) > csv_text.MAX_COLUMNS or len(set(columns)) != len(columns):
        raise _unreadable("too many columns, or two of the same name")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, list) or len(row) != len(columns):
            raise _unreadable(f"row {number} does not have {len(columns)} cells")
        if any(isinstance(cell, dict | list) for cell in row):
            raise _unreadable(f"row {number} has a cell that is not a single value")
    return columns, rows


def _unreadable(what: str) -> Unfit:
    return Unfit(f"the table can't be read: {what}", remedy="log it again as parquet", code="unreadable")
