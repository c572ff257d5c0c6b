"""Real MLflow stores for the tests: a folder, a SQLite database and a tracking server, each on paths of its own; and a
W&B server on which the SDK has trained."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from support.postgres import Postgres
    from support.wandb_trained import Training

os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

SERVER_PATIENCE = 120

# `make test` says the same of the same commit, whoever runs it; `make fuzz` looks where nobody has looked yet.
hypothesis.settings.register_profile("gate", derandomize=True, deadline=None)
hypothesis.settings.register_profile("fuzz", deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "gate"))


@pytest.fixture(autouse=True)
def _own_tracking_uri() -> Iterator[None]:
    """What a test told MLflow's fluent API must not reach the next test of the same process."""
    yield
    if "mlflow" in sys.modules:
        import mlflow

        mlflow.set_tracking_uri(None)
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without runs; making one takes seconds, copying it none."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def sqlite_uri(tmp_path: Path, empty_database: Path) -> str:
    folder = tmp_path / "sqlite"
    folder.mkdir()
    shutil.copy(empty_database, folder / "mlflow.db")
    return f"sqlite:///{folder}/mlflow.db"


@pytest.fixture
def file_uri(tmp_path: Path) -> str:
    folder = tmp_path / "mlruns"
    folder.mkdir()
    return str(folder)


class Server:
    """`mlflow server` as a process of its own, on a port that stays the same over restarts."""

    def __init__(self, folder: Path, database: Path) -> None:
        self._folder = folder
        shutil.copy(database, folder / "mlflow.db")
        self._port = _free_port()
        self.uri = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1"]
        command += ["--port", str(self._port), "--backend-store-uri", f"sqlite:///{self._folder}/mlflow.db"]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        with (self._folder / "server.log").open("ab") as log:
            env = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # two processes less
            self._process = subprocess.Popen(
                command, cwd=self._folder, env=env, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + SERVER_PATIENCE
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=2):
                    return
            except OSError:
                if self._process.poll() is not None:
                    break
                time.sleep(0.2)
        self.stop()
        raise RuntimeError(f"the MLflow server did not come up:\n{(self._folder / 'server.log').read_text()[-2000:]}")

    def stop(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Server]:
    """One server per session: it takes 20 seconds and 2 GB. Tests that use it belong to the group "mlflow-server"."""
    server = Server(tmp_path_factory.mktemp("server"), empty_database)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def http_uri(mlflow_server: Server) -> str:
    return mlflow_server.uri


@pytest.fixture(scope="session")
def wandb_trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Training]:
    """One server and one training per session. Tests that use it belong to the group "wandb-server"."""
    from support.wandb_trained import trained_server

    with trained_server(tmp_path_factory.mktemp("wandb")) as trained:
        yield trained


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """One PostgreSQL per session. Tests that use it belong to the group "machines"."""
    from support.postgres import postgres

    with postgres() as server:
        yield server


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
