"""SIGHUP at the real service: what the files ask for now takes over, and what can't be put in force changes nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
from mlflow import MlflowClient
from prometheus_client.parser import text_string_to_metric_families
from service_manager import SECONDS, Manager

from venturalitica_agent.agent import Agent
from venturalitica_agent.overview import overview
from venturalitica_agent.settings import load_settings

POLICY = """\
policy: tiny
version: "{}"
controls:
  - {{id: accuracy, metric: accuracy, require: ">= 0.5"}}
"""
CONFIG = """\
stores: [{{mlflow: ./mlruns}}]
policies: ./{policies}
audits: [{{name: all, runs: {{experiment: "*"}}, policy: tiny}}]
sandbox: {{warm: 0}}
settle: 0s
web: {{port: {port}}}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def events(folder: Path, name: str) -> list[dict[str, str]]:
    lines = [json.loads(line) for line in (folder / "service.log").read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == name]


def audited(folder: Path) -> dict[str, str]:
    """A run ends; its verdict, once there is one."""
    client = MlflowClient(str(folder / "mlruns"))
    run_id = client.create_run(client.get_experiment_by_name("loan").experiment_id).info.run_id
    client.set_terminated(run_id)
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if found := [event for event in events(folder, "audit.published") if event["run"] == run_id]:
            assert len(found) == 1
            return found[0]
        time.sleep(0.05)
    pytest.fail((folder / "service.log").read_text())


def refused_by_metrics(port: int) -> float:
    """What `/metrics` says, once the page is there: it starts on a thread of its own."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=SECONDS).text
        except requests.ConnectionError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
            continue
        families = {family.name: family for family in text_string_to_metric_families(text)}
        return float(families["venturalitica_config_refused"].samples[0].value)


def test_a_reload_puts_in_force_what_can_be_and_says_what_can_not(tmp_path: Path, manager: Manager) -> None:
    folder, port = tmp_path, free_port()
    config = folder / "agent.yaml"
    MlflowClient(str(folder / "mlruns")).create_experiment("loan")
    for version in ("1", "2"):
        (folder / f"tiny{version}.yaml").write_text(POLICY.format(f"{version}.0"))
    first = CONFIG.format(policies="tiny1.yaml", port=port)
    config.write_text(first)
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    env = {**kept, "NOTIFY_SOCKET": manager.address, "MLFLOW_ALLOW_FILE_STORE": "true"}
    with (folder / "service.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "venturalitica_agent", "run"], env=env, stderr=log, cwd=folder
        )
    try:
        manager.hear(1, "READY=1")
        assert audited(folder)["policy"] == "tiny@1.0"
        assert refused_by_metrics(port) == 0

        config.write_text(first + "nonsense: 1\n")
        process.send_signal(signal.SIGHUP)
        manager.hear(2, "READY=1")
        assert manager.heard.count("RELOADING=1") == 1
        assert any(line.startswith("MONOTONIC_USEC=") for line in manager.heard)
        assert any(line.startswith("STATUS=") and "refused" in line for line in manager.heard)
        (told,) = events(folder, "config.refused")
        assert "nonsense" in told["reason"]
        assert refused_by_metrics(port) == 1
        page = requests.get(f"http://127.0.0.1:{port}/", timeout=SECONDS).text
        assert "the changed configuration is not in force" in page
        assert "nonsense" in page
        assert audited(folder)["policy"] == "tiny@1.0"

        config.write_text(CONFIG.format(policies="tiny2.yaml", port=port))
        assert "nonsense" in overview(load_settings(config, env={}, cwd=folder))["config"]["refused"][0]
        process.send_signal(signal.SIGHUP)
        manager.hear(3, "READY=1")
        assert audited(folder)["policy"] == "tiny@2.0"
        assert refused_by_metrics(port) == 0
        shown = overview(load_settings(config, env={}, cwd=folder))
        assert (shown["config"]["refused"], shown["policies"]["in_force"]) == ([], ["tiny@2.0"])

        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
    finally:
        process.kill()
        process.wait()
    manager.hear(1, "STOPPING=1")
    assert manager.heard.count("STOPPING=1") == 1
    assert "Traceback" not in (folder / "service.log").read_text()


def test_a_changed_credential_takes_the_place_of_the_one_that_was_lent_and_of_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "of the environment")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "to be undone")
    monkeypatch.delenv("MLFLOW_TRACKING_TOKEN")
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "tiny.yaml").write_text(POLICY.format("1.0"))
    (tmp_path / "agent.yaml").write_text(CONFIG.format(policies="tiny.yaml", port=8321))
    lent: dict[str, str] = {}
    for token in ("first", "second"):
        (tmp_path / ".env").write_text(f"MLFLOW_TRACKING_TOKEN={token}\nMLFLOW_TRACKING_USERNAME=of the file\n")
        environ = {name: value for name, value in os.environ.items() if lent.get(name) != value}
        agent = Agent(load_settings(None, env=environ, cwd=tmp_path), lent=lent)
        lent = agent.lent
        agent.dispose()
        assert lent == {"MLFLOW_TRACKING_TOKEN": token}
        assert os.environ["MLFLOW_TRACKING_TOKEN"] == token
        assert os.environ["MLFLOW_TRACKING_USERNAME"] == "of the environment"
