"""One run: what its training logged, and what the API has changed of it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .calls import Access, Call
from .files import NO_FILE_MD5, File
from .paging import Connection, page
from .texts import node_id

if TYPE_CHECKING:
    from .artifacts import Artifact
    from .people import User
    from .projects import Project


@dataclass(frozen=True)
class ParquetHistory:
    live_data: list[dict[str, Any]]
    parquet_urls: tuple[str, ...] = ()


@dataclass(eq=False)
class Run:
    """`name` is the id that people see in addresses; `display_name` is the name that they gave.

    `config` is as on the wire, {key: {"value": …}}. Files are by name, and also those that never registered.
    """

    project: Project
    name: str
    user: User
    created_at: datetime
    heartbeat_at: datetime
    display_name: str = ""
    state: str = "running"
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary_metrics: dict[str, Any] = field(default_factory=dict)
    group: str | None = None
    job_type: str | None = None
    description: str | None = None
    notes: str | None = None
    commit: str | None = None
    sweep_name: str | None = None
    history_lines: list[str] = field(default_factory=list)
    event_lines: list[str] = field(default_factory=list)
    log_lines: list[str] = field(default_factory=list)
    stored_files: dict[str, File] = field(default_factory=dict)
    logged: list[Artifact] = field(default_factory=list)
    used: list[Artifact] = field(default_factory=list)
    stop_requested: bool = False
    preempting: bool = False

    graphql_type = "Run"

    @property
    def id(self) -> str:
        return node_id("Run", "v1", self.name, self.project.name, self.project.entity.name)

    @property
    def project_id(self) -> int:
        return self.project.number

    @property
    def system_metrics(self) -> dict[str, Any]:
        return json.loads(self.event_lines[-1]) if self.event_lines else {}

    def read_only(self, call: Call) -> bool:
        return call.access is not Access.FULL

    def wandb_config(self, call: Call, keys: list[str] | None = None) -> dict[str, Any]:
        internal = self.config.get("_wandb", {}).get("value", {})
        return {key: value for key, value in internal.items() if keys is None or key in keys}

    @property
    def history_line_count(self) -> int:
        return len(self.history_lines)

    @property
    def events_line_count(self) -> int:
        return len(self.event_lines)

    @property
    def log_line_count(self) -> int:
        return len(self.log_lines)

    @property
    def history_tail(self) -> list[str]:
        return self.history_lines[-1:]

    @property
    def events_tail(self) -> list[str]:
        return self.event_lines[-1:]

    @property
    def history_keys(self) -> dict[str, Any]:
        rows = self._rows()
        keys = sorted({key for row in rows for key in row})
        return {"lastStep": rows[-1].get("_step", -1) if rows else -1, "keys": {key: {} for key in keys}}

    def history(
        self, call: Call, min_step: int = 0, max_step: int | None = None, samples: int | None = None
    ) -> list[str]:
        steps = zip(self.history_lines, (row.get("_step", n) for n, row in enumerate(self._rows())), strict=True)
        chosen = [line for line, step in steps if step >= min_step and (max_step is None or step < max_step)]
        return chosen[:samples]

    def events(self, call: Call, samples: int | None = None) -> list[str]:
        return self.event_lines[:samples]

    def sampled_history(self, call: Call, specs: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
        return [self._sample(spec.get("keys", []), spec.get("samples")) for spec in specs]

    def parquet_history(self, call: Call, live_keys: list[str]) -> ParquetHistory:
        return ParquetHistory(self._rows())

    @property
    def file_count(self) -> int:
        return len(self._listed())

    def files(
        self,
        call: Call,
        names: list[str] | None = None,
        after: str | None = None,
        first: int | None = None,
        pattern: str | None = None,
    ) -> Connection:
        """Asked for by name, a file that does not exist is answered too: with size 0 and the md5 `0`."""
        listed = self._listed()
        if names:
            return page(call, [listed.get(name) or self._absent(name) for name in names], after, first)
        like = re.compile(".*".join(map(re.escape, pattern.split("%"))) if pattern else ".*", re.DOTALL)
        return page(call, [file for name, file in listed.items() if like.fullmatch(name)], after, first)

    def output_artifacts(self, call: Call, after: str | None = None, first: int | None = None) -> Connection:
        return page(call, [a for a in self.logged if a.state == "COMMITTED"], after, first)

    def input_artifacts(self, call: Call, after: str | None = None, first: int | None = None) -> Connection:
        return page(call, self.used, after, first)

    def _rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.history_lines]

    def _sample(self, keys: list[str], samples: int | None) -> list[dict[str, Any]]:
        rows = [{key: row[key] for key in keys} for row in self._rows() if all(key in row for key in keys)]
        return rows[:samples]

    def _listed(self) -> dict[str, File]:
        return {name: file for name, file in self.stored_files.items() if file.listed}

    def _absent(self, name: str) -> File:
        path = f"{self.project.path}/{self.name}/{name}"
        return File(name, self.project.no_blob, f"/files/{path}", md5=NO_FILE_MD5)
