"""A run where no tracker has one open: a folder below `.venturalitica/runs`, so that evidence has a place."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from venturalitica.place import Place

if TYPE_CHECKING:
    import pandas as pd

HOME = Path(".venturalitica", "runs")


def begin(name: str = "", experiment: str = "") -> FolderRun:
    """A new run below the working directory, of the experiment that is called like it unless `experiment` is given."""
    home = HOME.absolute()
    run_id = uuid.uuid4().hex
    experiment = experiment or Path.cwd().name or "default"
    run = FolderRun(Place("folder", str(home), run_id, str(home / run_id)), name or run_id[:8], experiment, _now())
    (home / run_id / "artifacts").mkdir(parents=True)
    run.say("RUNNING")
    return run


@dataclass(frozen=True)
class FolderRun:
    """See `Tracker`. `started` is in milliseconds since the epoch."""

    place: Place
    name: str
    experiment: str
    started: int

    @property
    def folder(self) -> Path:
        return Path(self.place.uri, self.place.run_id)

    def put(self, files: Mapping[str, bytes]) -> None:
        for path, content in files.items():
            _write(self.folder / "artifacts" / path, content)

    def put_table(self, path: str, content: bytes, frame: pd.DataFrame, contexts: Sequence[str]) -> None:  # noqa: ARG002 - the Protocol's
        self.put({path: content})

    def end(self, *, failed: bool = False) -> None:
        self.say("FAILED" if failed else "FINISHED", _now())

    def say(self, status: str, ended: int | None = None) -> None:
        """Write `run.json`."""
        about = {
            "run_id": self.place.run_id,
            "name": self.name,
            "experiment": self.experiment,
            "status": status,
            "start_time": self.started,
            "end_time": ended,
        }
        _write(self.folder / "run.json", json.dumps(about, ensure_ascii=False, indent=1).encode())


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, because an agent may be reading."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    unfinished.write_bytes(content)
    os.replace(unfinished, path)  # noqa: PTH105 - Path.replace is the same and says less


def _now() -> int:
    return time.time_ns() // 1_000_000
