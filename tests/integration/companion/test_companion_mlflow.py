"""What a wrapped fit leaves on MLflow's active run, read back by MLflow's own client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier
from support.companion import POLICY, Workplace, encoded, people

import venturalitica as vl
from venturalitica.trackers import mlflow_run

FRAME = people()
X, Y = encoded(FRAME), FRAME["class"]
ROLES = {"audit_data": FRAME, "gender": "Attribute9"}
LEFT = [
    "policy_snapshot/model_policy.yaml",
    "venturalitica/declaration.json",
    "venturalitica_data/audit.parquet",
    "venturalitica_model/MLmodel",
    "venturalitica_model/model.pkl",
    "venturalitica_model/requirements.txt",
]


@pytest.fixture
def client(sqlite_uri: str, workplace: Workplace) -> Iterator[MlflowClient]:
    mlflow.set_tracking_uri(sqlite_uri)
    mlflow.set_experiment(experiment_id=MlflowClient().create_experiment("loan", str(workplace.folder / "artifacts")))
    yield MlflowClient()
    while mlflow.active_run():
        mlflow.end_run()


def artifacts(client: MlflowClient, run_id: str, folder: str = "") -> list[str]:
    found = []
    for file in client.list_artifacts(run_id, folder):
        found += artifacts(client, run_id, file.path) if file.is_dir else [file.path]
    return sorted(found)


def declared(client: MlflowClient, run_id: str) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(
        Path(client.download_artifacts(run_id, "venturalitica/declaration.json")).read_text()
    )
    return said


def test_the_active_run_gets_policy_data_model_and_declaration_and_nothing_else(
    client: MlflowClient, workplace: Workplace
) -> None:
    with mlflow.start_run() as run:
        mlflow.log_param("mine", 1)
        wrapped = vl.wrap(DecisionTreeClassifier(random_state=0)).fit(X, Y, **ROLES)
        mlflow.log_metric("after", 2.0)
    run_id = run.info.run_id
    assert artifacts(client, run_id) == LEFT
    snapshot = client.download_artifacts(run_id, "policy_snapshot/model_policy.yaml")
    assert Path(snapshot).read_text() == POLICY
    table = pd.read_parquet(client.download_artifacts(run_id, "venturalitica_data/audit.parquet"))
    loaded = mlflow.sklearn.load_model(f"runs:/{run_id}/venturalitica_model")
    assert type(loaded) is DecisionTreeClassifier
    assert np.array_equal(loaded.predict_proba(table[list(X.columns)]), wrapped.predict_proba(X))
    found = client.get_run(run_id)
    assert found.info.status == "FINISHED"
    assert (found.data.params, found.data.metrics) == ({"mine": "1"}, {"after": 2.0})
    assert not workplace.runs, "no folder run beside a tracker's"


def test_the_audit_data_are_a_dataset_that_the_run_used(client: MlflowClient) -> None:
    for _ in range(2):  # the second run's dataset must not lead to the first run's file
        with mlflow.start_run() as run:
            vl.wrap(DecisionTreeClassifier()).fit(X, Y, **ROLES)
        (used,) = client.get_run(run.info.run_id).inputs.dataset_inputs
        assert json.loads(used.dataset.source)["uri"].endswith(
            f"{run.info.run_id}/artifacts/venturalitica_data/audit.parquet"
        )
        assert json.loads(used.dataset.profile)["num_rows"] == len(FRAME)
        assert [(t.key, t.value) for t in used.tags] == [("mlflow.data.context", "evaluation")]


def test_the_innermost_run_is_meant_and_the_last_fit_stands(client: MlflowClient) -> None:
    with mlflow.start_run() as outer:
        with mlflow.start_run(nested=True) as inner:
            vl.wrap(DecisionTreeClassifier()).fit(X, Y)
            vl.wrap(LogisticRegression()).fit(X[["income"]], Y, **ROLES)
        assert mlflow.active_run().info.run_id == outer.info.run_id
    assert artifacts(client, outer.info.run_id) == []
    assert artifacts(client, inner.info.run_id) == LEFT
    loaded = mlflow.sklearn.load_model(f"runs:/{inner.info.run_id}/venturalitica_model")
    assert list(loaded.feature_names_in_) == ["income"]
    assert set(declared(client, inner.info.run_id)["columns"]) == {"gender", "target"}


def test_a_fit_without_audit_data_does_not_take_those_of_an_earlier_one(client: MlflowClient) -> None:
    with mlflow.start_run() as run:
        vl.wrap(LogisticRegression()).fit(X, Y, **ROLES)
        vl.wrap(LogisticRegression()).fit(X, Y)
    said = declared(client, run.info.run_id)
    assert (said["data"], said["columns"]) == ({}, {})
    assert "no audit data, and those of an earlier fit" in said["error"]["what"]
    with mlflow.start_run() as another:
        vl.wrap(LogisticRegression()).fit(X, Y)
    assert declared(client, another.info.run_id)["error"] is None


def test_a_model_that_the_user_logs_is_the_bare_one_and_the_declaration_keeps_to_its_own(client: MlflowClient) -> None:
    with mlflow.start_run() as run:
        wrapped = vl.wrap(LogisticRegression()).fit(X, Y, **ROLES)
        own = mlflow.sklearn.log_model(wrapped, name="mine", pip_requirements=[])
    loaded = mlflow.sklearn.load_model(own.model_uri)
    assert type(loaded) is LogisticRegression
    assert np.array_equal(loaded.coef_, wrapped.coef_)
    assert declared(client, run.info.run_id)["model"] == {
        "name": "venturalitica_model",
        "model_id": "",
        "path": "venturalitica_model",
    }


def test_autologging_goes_on_and_the_run_that_it_makes_is_found(client: MlflowClient, workplace: Workplace) -> None:
    mlflow.sklearn.autolog(log_models=False, silent=True)
    try:
        vl.wrap(DecisionTreeClassifier(max_depth=3)).fit(X, Y, **ROLES)
        (run,) = client.search_runs([client.get_experiment_by_name("loan").experiment_id])
        assert run.data.params["max_depth"] == "3"
        assert run.data.tags["estimator_class"] == "sklearn.tree._classes.DecisionTreeClassifier"
        assert set(LEFT) <= set(artifacts(client, run.info.run_id))
        assert (run.info.status, run.data.metrics["training_score"]) == ("FINISHED", pytest.approx(1.0, abs=0.2))
        with mlflow.start_run() as own:
            vl.wrap(DecisionTreeClassifier(max_depth=2)).fit(X, Y, **ROLES)
        assert client.get_run(own.info.run_id).data.params["max_depth"] == "2"
        assert set(LEFT) <= set(artifacts(client, own.info.run_id))
    finally:
        mlflow.sklearn.autolog(disable=True)
    assert not workplace.runs
    vl.wrap(DecisionTreeClassifier()).fit(X, Y, **ROLES)
    assert len(workplace.runs) == 1, "a run that ended before the fit is not its run"


def test_a_tracker_that_breaks_breaks_no_training(
    client: MlflowClient, workplace: Workplace, caplog: pytest.LogCaptureFixture
) -> None:
    with mlflow.start_run():
        mlflow.set_tracking_uri("sqlite:////nowhere/at/all.db")
        wrapped = vl.wrap(DecisionTreeClassifier()).fit(X, Y, **ROLES)
        mlflow.set_tracking_uri(str(client.tracking_uri))
    assert wrapped.get_depth() > 0
    assert "not everything could be attached" in caplog.text


@pytest.mark.parametrize(
    ("uri", "absolute"),
    [
        ("sqlite:///mlflow.db", "sqlite:///{here}/mlflow.db"),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
        ("./mlruns", "{here}/mlruns"),
        ("file:///data/ml%20runs", "/data/ml runs"),
        ("http://user:secret@host:5000", "http://user:secret@host:5000"),
    ],
)
def test_a_tracking_uri_means_the_same_in_every_folder(uri: str, absolute: str) -> None:
    assert mlflow_run.absolute(uri) == absolute.format(here=Path.cwd())
