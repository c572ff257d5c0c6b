"""What every command reads its options with, and prints with."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from venturalitica_agent.logging import clean
from venturalitica_agent.settings import Settings, load_settings

_PIPED = None if sys.stdout.isatty() else 160  # columns of tables in files and pipes, which have no width of their own
out = Console(highlight=False, width=_PIPED)
err = Console(stderr=True, highlight=False)

Config = Annotated[
    Path | None, typer.Option("--config", "-c", help="agent.yaml; default: ./agent.yaml where it exists.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log what is seen, not only what is done.")]

MOST_ROWS = 50
_COLOURS = {"pass": "green", "fail": "red", "warn": "yellow", "inconclusive": "blue", "error": "magenta"}


def read_settings(config: Path | None, env: Mapping[str, str] = os.environ) -> Settings:
    return load_settings(config, env=env, cwd=Path.cwd())


def print_json(document: Any) -> None:
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def say(*words: str | Text) -> None:
    """A line of prose as long as it is: wrapping it would break paths and what people search for."""
    out.print(Text.assemble(*words), soft_wrap=True)


def coloured(status: str) -> Text:
    return Text(status, style=_COLOURS.get(status, ""))


def untrusted(value: object, limit: int = 60) -> Text:
    words = " ".join(clean(str(value)).split())  # a line break in a name would forge a line of ours
    return Text(words if len(words) <= limit else words[: limit - 1] + "…")


def verdict_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("run", "experiment", "policy", "status", "failed", "ended"):
        table.add_column(column, overflow="fold", no_wrap=column in ("status", "ended"))
    for row in rows:
        ended = f"{datetime.fromtimestamp(row['end_time'] / 1000):%Y-%m-%d %H:%M}" if row["end_time"] else ""
        failed = untrusted(", ".join(row["failed"]), 60)
        names = untrusted(row["run"] or row["run_id"], 40), untrusted(row["experiment"], 30)
        table.add_row(*names, untrusted(row["policy"]), coloured(row["status"]), failed, ended)
    return table


@contextmanager
def progress(what: str) -> Iterator[Any]:
    """A progress bar on a terminal's standard error; nothing elsewhere. Yields `advance(done, total)`."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
