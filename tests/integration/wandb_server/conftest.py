"""One server with one trained run for all tests here: training costs seconds, asking does not."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from support.wandb_training import train, wandb_here
from wandb_asking import Trained, ask
from wandb_server import WandbServer
from wandb_server.runs import Run


def training() -> None:
    from pathlib import Path

    import joblib
    import wandb

    settings = {"tags": ["baseline"], "config": {"lr": 0.1}, "group": "loans", "job_type": "train"}
    run = wandb.init(id="finished", name="first", **settings)
    for step in range(3):
        run.log({"loss": 1 / (step + 1)})
    joblib.dump({"weights": [0.1, 0.2]}, "model.joblib")
    Path("test.csv").write_bytes(b"age,approved\n31,1\n52,0\n")
    data = wandb.Artifact("evalset", "dataset", metadata={"rows": 2})
    data.add_file("test.csv")
    run.log_artifact(data, aliases=["test"])
    model = wandb.Artifact("loan-model", "model")
    model.add_file("model.joblib")
    run.log_artifact(model)
    run.log({"predictions": wandb.Table(columns=["y", "p"], data=[[1, 0.9], [0, 0.2]])})
    run.summary["accuracy"] = 0.75
    run.finish()


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    folder = tmp_path_factory.mktemp("wandb")
    with WandbServer(folder / "server") as server:
        train(server, folder / "training", training)
        yield Trained(server, folder / "training")


@pytest.fixture
def server(trained: Trained) -> Iterator[WandbServer]:
    """The server of `trained`, without what earlier tests asked of it."""
    trained.server.reset_log()
    yield trained.server
    trained.server.faults.clear()


@pytest.fixture
def run(server: WandbServer) -> Run:
    """A run of its own for one test, made by the API."""
    name = uuid.uuid4().hex[:8]
    make = 'mutation Make($n: String) { upsertBucket(input: {modelName: "credit", name: $n}) { inserted } }'
    ask(server, make, n=name)
    server.reset_log()
    return server.run("acme", "credit", name)


@pytest.fixture(scope="session")
def wandb(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The SDK in this process."""
    with wandb_here(trained.server, tmp_path_factory.mktemp("here")) as module:
        yield module
