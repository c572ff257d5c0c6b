"""The published German Credit numbers, through the whole path: the SDK's policy shape, a real store, the command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
import training
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from workplace import GERMAN, ROOT, Workplace

AUDITS = """
policies: ./policies
settle: 0s
audits:
  - name: german
    runs: {{experiment: german}}
    policy: [german-credit-sdk, german-credit-interval]
    data:
      evaluation: {{artifact: data/german_credit.csv}}
    columns:
      class: {{column: class, positive: 1}}
"""
# source: the SDK's quickstart, reproduced with fairlearn
PUBLISHED = {"class_imbalance": 0.428571, "Attribute9": 0.817910, "Attribute13": 0.285714}


@pytest.fixture
def place(tmp_path: Path, new_database: Callable[[Path], str]) -> Workplace:
    place = Workplace(tmp_path)
    place.configure([new_database(tmp_path)], audits=AUDITS)
    (tmp_path / "policies" / "tiny.yaml").unlink()
    for policy in ("german-credit-sdk", "german-credit-interval"):
        shutil.copy(ROOT / "policies" / policy / f"{policy}.yaml", tmp_path / "policies")
    return place


def test_the_published_numbers_and_the_same_controls_by_interval(place: Workplace) -> None:
    uri = place.uris[0]
    mlflow.set_tracking_uri(uri)
    client = MlflowClient(uri)
    with mlflow.start_run(experiment_id=training.experiment(client, "german")) as run:
        mlflow.log_artifact(str(GERMAN), "data")
    place.here("audit", check=1)
    tags = training.tags(uri, run.info.run_id)
    assert tags["venturalitica.status"] == tags["venturalitica.german-credit-sdk.status"] == "fail"

    by_policy = {}
    for policy in ("german-credit-sdk", "german-credit-interval"):
        path = tags[f"venturalitica.{policy}.evidence"]
        local = download_artifacts(run_id=run.info.run_id, artifact_path=path, tracking_uri=uri)
        by_policy[policy] = json.loads(Path(local).read_text())["verdict"]["findings"]

    point = by_policy["german-credit-sdk"]
    assert [round(f["measurement"]["value"], 6) for f in point] == list(PUBLISHED.values())
    assert [f["status"] for f in point] == ["pass", "pass", "fail"]
    assert all(f["measurement"]["flip_rate"] is not None for f in point)

    interval = by_policy["german-credit-interval"]
    assert [round(f["measurement"]["value"], 6) for f in interval] == list(PUBLISHED.values())
    for finding in interval:
        bounds = finding["measurement"]["interval"]
        assert bounds["low"] <= finding["measurement"]["value"] <= bounds["high"]
    # 0.818 is above 0.8, but no honest interval on these counts is; and ages with seven people decide nothing
    assert [f["status"] for f in interval] == ["pass", "inconclusive", "inconclusive"]


def test_without_agent_yaml_the_guide_s_own_files_are_enough(
    tmp_path: Path, new_database: Callable[[Path], str]
) -> None:
    """`mlflow.db` and `model_policy.yaml` in a folder: the run is audited and the snapshot is where the guide says."""
    place = Workplace(tmp_path)
    policy = ROOT / "policies" / "german-credit-sdk" / "german-credit-sdk.yaml"
    shutil.copy(policy, tmp_path / "model_policy.yaml")
    shutil.copy(GERMAN, tmp_path / "loans.csv")
    uri = new_database(tmp_path)
    mlflow.set_tracking_uri(uri)
    client = MlflowClient(uri)
    import pandas as pd

    frame = pd.read_csv(GERMAN)
    with mlflow.start_run(experiment_id=training.experiment(client, "anything")) as run:
        mlflow.log_input(mlflow.data.from_pandas(frame, source="loans.csv", name="loans"), context="eval")
    document = place.json("audit", check=3)
    (verdict,) = document["verdicts"]
    # nobody said which of 1 and 2 is the good outcome, so nothing is made up
    assert verdict["status"] == "error"
    assert verdict["counts"] == "p1 f0 i0 w0 e2 s0 x0"
    snapshot = download_artifacts(
        run_id=run.info.run_id, artifact_path="policy_snapshot/model_policy.yaml", tracking_uri=uri
    )
    assert Path(snapshot).read_bytes() == policy.read_bytes()
