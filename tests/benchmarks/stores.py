"""Stores with thousands of finished runs, made by writing what MLflow would have written."""

from __future__ import annotations

import sqlite3
import time
import uuid
from pathlib import Path

import mlflow
from mlflow import MlflowClient

OTHER = "other-work"

_META = """artifact_uri: {root}/{experiment}/{run}/artifacts
end_time: {end}
entry_point_name: ''
experiment_id: '{experiment}'
lifecycle_stage: active
run_id: {run}
run_name: run-{n}
source_name: ''
source_type: 4
source_version: ''
start_time: {start}
status: 3
tags: []
user_id: bench
"""


def fill_file_store(root: Path, runs: int) -> None:
    """`runs` finished runs in five experiments, each with the folders and tags that MLflow makes."""
    client = MlflowClient(str(root))
    experiments = [client.create_experiment(f"{OTHER}-{i}") for i in range(5)]
    now = int(time.time() * 1000)
    for n in range(runs):
        experiment, run = experiments[n % 5], uuid.uuid4().hex
        folder = root / experiment / run
        for name in ("artifacts", "metrics", "params", "tags"):
            (folder / name).mkdir(parents=True)
        (folder / "tags" / "mlflow.runName").write_text(f"run-{n}")
        (folder / "metrics" / "accuracy").write_text(f"{now} 0.9 0\n")
        end = now - (runs - n) * 1000
        (folder / "meta.yaml").write_text(
            _META.format(root=root, experiment=experiment, run=run, end=end, start=end - 900, n=n)
        )


def fill_sqlite(path: Path, runs: int) -> None:
    """`runs` finished runs in five experiments of a database that MLflow itself made."""
    client = MlflowClient(f"sqlite:///{path}")
    experiments = [client.create_experiment(f"{OTHER}-{i}", str(path.parent / "mlruns")) for i in range(5)]
    now = int(time.time() * 1000)
    with sqlite3.connect(path) as db:
        ids = [uuid.uuid4().hex for _ in range(runs)]
        db.executemany(
            "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time,"
            " end_time, source_version, lifecycle_stage, artifact_uri, experiment_id)"
            " VALUES (?, ?, 'LOCAL', '', '', 'bench', 'FINISHED', ?, ?, '', 'active', ?, ?)",
            [
                (r, f"run-{n}", now - n * 1000 - 900, now - n * 1000, f"{path.parent}/mlruns/{r}", experiments[n % 5])
                for n, r in enumerate(ids)
            ],
        )
        db.executemany(
            "INSERT INTO tags (key, value, run_uuid) VALUES ('mlflow.user', 'bench', ?)", [(r,) for r in ids]
        )
        db.executemany(
            "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES ('accuracy', 0.9, ?, ?, 0, 0)",
            [(now, r) for r in ids],
        )
    db.close()


def make(kind: str, folder: Path, runs: int) -> str:
    """A store of `kind` ("sqlite" or "files") with `runs` other runs; returns its tracking URI."""
    folder.mkdir(parents=True)
    uri = f"sqlite:///{folder}/mlflow.db" if kind == "sqlite" else str(folder / "mlruns")
    if kind == "sqlite":
        fill_sqlite(folder / "mlflow.db", runs)
    else:
        fill_file_store(folder / "mlruns", runs)
    mlflow.set_tracking_uri(uri)
    return uri
