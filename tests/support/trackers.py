"""What training code does to a real store, in the fewest calls: experiments, runs, datasets, models."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from venturalitica_agent.stores.opening import MlflowStore, open_mlflow

SERVER_GROUP = pytest.mark.xdist_group("mlflow-server")
REAL_KINDS = ("file", "sqlite", pytest.param("http", marks=SERVER_GROUP))


@dataclass
class Tracker:
    """One experiment in one real store, seen by training code (`client`) and by the agent (`store`)."""

    kind: str
    uri: str
    client: Any
    store: MlflowStore
    experiment: str
    experiment_name: str
    scratch: str

    def start(self, name: str = "run", *, start_time: int | None = None) -> str:
        return str(self.client.create_run(self.experiment, start_time=start_time, run_name=name).info.run_id)

    def end(self, run_id: str, status: str = "FINISHED", end_time: int | None = None) -> None:
        self.client.set_terminated(run_id, status, end_time)

    def finished(self, name: str = "run", *, end_time: int | None = None, status: str = "FINISHED") -> str:
        run_id = self.start(name)
        self.end(run_id, status, end_time)
        return run_id

    def log_dataset(self, run_id: str, name: str = "eval", context: str = "eval") -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        data = Dataset(name, "0123abcd", "local", json.dumps({"uri": "data/test.csv"}), '{"mlflow_colspec": []}', "{}")
        self.client.log_inputs(run_id, [DatasetInput(data, [InputTag("mlflow.data.context", context)])])

    def log_model(self, run_id: str, files: dict[str, bytes] | None = None, *, ready: bool = True) -> str:
        """An MLflow 3 model made by hand, with its files; returns its id."""
        from mlflow.entities import LoggedModelOutput, LoggedModelStatus

        model = self.client.create_logged_model(self.experiment, name="classifier", source_run_id=run_id)
        self.client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        folder = Path(f"{self.scratch}/{uuid.uuid4().hex}")
        for path, content in (files or {"MLmodel": b"flavors: {}\n"}).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        self.client.log_model_artifacts(model.model_id, str(folder))
        status = LoggedModelStatus.READY if ready else LoggedModelStatus.FAILED
        self.client.finalize_logged_model(model.model_id, status)
        return str(model.model_id)

    def log_files(self, run_id: str, files: dict[str, bytes]) -> None:
        folder = Path(f"{self.scratch}/{uuid.uuid4().hex}")
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        self.client.log_artifacts(run_id, str(folder))


def track(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Tracker:
    """A tracker of the kind, in an experiment of its own."""
    from mlflow import MlflowClient

    uri = request.getfixturevalue(f"{kind}_uri")
    client = MlflowClient(uri)
    name = f"loan-{uuid.uuid4().hex[:8]}"
    location = str(tmp_path / "sqlite" / "artifacts") if kind == "sqlite" else None
    experiment = client.create_experiment(name, artifact_location=location)
    (tmp_path / "scratch").mkdir(exist_ok=True)
    return Tracker(kind, uri, client, open_mlflow(uri), experiment, name, str(tmp_path / "scratch"))
