"""Plays a scene: train, audit, wait, show."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from venturalitica_agent.demo.scene import Scene, environment
from venturalitica_agent.errors import ConfigError, PermanentError
from venturalitica_agent.logging import clean
from venturalitica_agent.overview import overview
from venturalitica_agent.settings import Settings

_TIMEOUT = 300.0


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo came to. `rows` are `overview.audit_row`s, newest first."""

    scene: Scene
    folder: Path
    rows: list[dict[str, Any]]
    not_audited: dict[str, int]
    expected: int
    service_since: float

    def watched(self, row: dict[str, Any]) -> bool:
        """Whether a run ended while the service was running, so that its latency means something."""
        return bool(row["end_time"] and row["end_time"] / 1000 > self.service_since)

    @property
    def complete(self) -> bool:
        """Every run that ended well has a verdict, and the failed one was counted."""
        failed = sum(count for reason, count in self.not_audited.items() if reason.startswith("FAILED"))
        return len(self.rows) == self.expected and failed == 1

    def document(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            "complete": self.complete,
            "audits": self.rows,
            "not_audited": self.not_audited,
            "filter": self.scene.filter,
        }

    def show(self, out: Console) -> None:
        """The table, and how to see the same in the tracker."""
        table = Table(title="What the agent wrote", title_justify="left")
        for column in ("run", "status", "failed", "end → tag"):
            table.add_column(column, overflow="fold")
        colours = {"pass": "green", "fail": "red", "warn": "yellow", "inconclusive": "blue", "error": "magenta"}
        for row in self.rows:
            table.add_row(
                Text(clean(row["run"])),
                Text(row["status"], style=colours.get(row["status"], "")),
                Text(clean(", ".join(row["failed"]))),
                f"{row['seconds']:.1f} s" if self.watched(row) else "before it watched",
            )
        out.print(table)
        for row in self.rows if self.scene.links else ():
            out.print(Text(f"{clean(row['run'])}: {row['link']}"), soft_wrap=True)
        for reason, count in self.not_audited.items():
            out.print(Text(f"not audited: {count}, {clean(reason)}"), soft_wrap=True)
        self.scene.see(self.folder, out)
        out.print(
            f"Each run's artifacts hold venturalitica/…/report.html. Everything is in {self.folder}", soft_wrap=True
        )


def run_demo(scene: Scene, folder: Path | None, *, say: Callable[[str], None]) -> DemoResult:
    """Train, audit, wait; what the scene started is still there afterwards.

    Args:
        folder: must be new or empty; a temporary one is made (and left there) without it.

    Raises:
        ConfigError: the folder can't be used.
        PermanentError: a training script or the service failed, or not every run had a verdict in time.
    """
    folder = _fresh(folder)
    say(f"The demo is in {folder}")
    settings = scene.configure(folder)
    say(scene.opening)
    scene.train_backlog(folder)
    expected = len(scene.backlog) - 1
    say("Starting the agent; it audits what is there …")
    since = time.time()
    with (folder / "agent.log").open("wb") as log:
        service = subprocess.Popen(
            [sys.executable, "-m", "venturalitica_agent", "run", "--config", str(folder / "agent.yaml")],
            cwd=folder,
            env=environment({}),
            stderr=log,
        )
        try:
            _await(settings, expected, service, folder)
            say("… and one more run, trained while it watches …")
            scene.train(folder, *scene.live)
            _await(settings, expected + 1, service, folder)
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait(timeout=30)
    document = overview(settings, limit=100)
    not_audited: dict[str, int] = {}
    for store in document["stores"]:
        for reason, count in store["ignored"].items():
            not_audited[reason] = not_audited.get(reason, 0) + count
    return DemoResult(scene, folder, document["audits"], not_audited, expected + 1, since)


def _fresh(folder: Path | None) -> Path:
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="venturalitica-demo-"))
    folder = folder.absolute()
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError("is not empty", subject=str(folder), remedy="name a folder that is new or empty")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _await(settings: Settings, verdicts: int, service: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + _TIMEOUT
    while time.monotonic() < deadline:
        document = overview(settings, limit=100)
        if len(document["audits"]) >= verdicts and document["due"] == 0:
            return
        if service.poll() is not None:
            raise PermanentError("the service stopped", subject=str(folder), remedy=f"see {folder / 'agent.log'}")
        time.sleep(0.2)
    raise PermanentError(
        f"{len(document['audits'])} of {verdicts} runs have a verdict after {_TIMEOUT:.0f} s",
        subject=str(folder),
        remedy=f"see {folder / 'agent.log'}",
    )
