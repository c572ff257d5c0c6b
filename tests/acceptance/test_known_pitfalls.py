"""What has gone wrong in tools of this kind, each shown not to happen here: by the whole program, as a process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
import training
from mlflow import MlflowClient
from workplace import AGENT, GERMAN, Workplace, environment

HEAD = 'policy: tiny\nversion: "1.0"\ncontrols:\n'


def control(name: str, metric: str, require: str, **more: object) -> str:
    lines = {"id": json.dumps(name), "metric": metric, "require": json.dumps(require), **more}
    return "  - " + "\n    ".join(f"{key}: {value}" for key, value in lines.items()) + "\n"


@pytest.fixture
def uri(place: Workplace) -> str:
    uri = f"sqlite:///{place.folder}/mlflow.db"
    place.configure([uri])
    return uri


def log_table(uri: str, frame: pd.DataFrame) -> str:
    """A run that logs a table with its own predictions and no model."""
    mlflow.set_tracking_uri(uri)
    with mlflow.start_run(experiment_id=training.experiment(MlflowClient(uri))) as run:
        mlflow.log_text(frame.to_csv(index=False), "data/test.csv")
    return str(run.info.run_id)


def findings(place: Workplace, uri: str, run: str, *, policy: str, columns: str) -> dict[str, dict[str, Any]]:
    """Findings by control id, after one pass under `policy` with these column bindings."""
    (place.folder / "policies" / "tiny.yaml").write_text(HEAD + policy)
    agent = place.folder / "agent.yaml"
    head = agent.read_text().split("    columns:")[0]
    agent.write_text(head + f"    columns: {columns}\n")
    place.run("audit", "--run", run, check=None)
    path = training.tags(uri, run)["venturalitica.evidence"]
    local = MlflowClient(uri).download_artifacts(run, path)
    # strict JSON: `parse_constant` is called for NaN and Infinity only
    document = json.loads(Path(local).read_text(), parse_constant=lambda word: pytest.fail(f"{word} in evidence.json"))
    return {f["control"]: f for f in document["verdict"]["findings"]}


def test_the_verdict_does_not_depend_on_an_optional_package(place: Workplace, uri: str) -> None:
    """With fairlearn impossible to import, German Credit's ratio by sex is still 0.818, not 0.905."""
    mlflow.set_tracking_uri(uri)
    with mlflow.start_run(experiment_id=training.experiment(MlflowClient(uri))) as run:
        mlflow.log_text(GERMAN.read_text(), "data/test.csv")
    (place.folder / "policies" / "tiny.yaml").write_text(
        HEAD + control("sex", "disparate_impact", "> 0.8", role="Attribute9", of="labels", decide_on="point")
    )
    agent = place.folder / "agent.yaml"
    agent.write_text(
        agent.read_text().split("    columns:")[0] + "    columns: {target: {column: class, positive: 1}}\n"
    )
    blocked = "import sys; sys.modules['fairlearn'] = None; from venturalitica_agent.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", blocked, "audit"], cwd=place.folder, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    path = training.tags(uri, run.info.run_id)["venturalitica.evidence"]
    document = json.loads(Path(MlflowClient(uri).download_artifacts(run.info.run_id, path)).read_text())
    assert round(document["verdict"]["findings"][0]["measurement"]["value"], 6) == 0.817910


def test_a_control_on_a_missing_column_is_never_measured_on_another(place: Workplace, uri: str) -> None:
    """`race` has no column: `error`, with the columns that there are; `gender` is not taken for it."""
    frame = pd.DataFrame({"gender": ["f", "m"] * 60, "y": [0, 1, 1, 0] * 30})
    found = findings(
        place,
        uri,
        log_table(uri, frame),
        policy=control("race", "disparate_impact", ">= 0.1", role="race", of="labels")
        + control("gender", "disparate_impact", ">= 0.1", role="gender", of="labels"),
        columns="{target: {column: y, positive: 1}}",
    )
    assert found["race"]["status"] == "error"
    assert "gender" in found["race"]["sentence"] + found["race"]["remedy"]
    assert found["gender"]["status"] == "pass"


def test_text_labels_without_a_positive_class_pass_nothing(place: Workplace, uri: str) -> None:
    """`good`/`bad` labels: not 0 and not 1.0, but `error` until somebody says which is the good outcome."""
    frame = pd.DataFrame({"sex": ["f", "m"] * 60, "y": (["good"] * 6 + ["bad"] * 2) * 15, "prediction": ["good"] * 120})
    run = log_table(uri, frame)
    policy = control("gap", "equalized_odds_diff", "<= 0.5", role="sex") + control(
        "ratio", "disparate_impact", ">= 0.5", role="sex"
    )
    found = findings(place, uri, run, policy=policy, columns="{target: y, prediction: prediction}")
    assert {f["status"] for f in found.values()} == {"error"}
    assert all("positive" in f["sentence"] + f["remedy"] for f in found.values())
    declared = findings(
        place, uri, run, policy=policy, columns="{target: {column: y, positive: good}, prediction: prediction}"
    )
    assert {f["status"] for f in declared.values()} == {"pass"}


