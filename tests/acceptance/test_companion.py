"""What comes of a wrapped fit when the program is over: one evidence set and one line, whoever audits and whichever
tracker the run is in. Each training is a process of its own, as users start it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from support.wandb_training import training_env, wandb_here
from wandb_server import WandbServer
from workplace import Workplace, environment, policy_text

from venturalitica_agent.stores.folder import RunFolderStore

POLICY = policy_text("model_policy", "1.0.0", impact=0.8)

TRAINING = """
import sys
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
import venturalitica as vl

tracker, *how = sys.argv[1:]
random = np.random.default_rng(0)
frame = pd.DataFrame({"sex": random.choice(["f", "m"], 600), "man": 0.0, "x": random.normal(size=600)})
frame["man"] = (frame["sex"] == "m") * 8.0
frame["y"] = (frame["man"] - 4 + random.normal(size=600) / 4 > 0).astype(int)
if tracker in ("mlflow", "both"):
    import mlflow
    mlflow.set_experiment("loan")
    mlflow.start_run(run_name="left open")
if tracker in ("wandb", "both"):
    import wandb
    wandb.init(id="loan1", project="loan")
def fit():
    model = vl.wrap(LogisticRegression(), policy="model_policy.yaml")
    model.fit(frame[["man", "x"]], frame["y"], audit_data=frame, gender="sex", target={"positive": 1})
if "monitored" in how:
    with vl.monitor("seen", policy="model_policy.yaml") as watch:
        watch.input("rows", frame)
        model = LogisticRegression().fit(frame[["man", "x"]], frame["y"])
        watch.audit_data(frame, gender="sex", target={"column": "y", "positive": 1})
        watch.model(model)
else:
    fit()
if "broken" in how:
    raise SystemExit(3)
"""


@pytest.fixture
def here(place: Workplace) -> Workplace:
    (place.folder / "model_policy.yaml").write_text(POLICY)
    (place.folder / "train.py").write_text(TRAINING)
    (place.folder / "services").mkdir()
    return place


def trained(here: Workplace, *how: str, code: int = 0, **env: str) -> str:
    """Train in a process of its own; returns the only line that the companion prints."""
    kept = environment(VENTURALITICA_SETTLE="0s", XDG_RUNTIME_DIR=str(here.folder / "services"), **env)
    done = subprocess.run(
        [sys.executable, "train.py", *how], cwd=here.folder, env=kept, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == code, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("venturalitica: ")]
    assert len(lines) == 1, f"{done.stderr}\n{companion_log(here)}"
    return lines[0]


def companion_log(here: Workplace) -> str:
    log = here.folder / ".venturalitica" / "companion.log"
    return log.read_text() if log.exists() else ""


def the_mlflow_run(here: Workplace) -> Any:
    client = MlflowClient(f"sqlite:///{here.folder}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("loan").experiment_id])
    return run


def evidence_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("evidence.json"))}


def test_a_run_that_the_script_left_open_is_ended_audited_and_told(here: Workplace, new_database: Any) -> None:
    uri = new_database(here.folder)
    line = trained(here, "mlflow", "broken", code=3, MLFLOW_TRACKING_URI=uri)
    run = the_mlflow_run(here)
    assert line.startswith("venturalitica: fail (model_policy@1.0.0): impact: ")
    assert run.info.run_id in line
    assert run.info.status == "FINISHED"  # as MLflow itself would end it
    tags = run.data.tags
    assert tags["venturalitica.status"] == "fail"
    assert tags["venturalitica.failed"] == "impact"
    (evidence,) = evidence_of(here.folder / "mlruns").values()
    said = json.loads(evidence)
    assert said["subject"]["binding"]["gender"]["how"] == "run"
    assert "declared by the training code" in said["subject"]["data"]["evaluation"]["origin"]
    assert "the training code says: the audit data are the rows that the model was trained on" in said["notes"]


def test_without_a_tracker_the_evidence_has_a_folder_and_a_second_agent_adds_none(here: Workplace) -> None:
    line = trained(here, "none", "monitored")
    store = RunFolderStore(here.folder / ".venturalitica" / "runs")
    (ref,) = store.scan()
    tags = store.get_tags(ref.run_id)
    assert (tags["venturalitica.status"], tags["venturalitica.failed"]) == ("fail", "impact")
    home = store.root / ref.run_id
    assert str(home) in line
    record = json.loads(store.read_file(ref.run_id, "venturalitica/monitor.json"))
    assert (record["status"], record["inputs"]["rows"]["rows"]) == ("finished", 600)
    first = evidence_of(home)
    elsewhere = here.folder / "elsewhere"
    done = here.run(
        "audit", check=1, VENTURALITICA_STATE=str(elsewhere / "agent.db"), VENTURALITICA_CACHE_FOLDER=str(elsewhere)
    )
    assert "model_policy" in done.stdout
    assert evidence_of(home) == first
    assert len(first) == 1
    assert store.get_tags(ref.run_id) == tags


@pytest.mark.xdist_group("service")
def test_an_agent_that_watches_the_store_does_the_audit(here: Workplace, new_database: Any) -> None:
    uri = new_database(here.folder)
    (here.folder / "agent.yaml").write_text(
        f"stores: [{{mlflow: '{uri}'}}]\npolicies: ./model_policy.yaml\nsettle: 0s\n"
        "audits: [{name: loan, runs: {experiment: 'loan*'}, policy: model_policy}]\n"
    )
    with here.service(XDG_RUNTIME_DIR=str(here.folder / "services")):
        here.await_log("store.up")
        line = trained(here, "mlflow", MLFLOW_TRACKING_URI=uri)
        assert line.startswith("venturalitica: fail (model_policy@1.0.0): impact: ")
        run = the_mlflow_run(here)
        assert [event["run"] for event in here.events("audit.published")] == [run.info.run_id]
    assert "audit.published" not in companion_log(here)
    assert len(evidence_of(here.folder / "mlruns")) == 1
    assert not list((here.folder / "services" / "venturalitica" / "services").iterdir())


@pytest.mark.xdist_group("wandb-acceptance")
@pytest.mark.parametrize("mode", ["online", "offline"])
def test_a_run_of_wandb_is_audited_when_the_script_ends(here: Workplace, mode: str, new_database: Any) -> None:
    with WandbServer(here.folder / "server") as server:
        env = {**training_env(server, here.folder), "WANDB_MODE": mode}
        env |= {"WANDB_DIR": str(here.folder)}
        if mode == "online":  # and on MLflow, in the same training
            env |= {"MLFLOW_TRACKING_URI": new_database(here.folder)}
        line = trained(here, "both" if mode == "online" else "wandb", **env)
        assert line.startswith("venturalitica: fail (model_policy@1.0.0): impact: "), companion_log(here)
        if mode == "offline":
            (evidence,) = evidence_of(here.folder / "wandb").values()
            assert json.loads(evidence)["verdict"]["status"] == "fail"
            return
        with wandb_here(server, here.folder / "reader") as wandb:
            run = wandb.Api().run(f"{server.entity}/loan/loan1")
            assert {"vl:fail", "vl:model_policy@1.0.0"} <= set(run.tags)
            assert run.state == "finished"
            assert len([f for f in run.files() if f.name.endswith("/evidence.json")]) == 1
        on_mlflow = the_mlflow_run(here)
        assert on_mlflow.data.tags["venturalitica.status"] == "fail"
        assert line.count("fail (model_policy@1.0.0)") == 2
        assert on_mlflow.info.run_id in line
        assert "/runs/loan1" in line
