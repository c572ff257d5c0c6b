"""The service's side of `Type=notify`, spoken by the real process over a real socket."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from service_manager import SECONDS, Manager
from service_unit import service_section

POLICY = """\
policy: tiny
version: 1.0.0
title: A policy for an empty store
controls:
  - id: accuracy
    title: Accuracy
    metric: accuracy
    require: ">= 0.5"
    source: {kind: house, ref: "this test"}
"""
CONFIG = """\
stores: [{mlflow: ./mlruns}]
policies: ./tiny.yaml
audits: [{name: all, runs: {experiment: "*"}, policy: tiny}]
sandbox: {warm: 0}
"""
EXPERIMENT = "artifact_location: {0}\nexperiment_id: '0'\nlifecycle_stage: active\nname: Default\n"
RUN = """\
artifact_uri: {0}/{1}/artifacts
end_time: null
entry_point_name: ''
experiment_id: '0'
lifecycle_stage: active
run_id: {1}
run_name: new
run_uuid: {1}
source_name: ''
source_type: 4
source_version: ''
start_time: 1700000000000
status: 1
tags: []
user_id: someone
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A configuration and a store without runs."""
    experiment = tmp_path / "mlruns" / "0"
    experiment.mkdir(parents=True)
    (experiment / "meta.yaml").write_text(EXPERIMENT.format(experiment.as_uri()))
    (tmp_path / "tiny.yaml").write_text(POLICY)
    (tmp_path / "agent.yaml").write_text(CONFIG)
    return tmp_path


def start(folder: Path, address: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "venturalitica_agent", "run", "--config", str(folder / "agent.yaml")]
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    with (folder / "service.log").open("wb") as log:
        return subprocess.Popen(
            command, env={**kept, "VENTURALITICA_WEB_SERVE": "false", "NOTIFY_SOCKET": address}, stderr=log, cwd=folder
        )


def train(folder: Path) -> None:
    """A run starts in the store."""
    experiment, run_id = folder / "mlruns" / "0", uuid.uuid4().hex
    (experiment / run_id).mkdir()
    (experiment / run_id / "meta.yaml").write_text(RUN.format(experiment.as_uri(), run_id))


def test_the_service_says_when_it_is_ready_alive_and_stopping(folder: Path, manager: Manager) -> None:
    """READY=1 once and first, WATCHDOG=1 with each turn of the work loop, STOPPING=1 at SIGTERM, exit status 0."""
    process = start(folder, manager.address)
    try:
        manager.hear(1, "WATCHDOG=1")
        train(folder)
        manager.hear(2, "WATCHDOG=1")
        assert manager.heard[0] == "READY=1"
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        manager.hear(1, "STOPPING=1")
        assert process.wait(SECONDS) == 0, (folder / "service.log").read_text()
    finally:
        process.kill()
        process.wait()
    assert manager.heard.count("READY=1") == 1
    assert manager.heard[-1] == "STOPPING=1"
    assert "Traceback" not in (folder / "service.log").read_text()


def test_a_socket_in_the_abstract_namespace_is_spoken_to(folder: Path) -> None:
    """Managers of containers give an address that starts with `@`."""
    manager = Manager(f"@venturalitica-{uuid.uuid4().hex}")
    process = start(folder, manager.address)
    try:
        manager.hear(1, "READY=1")
    finally:
        process.kill()
        process.wait()
        manager.close()


def test_a_mistake_in_the_configuration_is_not_tried_again(folder: Path, manager: Manager) -> None:
    """It ends with the status that the unit's RestartPreventExitStatus= names, and was never ready."""
    (folder / "agent.yaml").write_text(CONFIG + "nonsense: 1\n")
    process = start(folder, manager.address)
    assert process.wait(SECONDS) == int(service_section()["RestartPreventExitStatus"])
    assert "nonsense" in (folder / "service.log").read_text()
    assert manager.silent()
