"""Reads the kinds of table that runs log: CSV, parquet, and the JSON of `mlflow.log_table` and `wandb.Table`. Nothing
is ever executed: no pickles, no extension types, no cells that are more than one value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from venturalitica_agent.fetch import csv_text, json_table, parquet
from venturalitica_agent.fetch.problems import Unfit, listed
from venturalitica_agent.strict_yaml import shown

if TYPE_CHECKING:
    import pandas as pd

MAX_FILE = 2 << 30
_FORMATS = {
    ".table.json": "wandb-table",  # before .json, which it ends in
    ".csv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".json": "json-split",
}


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
    """ "csv", "parquet", "json-split" or "wandb-table", by the file's suffix; else Unfit."""
    file = PurePosixPath(name).name.lower()
    for suffix, format_ in _FORMATS.items():
        if file.endswith(suffix):
            return format_
    raise Unfit(
        f"{shown(name)} is not a table that we read",
        remedy="log the data as .csv or .parquet, or as a table with mlflow.log_table or wandb.Table",
        code="unsupported",
    )


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
    table = json_table.read(path, wandb=format_ == "wandb-table")
    return Shape(table.columns, len(table.rows))


def read_table(
    path: Path,
    format_: str,
    columns: Sequence[str] | None = None,
    *,
    with_index: bool = False,
) -> pd.DataFrame:
    """A table that `describe` accepted, as pandas reads it by default.

    Args:
        columns: names to read, in the order wanted; None for all that hold single values.
        with_index: give back the row index that pandas wrote into parquet; else rows are numbered from 0.

    Raises:
        Unfit: the table can't be read or has no such column.
    """
    import pandas as pd

    _check_size(path, format_)
    if format_ == "parquet":
        _check_columns(columns, describe(path, format_).columns)
        return parquet.read(path, columns, with_index=with_index)
    if format_ != "csv":
        table = json_table.read(path, wandb=format_ == "wandb-table")
        _check_columns(columns, table.columns)
        return json_table.frame_of(table, columns)
    try:
        frame = pd.read_csv(path, low_memory=False)
    except (ValueError, OverflowError) as error:  # pandas' ParserError is a ValueError
        raise json_table.unreadable(" ".join(str(error).split())[:200]) from error
    _check_columns(columns, [str(c) for c in frame.columns])
    return frame if columns is None else frame[list(columns)]


def _check_columns(wanted: Sequence[str] | None, present: Sequence[str]) -> None:
    there = set(present)
    if missing := [c for c in wanted or () if c not in there]:
        raise Unfit(f"has no column {listed(missing)}; its columns are {listed(present, 30)}", code="missing")


def _check_size(path: Path, format_: str) -> None:
    most = MAX_FILE if format_ in ("csv", "parquet") else json_table.MAX_FILE
    if (size := path.stat().st_size) > most:
        raise json_table.unreadable(f"{size:,} bytes; at most {most:,} are read")