def test_a_model_that_rejects_every_woman_is_not_perfect(place: Workplace, uri: str) -> None:
    """Labels coded 1/2, no woman selected: the ratio is 0 and fails; it is not undefined into a pass."""
    frame = pd.DataFrame({"sex": ["f", "m"] * 100, "y": [1, 1, 2, 2] * 50})
    frame["prediction"] = [2 if sex == "f" else 1 for sex in frame.sex]
    found = findings(
        place,
        uri,
        log_table(uri, frame),
        policy=control("odds", "equalized_odds_ratio", ">= 0.5", role="sex")
        + control("impact", "disparate_impact", ">= 0.5", role="sex"),
        columns="{target: {column: y, positive: 1}, prediction: prediction}",
    )
    assert {name: (f["status"], f["measurement"]["value"]) for name, f in found.items()} == {
        "odds": ("fail", 0),
        "impact": ("fail", 0),
    }


def test_any_control_id_is_written_and_a_failing_run_keeps_its_evidence(place: Workplace, uri: str) -> None:
    """`Art.10(2)(f)` once made all logging vanish; a blocked run once left no evidence at all."""
    frame = pd.DataFrame({"sex": ["f", "m"] * 100, "y": [0, 1] * 100})
    run = log_table(uri, frame)
    found = findings(
        place,
        uri,
        run,
        policy=control("Art.10(2)(f)", "disparate_impact", ">= 0.8", role="sex", of="labels"),
        columns="{target: {column: y, positive: 1}}",
    )
    assert found["Art.10(2)(f)"]["status"] == "fail"
    assert training.tags(uri, run)["venturalitica.failed"] == "Art.10(2)(f)"
    snapshot = MlflowClient(uri).download_artifacts(run, "policy_snapshot/tiny.yaml")
    assert Path(snapshot).read_bytes() == (place.folder / "policies" / "tiny.yaml").read_bytes()


def test_skipped_controls_are_counted_apart_and_alone_never_pass(place: Workplace, uri: str) -> None:
    """An SDK policy for the monitoring phase only: the run's status is `skip`, and it is tagged so."""
    policy = """
- {id: later, metric_key: class_imbalance, operator: gt, threshold: "0.2", severity: low, lifecycle_phase: monitoring,
   "input.target": y}
"""
    (place.folder / "policies" / "tiny.yaml").write_text(policy)
    run = log_table(uri, pd.DataFrame({"y": [0, 1] * 50}))
    place.run("audit", check=3)
    assert training.status(uri, run) == "skip"
    assert training.tags(uri, run)["venturalitica.counts"] == "p0 f0 i0 w0 e0 s1 x0"


def test_a_point_above_the_threshold_with_an_interval_across_it_does_not_pass(place: Workplace, uri: str) -> None:
    """0.818 > 0.8 with an interval of [0.61, 0.91] was once a PASS."""
    frame = pd.DataFrame({"sex": ["f"] * 50 + ["m"] * 50, "y": [1] * 27 + [0] * 23 + [1] * 33 + [0] * 17})
    found = findings(
        place,
        uri,
        log_table(uri, frame),
        policy=control("impact", "disparate_impact", "> 0.8", role="sex", of="labels"),
        columns="{target: {column: y, positive: 1}}",
    )
    measured = found["impact"]["measurement"]
    assert measured["value"] > 0.8
    assert measured["interval"]["low"] < 0.8 < measured["interval"]["high"]
    assert found["impact"]["status"] == "inconclusive"


def test_an_empty_store_is_not_green(place: Workplace, uri: str) -> None:
    training.experiment(MlflowClient(uri))
    document = place.json("audit", check=3)
    assert (document["verdicts"], document["audited"]) == ([], 0)
    assert place.json("status")["verdicts"] == {}


def test_two_processes_that_write_at_once_lose_nothing(place: Workplace) -> None:
    """Forty runs trained by two processes while the agent audits: forty verdicts (once 58 of 100 rows survived)."""
    uri = str(place.folder / "mlruns")
    place.configure([uri])
    trainer = (
        "import sys; sys.path.insert(0, sys.argv[1]); import training; from mlflow import MlflowClient\n"
        "client = MlflowClient(sys.argv[2]); experiment = training.experiment(client)\n"
        "for _ in range(20):\n"
        "    run = client.create_run(experiment).info.run_id\n"
        "    client.log_text(run, training.table().to_csv(index=False), 'data/test.csv')\n"
        "    client.set_terminated(run)\n"
    )
    training.experiment(MlflowClient(uri))
    with place.service():
        place.await_log("store.up")
        command = [sys.executable, "-c", trainer, str(Path(__file__).parent), uri]
        writers = [subprocess.Popen(command, env=environment(), cwd=place.folder) for _ in range(2)]
        assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
        place.await_log("audit.published", count=40, seconds=120)
    published = [event["run"] for event in place.events("audit.published")]
    assert len(published) == len(set(published)) == 40
    assert len(training.search(uri, "error")) == 40  # they logged no model, so there is no verdict to give


def test_the_console_scripts_are_the_same_program() -> None:
    for script in ("venturalitica-agent", "venturalitica"):
        path = Path(sys.executable).with_name(script)
        done = subprocess.run([str(path), "--version"], capture_output=True, text=True, check=True)
        assert done.stdout == subprocess.run([*AGENT, "--version"], capture_output=True, text=True, check=True).stdout
