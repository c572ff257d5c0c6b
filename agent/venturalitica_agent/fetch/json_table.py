"""Tables as trackers write them in JSON: `{"columns": [...], "data": [[...], ...]}` of `mlflow.log_table` and
`wandb.Table`. Nothing says how much JSON unpacks to, so it is weighed before it is parsed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from venturalitica_agent.fetch.csv_text import MAX_COLUMNS
from venturalitica_agent.fetch.problems import Unfit
from venturalitica_agent.strict_yaml import shown

if TYPE_CHECKING:
    import pandas as pd

MAX_FILE = 256 << 20
_MAX_VALUES = 20_000_000
_MAX_LISTS = 3_000_000
_WANDB_CUT = 10_000  # source: wandb.Table.MAX_ROWS, above which it cuts the file of the run without a word
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_LATEST_TIME = int(datetime(9999, 1, 1, tzinfo=UTC).timestamp() * 1000)


@dataclass(frozen=True, slots=True)
class JsonTable:
    """A table whose rows all have as many cells as there are columns.

    Attributes:
        unusable: column -> what its cells are, where they are more than single values.
        times: columns of milliseconds since the epoch.
    """

    columns: tuple[str, ...]
    rows: list[list[Any]]
    unusable: Mapping[str, str] = field(default_factory=dict)
    times: frozenset[str] = frozenset()


def read(path: Path, *, wandb: bool) -> JsonTable:
    """Parse and check a table.

    Args:
        wandb: written by `wandb.Table`, where pictures, lists and the like spoil their column and not the table.

    Raises:
        Unfit: it is no table, too large, or only a part of one.
    """
    content = path.read_bytes()
    _weigh(content)
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise unreadable(f"not JSON: {' '.join(str(error).split())[:200]}") from error
    columns, rows = _parts(document, wandb=wandb)
    if wandb:
        _check_whole(document, len(rows))
    types = _types(document) if wandb else {}
    unusable: dict[str, str] = {}
    times = set()
    for place, name in enumerate(columns):
        cells = [row[place] for row in rows]
        odd = _odd(cells, types.get(name, frozenset()), may_be_broken=_SURROGATE.search(content) is not None)
        if odd and not wandb:
            raise unreadable(f"the column {shown(name)} holds {odd}, not single values")
        if odd:
            unusable[name] = odd
        elif "timestamp" in types.get(name, ()) and not any(isinstance(cell, str) for cell in cells):
            times.add(name)
    return JsonTable(columns, rows, unusable, frozenset(times))


def frame_of(table: JsonTable, columns: Sequence[str] | None) -> pd.DataFrame:
    """The columns asked for, or all that are usable, with the types that JSON has; times are in UTC.

    Raises:
        Unfit: one of them can't be used.
    """
    import pandas as pd

    wanted = [c for c in table.columns if c not in table.unusable] if columns is None else list(columns)
    for name in wanted:
        if name in table.unusable:
            raise unreadable(f"the column {shown(name)} holds {table.unusable[name]}, not single values")
    place = {name: i for i, name in enumerate(table.columns)}
    cells = {name: [row[place[name]] for row in table.rows] for name in wanted}
    return pd.DataFrame(
        {name: _times(values) if name in table.times else values for name, values in cells.items()},
        columns=wanted,
        index=pd.RangeIndex(len(table.rows)),
    )


def unreadable(what: str, remedy: str = "log it again as parquet") -> Unfit:
    return Unfit(f"the table can't be read: {what}", remedy=remedy, code="unreadable")


def _weigh(content: bytes) -> None:
    """Refuse JSON that would take gigabytes of memory, by counting what separates values in its text."""
    if len(content) > MAX_FILE:
        raise unreadable(f"{len(content):,} bytes; at most {MAX_FILE:,} are read")
    values, lists = (sum(map(content.count, marks)) for marks in ((b",", b":"), (b"[", b"{")))
    if values > _MAX_VALUES or lists > _MAX_LISTS:
        raise unreadable(f"more than {_MAX_VALUES:,} values or {_MAX_LISTS:,} rows")


def _parts(document: Any, *, wandb: bool) -> tuple[tuple[str, ...], list[list[Any]]]:
    """Columns and rows, all rows of one length."""
    columns = document.get("columns") if isinstance(document, dict) else None
    rows = document.get("data") if isinstance(document, dict) else None
    named = isinstance(columns, list) and all(type(c) is str or (wandb and type(c) is int) for c in columns)
    if not isinstance(columns, list) or not named or not isinstance(rows, list):
        raise unreadable('not a table of mlflow.log_table or wandb.Table ({"columns": …, "data": …})')
    names = tuple(map(str, columns))
    if len(names) > MAX_COLUMNS or len(set(names)) != len(names):
        raise unreadable("too many columns, or two of the same name")
    if not all(_encodes(name) for name in names):
        raise unreadable("a column's name is not Unicode text")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, list) or len(row) != len(names):
            raise unreadable(f"row {number} does not have {len(names)} cells")
    return names, rows


def _check_whole(document: Mapping[str, Any], rows: int) -> None:
    """Refuse what wandb writes of a table when it doesn't write all of it."""
    said = document.get("nrows")
    if document.get("log_mode") == "INCREMENTAL":
        raise unreadable("it is one increment of a table", 'log the whole table, with log_mode="IMMUTABLE"')
    if type(said) is int and said != rows:
        raise unreadable(f"it holds {rows:,} of the table's {said:,} rows", "log the data as a parquet file")
    if said is None and rows == _WANDB_CUT:
        raise unreadable(
            f"it has exactly {rows:,} rows, where W&B cuts off what a run logs, so rows may be missing",
            "name the artifact in which W&B keeps the whole table, or log the data as a parquet file in an artifact",
        )


def _types(document: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """Column -> the kinds of cells that wandb says it has; what can't be read says nothing."""
    kinds: Any = document.get("column_types")
    for key in ("params", "type_map"):
        kinds = kinds.get(key) if isinstance(kinds, dict) else None
    return {name: frozenset(_words(kind)) for name, kind in kinds.items()} if isinstance(kinds, dict) else {}


def _words(kind: Any) -> list[str]:
    params = kind.get("params") if isinstance(kind, dict) else None
    allowed = params.get("allowed_types") if isinstance(params, dict) else None
    said = [kind, *allowed] if isinstance(allowed, list) else [kind]
    return [word for k in said if isinstance(k, dict) and isinstance(word := k.get("wb_type"), str)]


def _odd(cells: Sequence[Any], types: frozenset[str], *, may_be_broken: bool) -> str:
    """What cells are that can't be values of a column; empty when all can."""
    present = set(map(type, cells))
    if dict in present:
        return "objects"
    if list in present or "ndarray" in types:  # wandb puts large arrays into another file and leaves nulls here
        return "lists"
    if int in present and any(type(c) is int and not -(2**63) <= c < 2**63 for c in cells):
        return "numbers of more than 64 bits"
    if may_be_broken and any(isinstance(c, str) and not _encodes(c) for c in cells):
        return "text that is not Unicode"
    if "timestamp" in types and any(type(c) in (int, float) and not abs(c) <= _LATEST_TIME for c in cells):
        return "times that are out of range"
    return ""


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _times(cells: Sequence[float | None]) -> pd.Series:
    import numpy as np
    import pandas as pd

    moments = [np.datetime64("NaT") if c is None else np.datetime64(int(c), "ms") for c in cells]
    return pd.Series(np.array(moments, dtype="datetime64[ms]")).dt.tz_localize("UTC")
