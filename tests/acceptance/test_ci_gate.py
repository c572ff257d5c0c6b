"""A CI job that asks for the verdict of its run: beside a service, without one, and when none comes in time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import training
import typer
import yaml
from mlflow import MlflowClient
from workplace import ROOT, Served, Workplace, environment

from venturalitica_agent.cli import app

JOBS = ROOT / "examples" / "ci"
SERVICE = pytest.mark.xdist_group("service")


def _lines(file: str) -> list[str]:
    """The shell commands of a job, in order."""
    document: dict[str, Any] = yaml.safe_load((JOBS / file).read_text())
    if file.startswith("github"):
        return [line for step in document["jobs"]["audit"]["steps"] for line in step.get("run", "").splitlines()]
    return [*document["audit"]["before_script"], *document["audit"]["script"]]


def _ours(file: str) -> list[str]:
    return [line for line in _lines(file) if line.startswith("venturalitica-agent")]


def test_a_run_without_a_service_is_audited_here_and_once(place: Workplace, uri: str) -> None:
    good, bad = training.train(uri), training.train(uri, good=False)
    first = place.here("audit", "--run", good, "--wait")
    assert (first["audited"], [v["status"] for v in first["verdicts"]]) == (1, ["pass"])
    again = place.here("audit", "--run", good, "--wait")
    assert (again["audited"], again["verdicts"]) == (0, first["verdicts"])
    assert place.here("audit", "--run", good, "--run", bad, "--wait", check=1)["audited"] == 1
    client = MlflowClient(uri)
    before = client.get_run(good).data.tags
    place.here("audit", "--run", good, "--wait")
    assert client.get_run(good).data.tags == before


def test_what_never_ends_is_late_and_what_nothing_selects_is_told_at_once(place: Workplace, uri: str) -> None:
    client = MlflowClient(uri)
    running = client.create_run(training.experiment(client)).info.run_id
    late = place.here("audit", "--run", running, "--wait", "--timeout", "1s", check=4)
    assert late["timed_out"]
    assert late["without_verdict"] == [{"run_id": running, "reason": "the run has not ended: it is RUNNING"}]
    other = client.create_run(training.experiment(client, "elsewhere")).info.run_id
    client.set_terminated(other)
    told = place.here("audit", "--run", other, "--wait", "--timeout", "1h", check=3)
    assert told["without_verdict"] == [{"run_id": other, "reason": "no entry of `audits` selects this experiment"}]
    assert "name each one with --run" in place.run("audit", "--wait", check=2).stderr
    assert "--timeout" in place.run("audit", "--run", other, "--wait", "--timeout", "soon", check=2).stderr


def test_a_newer_version_that_asks_for_the_run_is_waited_for(place: Workplace, uri: str) -> None:
    from workplace import policy_text

    good = training.train(uri)
    place.here("audit", "--run", good, "--wait")
    stricter = policy_text(version="2.0", impact=0.999).replace("controls:", "on_change: re-audit\ncontrols:")
    (place.folder / "policies" / "tiny.yaml").write_text(stricter)
    (verdict,) = place.here("audit", "--run", good, "--wait", check=None)["verdicts"]
    assert (verdict["policy"], verdict["status"] == "pass") == ("tiny@2.0", False)


@SERVICE
def test_beside_a_service_its_verdict_is_read_and_nothing_is_audited_twice(served: Served) -> None:
    served.place.await_log("service.started")  # only then the state is the service's
    run = training.train(served.uris["sqlite"])
    document = served.place.here("audit", "--run", run, "--wait", "--timeout", "2m")
    assert (document["audited"], [v["status"] for v in document["verdicts"]]) == (0, ["pass"])
    bad = training.train(served.uris["sqlite"], good=False)
    assert served.place.here("audit", "--run", bad, "--wait", "--timeout", "2m", check=1)["audited"] == 0
    assert sorted(served.published(run, bad)) == sorted([run, bad])


@pytest.mark.parametrize("file", ["github-actions.yaml", "gitlab-ci.yaml"])
def test_the_jobs_use_options_that_the_program_has(file: str) -> None:
    (command,) = _ours(file)
    words = command.replace('"$(cat run_id.txt)"', "0" * 32).split()[1:]
    group = typer.main.get_command(app)
    audit = group.get_command(None, words[0])  # type: ignore[attr-defined, arg-type]
    parsed = audit.make_context("audit", words[1:]).params
    assert (parsed["runs"], parsed["wait"]) == (["0" * 32], True)


@pytest.mark.parametrize(("file", "good"), [("github-actions.yaml", True), ("gitlab-ci.yaml", False)])
def test_the_jobs_shell_ends_as_the_verdict_does(file: str, good: bool, place: Workplace, uri: str) -> None:
    (place.folder / "run_id.txt").write_text(training.train(uri, good=good) + "\n")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    shell = ["bash", "-e", "-o", "pipefail", "-c", "\n".join(_ours(file))]
    done = subprocess.run(shell, cwd=place.folder, env=environment(PATH=path), capture_output=True, text=True)
    assert done.returncode == (0 if good else 1), done.stderr
    assert ("pass" if good else "fail") in done.stdout
