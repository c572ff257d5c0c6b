"""Reads parquet that somebody else wrote. Its metadata promises sizes and types that nobody has to keep: 450 kB can
unpack to gigabytes while saying 429 kB. So text stays dictionary-coded until we know how long it really is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from venturalitica_agent.fetch.problems import Unfit, listed
from venturalitica_agent.strict_yaml import shown

if TYPE_CHECKING:
    import pandas as pd

MAX_COLUMNS = 10_000
TOO_LARGE = "large"  # code of what can't be read at once, and perhaps in pieces
MAX_ROWS = 50_000_000
MAX_CELLS = 400_000_000
MAX_BYTES = 4 << 30  # of the columns that are read at once
MAX_UNPACKED = 16 << 30  # of the whole table, which only `parquet_batches` reads
BATCH_ROWS = 1 << 16
_MAX_METADATA = 16 << 20
_BUFFER = 1 << 20
_NULLABLE = {f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)} | {"Float32", "Float64", "boolean"}


@dataclass(frozen=True, slots=True)
class Layout:
    """What a parquet file holds.

    Attributes:
        columns: names in order, without those that pandas kept its row index in.
        index: names of the index columns; `steps` is the (start, step) of an index that is only described.
        kinds: column -> the pandas dtype it had, where pandas wrote the file.
        pandas: True when pandas wrote the file, so that index and types come back as they were.
        plain: those of `columns` that hold single values, the only ones that are ever read.
    """

    columns: tuple[str, ...]
    rows: int
    index: tuple[str, ...] = ()
    steps: tuple[int, int] = (0, 1)
    kinds: dict[str, str] = field(default_factory=dict)
    pandas: bool = False
    plain: tuple[str, ...] = ()


def survey(path: Path) -> Layout:
    """Read the metadata only. Raises Unfit when it isn't parquet or promises too much."""
    return layout_of(open_file(path))


def read(path: Path, columns: Sequence[str] | None = None, *, with_index: bool = False) -> pd.DataFrame:
    """The named columns (default: every column of plain values), with a row index 0 … n-1 or the one pandas wrote.

    Raises:
        Unfit: a named column holds something else than plain values, or the file unpacks to too much.
    """
    import pandas as pd
    import pyarrow as pa

    file = open_file(path)
    layout = layout_of(file)
    schema = file.schema_arrow
    wanted = chosen(schema, layout, columns)
    index = [n for n in layout.index if _plain(schema.field(n).type)] if with_index else []
    read = [*wanted, *index]
    if not read:
        return pd.DataFrame(index=pd.RangeIndex(layout.rows))
    if layout.rows * max(len(read), 1) > MAX_CELLS:
        raise unreadable(f"{layout.rows:,} rows x {len(read):,} columns are too many cells", TOO_LARGE)
    if (size := _promised(file, read)) > MAX_BYTES:
        raise unreadable(
            f"the columns to read unpack to {size:,} bytes; at most {MAX_BYTES:,} are read at once", TOO_LARGE
        )
    text = [n for n in read if is_text(schema.field(n).type)]
    try:
        table = _decode(_together(open_file(path, text), read), text)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise unreadable(short(error)) from error
    return framed(table, wanted, index, layout, with_index=with_index)


def chosen(schema: Any, layout: Layout, columns: Sequence[str] | None) -> list[str]:
    """The columns to read, None for all that can be. Raises Unfit for one that can't."""
    wanted = layout.plain if columns is None else tuple(columns)
    for name in wanted:
        if not _plain(schema.field(name).type):
            raise unreadable(f"the column {shown(name)} holds {schema.field(name).type}, not plain values")
    return list(wanted)


def _promised(file: Any, columns: list[str]) -> int:
    """Unpacked bytes of the columns, as the metadata says."""
    wanted = set(columns)
    groups = (file.metadata.row_group(i) for i in range(file.metadata.num_row_groups))
    chunks = (group.column(i) for group in groups for i in range(group.num_columns))
    return sum(max(0, int(c.total_uncompressed_size)) for c in chunks if c.path_in_schema in wanted)


