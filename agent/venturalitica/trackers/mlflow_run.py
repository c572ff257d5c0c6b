"""A run of MLflow. Everything is written through the client by the run's id: the fluent functions would begin runs, and
would end up in whichever run is active by then."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

from venturalitica.place import Place

if TYPE_CHECKING:
    import pandas as pd

_SQLITE = "sqlite:///"


def last() -> str:
    """Id of the run that was active last in this process; empty where there is none in the present store."""
    mlflow = sys.modules.get("mlflow")
    if mlflow is None or mlflow.active_run() is not None:
        return ""
    try:
        run = mlflow.last_active_run()
    except mlflow.MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":  # it was deleted, or is in the store of an earlier URI
            return ""
        raise
    return run.info.run_id if run else ""


def active(before: str | None = None) -> MlflowRun | None:
    """The innermost active run, or the one that began and ended since `last()` said `before`."""
    mlflow = sys.modules.get("mlflow")
    if mlflow is None:
        return None
    run = mlflow.active_run()
    if run is None and before is not None and last() != before:
        run = mlflow.last_active_run()
    if run is None:
        return None
    uri = absolute(mlflow.get_tracking_uri())
    experiment, run_id = run.info.experiment_id, run.info.run_id
    web = uri.startswith(("http://", "https://"))
    link = f"{_without_login(uri)}/#/experiments/{quote(experiment)}/runs/{quote(run_id)}" if web else ""
    return MlflowRun(Place("mlflow", uri, run_id, link), run.info.artifact_uri, mlflow)


@dataclass(frozen=True)
class MlflowRun:
    """See `Tracker`.

    Attributes:
        root: URI of the run's artifacts.
        mlflow: the module, as training code imported it.
    """

    place: Place
    root: str
    mlflow: Any

    def put(self, files: Mapping[str, bytes]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for path, content in files.items():
                target = Path(folder, path)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
            self._client.log_artifacts(self.place.run_id, folder)

    def put_table(self, path: str, content: bytes, frame: pd.DataFrame, contexts: Sequence[str]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        self.put({path: content})
        # Named after the run: MLflow keeps the first source of a name and digest for the whole experiment.
        name = f"audit-{self.place.run_id[:8]}"
        made = self.mlflow.data.from_pandas(frame, source=f"{self.root}/{path}", name=name)
        tags = [InputTag("mlflow.data.context", context) for context in contexts[:1]]
        self._client.log_inputs(self.place.run_id, [DatasetInput(Dataset(**made.to_dict()), tags)])

    def end(self, *, failed: bool = False) -> None:
        """MLflow's own `end_run` ends it."""

    @property
    def _client(self) -> Any:
        return self.mlflow.MlflowClient(self.place.uri)


def absolute(uri: str) -> str:
    """A tracking URI that means the same in every working directory."""
    parts = urlsplit(uri)
    if uri.startswith(_SQLITE):
        path, mark, options = uri.removeprefix(_SQLITE).partition("?")
        return f"{_SQLITE}{Path(path).absolute()}{mark}{options}"
    if parts.scheme == "file":
        return str(Path(url2pathname(parts.path)).absolute())
    return uri if parts.scheme else str(Path(uri).absolute())


def _without_login(uri: str) -> str:
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl().rstrip("/")
