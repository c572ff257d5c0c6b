"""One server with one trained run for all tests here: training costs seconds, asking does not."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from support.wandb_trained import Training
from support.wandb_training import wandb_here
from wandb_asking import Trained, ask
from wandb_server import WandbServer
from wandb_server.runs import Run


@pytest.fixture(scope="session")
def trained(wandb_trained: Training) -> Trained:
    return Trained(wandb_trained.server, wandb_trained.folder)


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


@pytest.fixture(scope="module")  # not longer: while it lasts, W&B's variables are in this process's environment
def wandb(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The SDK in this process."""
    with wandb_here(trained.server, tmp_path_factory.mktemp("here")) as module:
        yield module
