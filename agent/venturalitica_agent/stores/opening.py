"""Which store class a tracking URI means."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from venturalitica_agent.stores.local_files import local_path
from venturalitica_agent.stores.mlflow_client import redacted
from venturalitica_agent.stores.mlflow_file import MlflowFileStore
from venturalitica_agent.stores.mlflow_remote import MlflowRemoteStore
from venturalitica_agent.stores.mlflow_sqlite import MlflowSqliteStore

MlflowStore = MlflowFileStore | MlflowSqliteStore | MlflowRemoteStore


def open_mlflow(uri: str, *, roots: Sequence[Path] = (), ui: str = "") -> MlflowStore:
    """The store behind an MLflow tracking URI: a folder, `sqlite:///file`, another database, or http(s).

    Nothing is contacted; `ping` does that. `roots` are further local folders that its artifacts may live in.
    """
    if uri.startswith("sqlite:///"):
        return MlflowSqliteStore(Path(uri.removeprefix("sqlite:///")).absolute(), roots=roots, ui=ui)
    folder = local_path(uri)
    if folder is not None:
        return MlflowFileStore(folder.absolute(), roots=roots, ui=ui)
    return MlflowRemoteStore(uri, roots=roots, ui=ui or (redacted(uri) if uri.startswith("http") else ""))
