"""The demo, which is also the first acceptance test: plain training scripts on real data in fresh stores, the real
service watching them, and a table of what it wrote."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from venturalitica_agent.errors import ConfigError, PermanentError
from venturalitica_agent.logging import clean
from venturalitica_agent.overview import overview
from venturalitica_agent.settings import Settings, load_settings

_HERE = Path(__file__).parent
_UI = {"sqlite": "http://127.0.0.1:5000", "files": "http://127.0.0.1:5001"}
_FILTER = "tags.venturalitica.status = 'fail'"
_TIMEOUT = 300.0

# script -> store; the failing one fails on purpose, and the last one is trained while the service watches.
_BACKLOG = (
    ("train_logistic.py", "sqlite"),
    ("train_forest.py", "sqlite"),
    ("train_boosting.py", "sqlite"),
    ("train_scorecard.py", "sqlite"),
    ("train_without_data.py", "sqlite"),
    ("train_failing.py", "sqlite"),
    ("train_logistic.py", "files"),
    ("train_scorecard.py", "files"),
)
_LIVE = ("train_fair.py", "sqlite")
_FAILS_ON_PURPOSE = "train_failing.py"


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo came to. `rows` are `overview.audit_row`s, newest first."""

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
        return len(self.rows) == self.expected and sum(self.not_audited.values()) == 1

    def document(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            "complete": self.complete,
            "audits": self.rows,
            "not_audited": self.not_audited,
            "filter": _FILTER,
        }

    def show(self, out: Console) -> None:
        """The table, and how to see the same in MLflow's own UI."""
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
        for row in self.rows:
            out.print(Text(f"{clean(row['run'])}: {row['link']}"), soft_wrap=True)
        for reason, count in self.not_audited.items():
            out.print(Text(f"{count} run not audited: {clean(reason)}"), soft_wrap=True)
        mlflow = Path(sys.executable).parent / "mlflow"
        out.print("\nSee it in MLflow's own UI (one line for each of the two stores):", style="bold")
        out.print(
            f"  {mlflow} ui --port 5000 --backend-store-uri sqlite:///{self.folder / 'mlflow.db'}", soft_wrap=True
        )
        files = f"{mlflow} ui --port 5001 --backend-store-uri {self.folder / 'file-store'}"
        out.print(f"  MLFLOW_ALLOW_FILE_STORE=true {files}", soft_wrap=True)
        out.print("then open the experiment and type this filter:")
        out.print(f"  {_FILTER}")
        out.print(f"or go there: {_UI['sqlite']}/#/experiments/1/runs?searchFilter={quote(_FILTER)}", soft_wrap=True)
        out.print(
            f"Each run's artifacts hold venturalitica/…/report.md. Everything is in {self.folder}", soft_wrap=True
        )


def run_demo(folder: Path | None, *, say: Callable[[str], None]) -> DemoResult:
    """Train, audit, wait. `folder` must be new or empty; a temporary one is made (and left there) without it.

    Raises:
        ConfigError: the folder can't be used.
        PermanentError: a training script or the service failed, or not every run had a verdict in time.
    """
    folder = _fresh(folder)
    say(f"The demo is in {folder}")
    settings = _configure(folder)
    say(f"Training {len(_BACKLOG)} runs with scripts that import mlflow and scikit-learn only …")
    with ThreadPoolExecutor(max_workers=2) as pool:
        # SQLite locks a fresh database while it is created: the first script makes it alone.
        _train(folder, *_BACKLOG[0])
        list(pool.map(lambda job: _train(folder, *job), _BACKLOG[1:]))
    expected = len(_BACKLOG) - 1
    say("Starting the agent; it audits what is there …")
    since = time.time()
    with (folder / "agent.log").open("wb") as log:
        service = subprocess.Popen(
            [sys.executable, "-m", "venturalitica_agent", "run", "--config", str(folder / "agent.yaml")],
            cwd=folder,
            stderr=log,
        )
        try:
            _await(settings, expected, service, folder)
            say("… and one more run, trained while it watches …")
            _train(folder, *_LIVE)
            _await(settings, expected + 1, service, folder)
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait(timeout=30)
    document = overview(settings, limit=100)
    not_audited: dict[str, int] = {}
    for store in document["stores"]:
        for reason, count in store["ignored"].items():
            not_audited[reason] = not_audited.get(reason, 0) + count
    return DemoResult(folder, document["audits"], not_audited, expected + 1, since)


def _fresh(folder: Path | None) -> Path:
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="venturalitica-demo-"))
    folder = folder.absolute()
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError("is not empty", subject=str(folder), remedy="name a folder that is new or empty")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _configure(folder: Path) -> Settings:
    """The example's own agent.yaml, with the demo's two stores in it."""
    shutil.copytree(_HERE / "examples" / "german_credit", folder / "training")
    shutil.copytree(_HERE / "policies" / "credit-scoring", folder / "policies" / "credit-scoring")
    document = yaml.safe_load((folder / "training" / "agent.yaml").read_text())
    document["stores"] = [
        {"mlflow": "sqlite:///mlflow.db", "ui": _UI["sqlite"]},
        {"mlflow": "./file-store", "ui": _UI["files"]},
    ]
    document["policies"] = "./policies"
    document["settle"] = "2s"
    (folder / "agent.yaml").write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
    (folder / "file-store").mkdir()
    return load_settings(folder / "agent.yaml", env=_environment({}), cwd=folder)


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    """Ours without what would redirect the demo to somebody's real tracker."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "WANDB_", "VENTURALITICA_"))}
    return kept | dict(more)


def _train(folder: Path, script: str, store: str) -> None:
    uri = f"sqlite:///{folder / 'mlflow.db'}" if store == "sqlite" else str(folder / "file-store")
    done = subprocess.run(
        [sys.executable, str(folder / "training" / script)],
        cwd=folder,
        env=_environment({"MLFLOW_TRACKING_URI": uri, "MLFLOW_ALLOW_FILE_STORE": "true"}),
        capture_output=True,
        text=True,
        check=False,
    )
    if (done.returncode != 0) != (script == _FAILS_ON_PURPOSE):
        raise PermanentError(
            f"{script} ended with code {done.returncode}",
            subject=str(folder),
            remedy=f"its last words were: {done.stderr[-500:]}",
        )


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
