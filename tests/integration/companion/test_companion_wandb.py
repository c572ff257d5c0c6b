"""What wrapped fits leave on W&B's runs, online and offline, alone and beside MLflow's; read as the agent reads it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.tree import DecisionTreeClassifier
from support.companion import POLICY, encoded, people
from support.wandb_trained import Training
from support.wandb_training import train

from venturalitica_agent.stores.opening import open_mlflow
from venturalitica_agent.stores.wandb_http import Key, WandbHttp
from venturalitica_agent.stores.wandb_offline import WandbOfflineStore
from venturalitica_agent.stores.wandb_project import WandbProject

pytestmark = pytest.mark.xdist_group("wandb-server")

FRAME = people()
PROJECT = "companion"
LEFT = [
    "policy_snapshot/model_policy.yaml",
    "venturalitica/declaration.json",
    "venturalitica_data/audit.parquet",
    "venturalitica_model/MLmodel",
    "venturalitica_model/model.pkl",
    "venturalitica_model/requirements.txt",
]
SCRIPT = """
import json, sys
import mlflow, pandas as pd, wandb
import venturalitica as vl
from sklearn.tree import DecisionTreeClassifier
from venturalitica import trackers

frame = pd.read_parquet("people.parquet")
X, y = pd.get_dummies(frame.drop(columns="class"), dtype=float), frame["class"]

def fit():
    vl.wrap(DecisionTreeClassifier(random_state=0)).fit(X, y, audit_data=frame, gender="Attribute9")

places = []
with wandb.init(id="both", tags=["mine"], config={"lr": 1}) as run, mlflow.start_run():
    places += [vars(tracker.place) for tracker in trackers.active()]
    run.log({"loss": 0.5})
    fit()
    fit()
    run.summary["accuracy"] = 0.9
with wandb.init(id="away", mode="offline"):
    places += [vars(tracker.place) for tracker in trackers.active()]
    fit()
with wandb.init(mode="disabled"):
    places += [vars(tracker.place) for tracker in trackers.active()]
print(json.dumps(places))
"""


@dataclass(frozen=True)
class Trained:
    """The stores that one script wrote to, and the places that it saw: W&B's and MLflow's run, the offline one, and
    what there is where W&B is switched off."""

    stores: dict[str, Any]
    places: list[dict[str, str]]
    said: str


@pytest.fixture(scope="module")
def trained(wandb_trained: Training, tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Trained:
    folder = tmp_path_factory.mktemp("companion")
    FRAME.to_parquet(folder / "people.parquet")
    (folder / "model_policy.yaml").write_text(POLICY)
    (folder / "mlflow.db").write_bytes(empty_database.read_bytes())
    env = {"VENTURALITICA_AUDIT": "off", "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}
    env |= {"MLFLOW_EXPERIMENT_NAME": "loan"}
    server = wandb_trained.server
    done = train(server, folder, SCRIPT, project=PROJECT, env=env)
    places = json.loads(done.stdout.splitlines()[-1])
    http = WandbHttp(server.url, lambda: Key(server.key, "the test"))
    stores = {
        "wandb": WandbProject(http, server.entity, PROJECT, audit_runs=False),
        "wandb_offline": WandbOfflineStore(Path(places[2]["uri"])),
        "mlflow": open_mlflow(places[0]["uri"]),
    }
    return Trained(stores, places, done.stderr)


def test_every_active_run_is_found_and_one_that_is_switched_off_is_none(trained: Trained) -> None:
    assert [place["kind"] for place in trained.places] == ["mlflow", "wandb", "wandb_offline", "folder"]
    assert trained.places[1]["uri"] == f"acme/{PROJECT}"
    assert trained.places[1]["run_id"] == "both"
    assert trained.places[1]["link"].endswith(f"/acme/{PROJECT}/runs/both")
    assert "venturalitica" not in trained.said


@pytest.mark.parametrize("nth", [0, 1, 2])
def test_the_same_things_are_left_on_every_kind_of_run(nth: int, trained: Trained, tmp_path: Path) -> None:
    place = trained.places[nth]
    store, run_id = trained.stores[place["kind"]], place["run_id"]
    assert set(LEFT) <= {f.path for f in store.list_files(run_id)}
    assert store.read_file(run_id, "policy_snapshot/model_policy.yaml") == POLICY.encode()
    declared = json.loads(store.read_file(run_id, "venturalitica/declaration.json"))
    assert declared["data"]["evaluation"] == {"artifact": "venturalitica_data/audit.parquet"}
    assert declared["error"] is None
    for name in ("audit.parquet", "model.pkl"):
        folder = "venturalitica_data" if name == "audit.parquet" else "venturalitica_model"
        store.fetch_file(run_id, f"{folder}/{name}", tmp_path / name)
    table = pd.read_parquet(tmp_path / "audit.parquet")
    model, x = joblib.load(tmp_path / "model.pkl"), encoded(FRAME)
    assert type(model) is DecisionTreeClassifier
    assert np.array_equal(model.predict(table[list(x.columns)]), model.predict(x))
    assert table["Attribute9"].tolist() == FRAME["Attribute9"].tolist()


def test_what_the_user_logged_to_wandb_is_as_it_was(trained: Trained) -> None:
    run = trained.stores["wandb"].get_run("both")
    assert run.ref.status == "FINISHED"
    assert (dict(run.tags), run.params["lr"]) == ({"mine": ""}, "1")
    assert (run.metrics["accuracy"], run.metrics["loss"]) == (0.9, 0.5)


@pytest.mark.parametrize("nth", [1, 2])
def test_the_audit_data_are_one_dataset_of_the_run_however_often_it_was_fitted(nth: int, trained: Trained) -> None:
    place = trained.places[nth]
    (dataset,) = trained.stores[place["kind"]].get_run(place["run_id"]).datasets
    assert dataset.name.startswith(("run-both-audit-", "run-away-audit-"))
