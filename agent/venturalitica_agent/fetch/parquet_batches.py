"""Reads all rows of a parquet file in pieces of bounded memory, however large the file and its row groups are.

The pieces say what one table would say: each column has one type in all of them, and its categories one order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from venturalitica_agent.fetch.parquet import (
    BATCH_ROWS,
    MAX_UNPACKED,
    Layout,
    chosen,
    framed,
    is_text,
    layout_of,
    open_file,
    short,
    text_bytes,
    unreadable,
)
from venturalitica_agent.strict_yaml import shown

BATCH_BYTES = 128 << 20
_BATCH_CELLS = 1 << 23


def batches(path: Path, columns: Sequence[str] | None = None, *, rows: int = BATCH_ROWS) -> Iterator[Any]:
    """The named columns (default: every column of plain values) as `pyarrow.RecordBatch`es of one schema, in order.

    Each holds at most `rows` rows and about BATCH_BYTES, whatever the file's own pieces are. The schema carries what
    pandas wrote of nullable types. A column of categories has those seen so far: later batches only add to them.

    Raises:
        Unfit: while they are read: a named column holds something else than plain values, the file is damaged, has
            other rows than it says, or unpacks to more than MAX_UNPACKED.
    """
    import pyarrow as pa

    file = open_file(path)
    layout = layout_of(file)
    wanted = chosen(file.schema_arrow, layout, columns)
    text = [n for n in wanted if is_text(file.schema_arrow.field(n).type)]
    schema = _schema(file.schema_arrow, wanted, text, layout)
    most = max(1, min(rows, _BATCH_CELLS // max(len(wanted), 1)))
    categories: dict[str, Any] = {}
    size = seen = 0
    try:
        for batch in open_file(path, text).iter_batches(batch_size=most, columns=wanted):
            seen += batch.num_rows
            if seen > layout.rows:
                break
            for piece in _pieces(batch.select(wanted), text):
                ready = _conformed(piece, schema, categories)
                size += sum(_own_bytes(column) for column in ready.columns)
                if size > MAX_UNPACKED:
                    raise unreadable(f"unpacks to more than {MAX_UNPACKED:,} bytes")
                yield ready
    except (pa.ArrowException, OSError, ValueError) as error:
        raise unreadable(short(error)) from error
    if seen != layout.rows:
        raise unreadable(f"it says that it has {layout.rows:,} rows, and has {seen:,} or more")


def missing_cells(path: Path) -> tuple[int, int]:
    """How many cells of all columns of plain values are missing, as pandas counts, and how many there are."""
    import pyarrow.compute as pc

    missing = total = 0
    for batch in batches(path):
        for column in batch.columns:
            missing += pc.sum(pc.is_null(column, nan_is_null=True)).as_py() or 0
            total += len(column)
    return missing, total


def _schema(stored: Any, wanted: list[str], text: list[str], layout: Layout) -> Any:
    """Of the batches: that of the file, with long text, and with pandas' words for the types that only it has."""
    import pyarrow as pa

    plain = pa.schema([pa.field(n, pa.large_string() if n in text else stored.field(n).type) for n in wanted])
    empty = framed(plain.empty_table(), wanted, [], layout, with_index=False)
    return plain.with_metadata(pa.Schema.from_pandas(empty, preserve_index=False).metadata)


def _pieces(batch: Any, text: Sequence[str]) -> Iterator[Any]:
    """The batch in halves of halves, until each is small when its text is written out."""
    size = sum(_own_bytes(column) for column in batch.columns) + sum(text_bytes(batch.column(n)) for n in text)
    if batch.num_rows > 1 and size > BATCH_BYTES:
        half = batch.num_rows // 2
        yield from _pieces(batch.slice(0, half), text)
        yield from _pieces(batch.slice(half), text)
    else:
        yield batch


def _conformed(batch: Any, schema: Any, categories: dict[str, Any]) -> Any:
    """The batch under `schema`; `categories` grows by those that are new in it."""
    import pyarrow as pa

    columns = []
    for wanted, column in zip(schema, batch.columns, strict=True):
        if pa.types.is_dictionary(wanted.type):
            known = categories.get(wanted.name, column.dictionary.slice(0, 0))
            none = pa.DictionaryArray.from_arrays(column.indices.slice(0, 0), known, ordered=wanted.type.ordered)
            column = pa.chunked_array([none, column]).unify_dictionaries().chunk(1)
            categories[wanted.name] = column.dictionary
            if column.dictionary.nbytes > BATCH_BYTES:
                raise unreadable(f"the categories of {shown(wanted.name)} have more than {BATCH_BYTES:,} bytes")
        columns.append(column.cast(wanted.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _own_bytes(column: Any) -> int:
    """Without the categories, which the batches share."""
    import pyarrow as pa

    return int((column.indices if pa.types.is_dictionary(column.type) else column).nbytes)
