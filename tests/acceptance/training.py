"""What a data scientist's script does, in this process: it knows mlflow, scikit-learn and pandas, and nothing of us."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput
from sklearn.linear_model import LogisticRegression

EXPERIMENT = "tiny-loans"


@cache
def table() -> pd.DataFrame:
    """400 rows in which `sex` matters little and `income` decides."""
    rng = np.random.default_rng(7)
    income = rng.normal(50, 10, 400).round(2)
    sex = np.where(rng.random(400) < 0.5, "f", "m")
    y = (income + rng.normal(0, 3, 400) > 48).astype(int)
    return pd.DataFrame({"income": income, "sex": sex, "y": y})


def experiment(client: MlflowClient, name: str = EXPERIMENT) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    uri = client.tracking_uri
    if uri.startswith("sqlite:///"):
        artifacts = Path(uri.removeprefix("sqlite:///")).parent / "mlruns" / name
        return str(client.create_experiment(name, artifact_location=artifacts.as_uri()))
    return str(client.create_experiment(name))


def train(
    uri: str, *, good: bool = True, name: str = "", data: bool = True, model: bool = True, into: str = EXPERIMENT
) -> str:
    """One finished run in the experiment `into`; a bad one predicts the opposite. Returns its id."""
    mlflow.set_tracking_uri(uri)
    into_id = experiment(MlflowClient(uri), into)
    with mlflow.start_run(experiment_id=into_id, run_name=name or ("good" if good else "bad")) as run:
        if data:
            mlflow.log_text(table().to_csv(index=False), "data/test.csv")
        if model:
            log_model(run.info.run_id, good=good)
    return str(run.info.run_id)


def log_table(uri: str, frame: pd.DataFrame, *, into: str = EXPERIMENT) -> str:
    """A finished run that logs a table with its own predictions and no model."""
    client = MlflowClient(uri)
    run_id = str(client.create_run(experiment(client, into)).info.run_id)
    client.log_text(run_id, frame.to_csv(index=False), "data/test.csv")
    client.set_terminated(run_id)
    return run_id


@cache
def saved(good: bool) -> Path:
    """A model folder as `mlflow.sklearn.save_model` writes it, made once: making it takes a second or two."""
    frame = table()
    fitted = LogisticRegression().fit(frame[["income"]], frame.y if good else 1 - frame.y)
    path = Path(tempfile.mkdtemp(prefix="model-")) / "model"
    mlflow.sklearn.save_model(fitted, path, pip_requirements=["scikit-learn"], serialization_format="cloudpickle")
    atexit.register(shutil.rmtree, path.parent, ignore_errors=True)
    return path


def log_model(run_id: str, *, good: bool = True) -> None:
    """Log a model to an unfinished run, as MLflow 3 does: a logged model, its files, and the link to the run."""
    client = MlflowClient(mlflow.get_tracking_uri())
    experiment_id = client.get_run(run_id).info.experiment_id
    model = client.create_logged_model(experiment_id, name="model", source_run_id=run_id)
    client.log_model_artifacts(model.model_id, str(saved(good)))
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])


def run_info(uri: str, run_id: str) -> dict[str, Any]:
    return dict(MlflowClient(uri).get_run(run_id).info)


def tags(uri: str, run_id: str) -> dict[str, str]:
    found = MlflowClient(uri).get_run(run_id).data.tags
    return {k: v for k, v in found.items() if k.startswith("venturalitica.")}


def status(uri: str, run_id: str) -> str | None:
    return tags(uri, run_id).get("venturalitica.status")


def evidence_folders(uri: str, run_id: str) -> list[str]:
    """Artifact paths of the evidence folders of a run: one per audit."""
    client = MlflowClient(uri)
    found = []
    for policy in client.list_artifacts(run_id, "venturalitica"):
        found += [entry.path for entry in client.list_artifacts(run_id, policy.path)]
    return found


def evidence(uri: str, run_id: str) -> Any:
    """The run's evidence.json. Strict JSON: `parse_constant` is called for NaN and Infinity only."""
    local = MlflowClient(uri).download_artifacts(run_id, tags(uri, run_id)["venturalitica.evidence"])
    refuse = lambda word: pytest.fail(f"{word} in evidence.json")  # noqa: E731
    return json.loads(Path(local).read_text(), parse_constant=refuse)


def findings(uri: str, run_id: str) -> dict[str, dict[str, Any]]:
    """The findings of the run's evidence by control id."""
    return {f["control"]: f for f in evidence(uri, run_id)["verdict"]["findings"]}


def search(uri: str, status_value: str, name: str = EXPERIMENT) -> set[str]:
    """Run ids that MLflow's own filter finds."""
    client = MlflowClient(uri)
    where = f"tags.venturalitica.status = '{status_value}'"
    return {r.info.run_id for r in client.search_runs([experiment(client, name)], where)}
