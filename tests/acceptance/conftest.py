"""A folder with an agent in it, fresh stores of each local kind, and one service that many tests can share."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import training
from mlflow import MlflowClient
from workplace import KINDS, Served, Workplace


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)


@pytest.fixture(scope="session")
def new_database(empty_database: Path) -> Callable[[Path], str]:
    """Puts a fresh mlflow.db into a folder and returns its URI; the copy saves the seconds that MLflow needs."""

    def put(folder: Path) -> str:
        shutil.copy(empty_database, folder / "mlflow.db")
        return f"sqlite:///{folder}/mlflow.db"

    return put


@pytest.fixture
def uri(place: Workplace, new_database: Callable[[Path], str]) -> str:
    """A fresh database that the agent in `place` is configured for."""
    uri = new_database(place.folder)
    place.configure([uri])
    return uri


@pytest.fixture
def store_uris(place: Workplace, new_database: Callable[[Path], str]) -> list[str]:
    """A fresh store of each local kind, both of which the agent in `place` is configured for."""
    uris = [new_database(place.folder), str(place.folder / "mlruns")]
    training.experiment(MlflowClient(uris[1]))
    place.configure(uris)
    return uris


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, new_database: Callable[[Path], str]) -> Iterator[Served]:
    """One service per session: a start takes five seconds. Tests that use it belong to the group "service"."""
    place = Workplace(tmp_path_factory.mktemp("served"))
    uris = {"sqlite": new_database(place.folder)}
    uris |= {kind: str(place.folder / kind) for kind in ("files", "crowded")}
    for uri in uris.values():
        training.experiment(MlflowClient(uri))
    place.configure(list(uris.values()))
    runs = {kind: training.train(uris[kind]) for kind in KINDS}
    backlog = {kind: (run, training.run_info(uris[kind], run)) for kind, run in runs.items()}
    with place.service():
        yield Served(place, uris, backlog)
