"""Reads the kinds of table that runs log: CSV, parquet, and the JSON of `mlflow.log_table` and `wandb.Table`. Nothing
is ever executed: no pickles, no extension types, no cells that are more than one value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from venturalitica_agent.fetch import csv_text, json_table, parquet, parquet_batches
from venturalitica_agent.fetch.problems import Unfit, listed
from venturalitica_agent.strict_yaml import shown

if TYPE_CHECKING:
    import pandas as pd

MAX_FILE = 8 << 30  # of any kind; only parquet can be that large, because it is the one that is read in pieces
_MAX_CSV = 2 << 30
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
        header = [str(c) for c in pd.read_csv(path, nrows=0).columns]
        _check_columns(columns, header)
        places = None if columns is None else _places(columns, header)
        frame = pd.read_csv(path, low_memory=False, usecols=places)
    except (ValueError, OverflowError) as error:  # pandas' ParserError is a ValueError
        raise json_table.unreadable(" ".join(str(error).split())[:200]) from error
    return frame if columns is None else frame[list(columns)]


def readable_columns(path: Path, format_: str) -> tuple[str, ...]:
    """Those columns of a table that hold single values, in order: what `read_table` reads when it isn't told.

    Raises:
        Unfit: the table can't be read.
    """
    _check_size(path, format_)
    if format_ == "parquet":
        return parquet.survey(path).plain
    if format_ == "csv":
        return csv_text.header(path)
    table = json_table.read(path, wandb=format_ == "wandb-table")
    return tuple(c for c in table.columns if c not in table.unusable)


def read_batches(path: Path, format_: str, columns: Sequence[str], *, rows: int = parquet.BATCH_ROWS) -> Iterator[Any]:
    """The same rows as `read_table` gives, as `pyarrow.RecordBatch`es of one schema.

    Parquet is read in pieces; of the other formats the named columns are in memory once.

    Args:
        rows: the most rows of one batch.

    Raises:
        Unfit: while they are read: the table is damaged, or has no such column.
        pyarrow.ArrowException: a column of CSV or JSON holds values of several kinds.
    """
    import pyarrow as pa

    if format_ == "parquet":
        _check_size(path, format_)
        _check_columns(columns, describe(path, format_).columns)
        yield from parquet_batches.batches(path, columns, rows=rows)
        return
    frame = read_table(path, format_, columns)
    yield from pa.Table.from_pandas(frame, preserve_index=False).to_batches(max_chunksize=rows)


def read_pieces(path: Path, format_: str, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
    """The same rows as `read_batches` gives, as frames whose columns hold the same types in all of them.

    Whole numbers and booleans have pandas' nullable types: else what a column holds would depend on whether a value
    happens to be missing in a piece.

    Raises:
        Unfit: while they are read, as `read_batches`.
    """
    import pandas as pd
    import pyarrow as pa

    nullable = {
        getattr(pa, f"{u}int{n}")(): getattr(pd, f"{u.upper()}Int{n}Dtype")()
        for u in ("", "u")
        for n in (8, 16, 32, 64)
    }
    nullable[pa.bool_()] = pd.BooleanDtype()
    try:
        for batch in read_batches(path, format_, columns):
            yield batch.to_pandas(types_mapper=nullable.get)
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        raise json_table.unreadable(" ".join(str(error).split())[:200]) from error


def missing_cells(path: Path, format_: str) -> tuple[int, int]:
    """How many cells of all readable columns are missing, as pandas counts, and how many there are.

    Raises:
        Unfit: the table can't be read.
    """
    if format_ == "parquet":
        _check_size(path, format_)
        return parquet_batches.missing_cells(path)
    frame = read_table(path, format_)
    return int(frame.isna().to_numpy(dtype=bool).sum()), frame.size


def _places(columns: Sequence[str], header: Sequence[str]) -> list[int]:
    place = {name: i for i, name in enumerate(header)}
    return [place[name] for name in columns] or [0]  # without a column pandas would lose the rows


def _check_columns(wanted: Sequence[str] | None, present: Sequence[str]) -> None:
    there = set(present)
    if missing := [c for c in wanted or () if c not in there]:
        raise Unfit(f"has no column {listed(missing)}; its columns are {listed(present, 30)}", code="missing")


def _check_size(path: Path, format_: str) -> None:
    most = {"csv": _MAX_CSV, "parquet": MAX_FILE}.get(format_, json_table.MAX_FILE)
    if (size := path.stat().st_size) > most:
        raise json_table.unreadable(f"{size:,} bytes; at most {most:,} are read")
