"""The commands as their user runs them, on stores written by MLflow itself: as processes of their own, or in this one.

A process pays three seconds of imports. Those that show what a process shows (signals, kills, exit codes, standard
streams, locks) are processes; elsewhere the same command runs here, and gives the same document.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from venturalitica_agent.cli import app

ROOT = Path(__file__).parents[2]
GERMAN = ROOT / "examples" / "german_credit" / "german_credit.csv"
AGENT = [sys.executable, "-m", "venturalitica_agent"]
KINDS = ("sqlite", "files")


def policy_text(name: str = "tiny", version: str = "1.0", impact: float = 0.5) -> str:
    """Two controls: on accuracy, and on the disparate impact on `gender`, which must be `impact` or more."""
    return f"""
policy: {name}
version: "{version}"
controls:
  - id: accuracy
    article: "15(1)"
    metric: accuracy
    require: ">= 0.6"
  - id: impact
    article: "10(2)(f)"
    metric: disparate_impact
    role: gender
    require: ">= {impact}"
"""


POLICY = policy_text()

AUDITS = """
policies: ./policies
settle: {settle}
reconcile: 2s
audits:
  - name: tiny
    runs: {{experiment: "tiny*"}}
    policy: tiny
    data:
      evaluation: {{artifact: "data/test.csv"}}
    columns:
      target: {{column: y, positive: 1}}
      gender: sex
"""


def environment(**more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "WANDB_", "VENTURALITICA_"))}
    return kept | {"MLFLOW_ALLOW_FILE_STORE": "true", "VENTURALITICA_WEB_SERVE": "false"} | more


@dataclass
class Workplace:
    """A folder with an agent.yaml and a policy, and the agent's commands in it."""

    folder: Path
    uris: list[str] = field(default_factory=list)

    def configure(self, uris: list[str], *, settle: str = "0s", policy: str = POLICY, audits: str = AUDITS) -> None:
        self.uris = uris
        (self.folder / "policies").mkdir(exist_ok=True)
        (self.folder / "policies" / "tiny.yaml").write_text(policy)
        stores = "stores:\n" + "".join(f"  - mlflow: {uri}\n" for uri in uris)
        (self.folder / "agent.yaml").write_text(stores + audits.format(settle=settle))

    def run(
        self, *args: str, check: int | None = 0, seconds: float = 240, **env: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*AGENT, *args], cwd=self.folder, env=environment(**env), capture_output=True, text=True, timeout=seconds
        )
        if check is not None:
            assert done.returncode == check, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *args: str, check: int | None = 0) -> Any:
        return self.json_with(args, check=check)

    def json_with(self, args: tuple[str, ...], *, check: int | None = 0, seconds: float = 240, **env: str) -> Any:
        return json.loads(self.run(*args, "--json", check=check, seconds=seconds, **env).stdout)

    def here(self, *args: str, check: int | None = 0) -> Any:
        """The document that a command prints with `--json`, run in this process on this folder's agent.yaml.

        Errors of ours are raised, as they are before `main` makes sentences of them. No sandbox worker waits for a
        model that may not come: one is started when it is needed.
        """
        with redirect_stdout(io.StringIO()) as printed, patch.dict(os.environ, VENTURALITICA_SANDBOX_WARM="0"):
            status = app([*args, "--config", str(self.folder / "agent.yaml"), "--json"], standalone_mode=False)
        if check is not None:
            assert (status or 0) == check, printed.getvalue()
        return json.loads(printed.getvalue())

    def start(self, **env: str) -> subprocess.Popen[bytes]:
        log = (self.folder / "agent.log").open("ab")
        try:
            return subprocess.Popen(
                [*AGENT, "run", "-v"], cwd=self.folder, env=environment(**env), stderr=log, start_new_session=True
            )
        finally:
            log.close()

    @contextmanager
    def service(self, **env: str) -> Iterator[subprocess.Popen[bytes]]:
        process = self.start(**env)
        try:
            yield process
        finally:
            stop(process)

    def events(self, *names: str) -> list[dict[str, Any]]:
        lines = (self.folder / "agent.log").read_text().splitlines()
        events = [json.loads(line) for line in lines if line.startswith("{")]
        return [event for event in events if event["event"] in names]

    def await_log(self, name: str, *, count: int = 1, seconds: float = 90) -> None:
        eventually(lambda: (self.folder / "agent.log").exists() and len(self.events(name)) >= count, seconds, self)

    def log(self) -> str:
        path = self.folder / "agent.log"
        return path.read_text()[-6000:] if path.exists() else ""


@dataclass(frozen=True)
class Served:
    """A running service and the stores that it watches.

    Attributes:
        uris: by kind of store; "crowded" is a file store for many writers.
        backlog: by kind, a good run that had ended before the service started, and what MLflow said of it then.
    """

    place: Workplace
    uris: dict[str, str]
    backlog: dict[str, tuple[str, dict[str, Any]]]

    def published(self, *runs: str) -> list[str]:
        """The ones of `runs` that were audited, as often as they were."""
        return [event["run"] for event in self.place.events("audit.published") if event["run"] in runs]


def stop(process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> None:
    if process.poll() is None:
        process.send_signal(number)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def eventually(condition: Callable[[], bool], seconds: float = 90, workplace: Workplace | None = None) -> None:
    """Wait for `condition`; the deadline only bounds a failure, it is not what is tested."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.1)
    pytest.fail(f"it did not come to pass in {seconds} s\n{workplace.log() if workplace else ''}")