def open_file(path: Path, text: Sequence[str] = ()) -> Any:
    """A `pyarrow.parquet.ParquetFile` that keeps the columns `text` dictionary-coded. Raises Unfit."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(
            path,
            read_dictionary=list(text),
            memory_map=False,
            pre_buffer=False,
            buffer_size=_BUFFER,  # else a row group's whole columns are in memory, and one group may be the file
            thrift_string_size_limit=_MAX_METADATA,
            thrift_container_size_limit=1_000_000,
        )
    except (pa.ArrowException, OSError, ValueError) as error:
        raise unreadable(short(error)) from error


def layout_of(file: Any) -> Layout:
    """What the metadata of an open file says. Raises Unfit when it promises too much."""
    names = [str(n) for n in file.schema_arrow.names]
    rows = int(file.metadata.num_rows)
    if len(names) > MAX_COLUMNS or not 0 <= rows <= MAX_ROWS:
        raise unreadable(f"{len(names):,} columns and {rows:,} rows; at most {MAX_COLUMNS:,} and {MAX_ROWS:,}")
    groups = (file.metadata.row_group(i) for i in range(file.metadata.num_row_groups))
    if (size := sum(g.total_byte_size for g in groups)) > MAX_UNPACKED:
        raise unreadable(f"unpacks to {size:,} bytes; at most {MAX_UNPACKED:,} are read")
    if len(set(names)) != len(names):
        raise unreadable(f"the columns {listed(sorted({n for n in names if names.count(n) > 1}))} occur twice")
    layout = _pandas_layout(names, rows, (file.schema_arrow.metadata or {}).get(b"pandas"))
    return replace(layout, plain=tuple(n for n in layout.columns if _plain(file.schema_arrow.field(n).type)))


def _pandas_layout(names: list[str], rows: int, metadata: bytes | None) -> Layout:
    """Take from pandas' own metadata what we know how to use; anything unexpected is as good as no metadata."""
    plain = Layout(tuple(names), rows)
    if metadata is None:
        return plain
    try:
        said = json.loads(metadata)
        index, kinds, steps = said["index_columns"], {}, (0, 1)
        for column in said["columns"]:
            if isinstance(column["field_name"], str) and isinstance(column["numpy_type"], str):
                kinds[column["field_name"]] = column["numpy_type"]
        in_columns = [n for n in index if isinstance(n, str)]
        for entry in index:
            if isinstance(entry, dict):
                steps = (int(entry["start"]), int(entry["step"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return plain
    if not set(in_columns) <= set(names) or steps[1] == 0 or max(map(abs, steps)) > 1 << 40:
        return plain
    columns = tuple(n for n in names if n not in set(in_columns))
    return Layout(columns, rows, tuple(in_columns), steps, kinds, pandas=True)


def _together(file: Any, columns: list[str]) -> Any:
    """All rows of the columns as one table, given up as soon as it grows past the limit."""
    import pyarrow as pa

    found, size = [], 0
    for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=columns):
        size += batch.nbytes
        if size > MAX_BYTES:
            raise unreadable(f"unpacks to more than {MAX_BYTES:,} bytes", TOO_LARGE)
        found.append(batch)
    schema = pa.schema([file.schema_arrow.field(n) for n in columns])
    table = pa.Table.from_batches(found, None if found else schema)
    return table.select(columns).replace_schema_metadata(None)  # to_pandas would act on it


def _decode(table: Any, text: Sequence[str]) -> Any:
    """Turn dictionary-coded text into plain text once its true length is known."""
    import pyarrow as pa

    left = MAX_BYTES
    for name in text:
        column = table.column(name)
        left -= sum(text_bytes(chunk) for chunk in column.chunks)
        if left < 0:
            raise unreadable(f"the text in {shown(name)} unpacks to more than {MAX_BYTES:,} bytes", TOO_LARGE)
        table = table.set_column(table.schema.get_field_index(name), name, column.cast(pa.large_string()))
    return table


def text_bytes(column: Any) -> int:
    """Bytes of dictionary-coded text, written out; 0 for text that isn't coded."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(column.type):
        return 0
    return int(pc.sum(pc.binary_length(column.dictionary).take(column.indices)).as_py() or 0)


def framed(table: Any, wanted: list[str], index: list[str], layout: Layout, *, with_index: bool) -> pd.DataFrame:
    """The table as pandas, with the types that pandas wrote. Raises Unfit."""
    import pandas as pd
    import pyarrow as pa

    try:
        frame: pd.DataFrame = table.select(wanted).to_pandas()
        for name in wanted:
            kind = layout.kinds.get(name, "")
            if kind in _NULLABLE:
                dtype = pd.api.types.pandas_dtype(kind)
                frame[name] = table.column(name).to_pandas(types_mapper=lambda _, d=dtype: d)
            elif kind == "object" and pd.api.types.is_numeric_dtype(frame[name].dtype):
                frame[name] = frame[name].astype(object)
        if with_index and index:
            levels = [table.column(n).to_pandas() for n in index]
            frame.index = pd.Index(levels[0]).rename(None) if len(levels) == 1 else pd.MultiIndex.from_arrays(levels)
        elif with_index:
            start, step = layout.steps
            frame.index = pd.RangeIndex(start, start + step * len(frame), step)
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        raise unreadable(short(error)) from error
    return frame


def _plain(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        return _plain(kind.value_type) and not types.is_dictionary(kind.value_type)
    return (
        is_text(kind)
        or types.is_boolean(kind)
        or types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_decimal(kind)
        or types.is_temporal(kind)
        or types.is_null(kind)
    )


def is_text(kind: Any) -> bool:
    """Whether a type is that of plain text."""
    from pyarrow import types

    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def short(error: BaseException) -> str:
    """An error's text on one short line."""
    return " ".join(str(error).split())[:200]


def unreadable(what: str, code: str = "unreadable") -> Unfit:
    """The error for a file that can't be read, to be raised."""
    return Unfit(
        f"the parquet file can't be read: {what}",
        remedy="write it again with DataFrame.to_parquet",
        code=code,
    )
