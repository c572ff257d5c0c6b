"""A service that runs takes up changed policies, and outlives a broken one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from venturalitica_agent.overview import overview
from venturalitica_agent.settings import load_settings

POLICY = """\
policy: tiny
version: "{version}"
controls:
  - {{id: accuracy, metric: accuracy, require: ">= {threshold}"}}
"""
CONFIG = """\
stores: [{mlflow: ./mlruns}]
policies: ./tiny.yaml
audits: [{name: all, runs: {experiment: "*"}, policy: tiny}]
sandbox: {warm: 0}
reconcile: 500ms
"""
SECONDS = 60.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "agent.yaml").write_text(CONFIG)
    write(tmp_path, "1.0", 0.5)
    return tmp_path


@pytest.fixture
def service(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "venturalitica_agent", "run"]
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    with (folder / "service.log").open("wb") as log:
        process = subprocess.Popen(command, env=kept | {"VENTURALITICA_WEB_SERVE": "false"}, stderr=log, cwd=folder)
    yield process
    process.terminate()
    process.wait(SECONDS)


def write(folder: Path, version: str, threshold: float) -> None:
    (folder / "tiny.yaml").write_text(POLICY.format(version=version, threshold=threshold))


def await_event(folder: Path, name: str, count: int = 1) -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        lines = (folder / "service.log").read_text().splitlines()
        if sum(json.loads(line)["event"] == name for line in lines if line.startswith("{")) >= count:
            return
        time.sleep(0.05)
    pytest.fail((folder / "service.log").read_text())


def test_a_broken_version_is_told_and_the_next_good_one_is_in_force(
    folder: Path, service: subprocess.Popen[bytes]
) -> None:
    await_event(folder, "service.started")
    settings = load_settings(folder / "agent.yaml", env={}, cwd=folder)
    write(folder, "1.1", 50)
    await_event(folder, "policies.refused")
    shown = overview(settings)["policies"]
    assert shown["in_force"] == ["tiny@1.0"]
    assert "ranges from 0 to 1" in shown["refused"][0]
    write(folder, "1.1", 0.6)
    await_event(folder, "policy.in_force", 2)
    assert overview(settings)["policies"] == {"in_force": ["tiny@1.1"], "refused": []}
    assert service.poll() is None
