"""Which store class an entry of agent.yaml means, and what W&B projects on one server share."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from venturalitica_agent.errors import AgentError, StoreUnavailable
from venturalitica_agent.logging import get_logger
from venturalitica_agent.settings import Settings, StoreSettings
from venturalitica_agent.stores import wandb_queries as queries
from venturalitica_agent.stores.folder import RunFolderStore
from venturalitica_agent.stores.local_files import local_path
from venturalitica_agent.stores.mlflow_file import MlflowFileStore
from venturalitica_agent.stores.mlflow_remote import MlflowRemoteStore
from venturalitica_agent.stores.mlflow_sqlite import MlflowSqliteStore
from venturalitica_agent.stores.naming import redacted
from venturalitica_agent.stores.wandb_artifacts import pages
from venturalitica_agent.stores.wandb_http import DEFAULT_URL, WandbHttp, find_key
from venturalitica_agent.stores.wandb_lineage import ask_sdk
from venturalitica_agent.stores.wandb_project import WandbProject
from venturalitica_agent.stores.wandb_synced import SyncedOfflineStore

log = get_logger(__name__)

MlflowStore = MlflowFileStore | MlflowSqliteStore | MlflowRemoteStore
AnyStore = MlflowStore | WandbProject | SyncedOfflineStore | RunFolderStore


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


def follows(given: StoreSettings) -> bool:
    """Whether an entry of agent.yaml means projects that only the server can name."""
    return given.kind == "wandb" and (given.uri.startswith("/") or given.uri.endswith("/*"))


def open_offline(given: StoreSettings, server: WandbServer) -> SyncedOfflineStore:
    """The store of an offline folder; verdicts go on to `server` once a run was synced there."""

    def project_of(path: str) -> WandbProject | None:
        return server.project(server.projects(path)[0], ui=given.ui) if server.has_key else None

    return SyncedOfflineStore(Path(given.uri), roots=given.artifacts, project_of=project_of)


def open_configured(
    settings: Settings, server: WandbServer, known: Sequence[str]
) -> Iterator[tuple[StoreSettings, AnyStore]]:
    """Every store that agent.yaml names, and of an `entity/*` the projects whose URIs are among `known`.

    Nothing is contacted: what a crash left of a run must find its store also when a server is away just now.
    """
    for given in settings.stores:
        if given.kind == "mlflow":
            yield given, open_mlflow(given.uri, roots=given.artifacts, ui=given.ui)
        elif given.kind == "wandb_offline":
            yield given, open_offline(given, server)
        elif given.kind == "folder":
            yield given, RunFolderStore(Path(given.uri), roots=given.artifacts)
        else:
            for path in server.known_projects(given.uri, known) if follows(given) else [given.uri]:
                yield given, server.project(path, roots=given.artifacts, ui=given.ui)


class WandbServer:
    """The W&B server that the environment names, with what its projects share: key, rate limit, address of the UI."""

    def __init__(self, settings: Settings) -> None:
        env = {**os.environ, **settings.environment}  # the latter holds what only `.env` says
        url = env.get("WANDB_BASE_URL") or DEFAULT_URL
        self._find = partial(find_key, url, env)
        self.http = WandbHttp(url, self._find)
        self._audit_runs = settings.wandb.audit_runs
        self._app = ""
        self._asking = threading.Lock()

    @property
    def has_key(self) -> bool:
        return self._find() is not None

    def project(self, path: str, *, roots: Sequence[Path] = (), ui: str = "") -> WandbProject:
        """The store of one `entity/project`. Nothing is contacted."""
        entity, _, project = path.partition("/")
        return WandbProject(self.http, entity, project, roots=roots, ui=ui, app=self.app, audit_runs=self._audit_runs)

    def projects(self, pattern: str) -> list[str]:
        """`entity/project` of everything that `entity/*`, `/project` or `/*` means now.

        Raises:
            StoreUnavailable: no answer, or no good key.
        """
        entity, _, project = pattern.partition("/")
        if not entity:
            viewer = self.http.ask(queries.VIEWER, {})["viewer"]
            if not viewer or not viewer["entity"]:
                raise StoreUnavailable(
                    "does not say whose projects are meant", subject=self.http.shown, remedy="set WANDB_ENTITY"
                )
            entity = str(viewer["entity"])
        if project != "*":
            return [f"{entity}/{project}"]
        found = pages(self.http, queries.PROJECTS, {"entity": entity, "perPage": 100}, root="models")
        return [f"{entity}/{node['name']}" for node in found]

    def known_projects(self, pattern: str, uris: Iterable[str]) -> list[str]:
        """Those of these store URIs that `pattern` may mean, as `entity/project`."""
        base = f"{self.http.shown}/"
        paths = [uri.removeprefix(base) for uri in uris if uri.startswith(base)]
        entity, _, project = pattern.partition("/")
        return [path for path in paths if fnmatchcase(path, f"{entity or '*'}/{project}")]

    def app(self) -> str:
        """Address of the server's UI, which only the SDK knows how to tell; empty when it can't be had now."""
        with self._asking:
            if not self._app:
                try:
                    with tempfile.TemporaryDirectory(prefix="venturalitica-wandb-") as scratch:
                        job = {"do": "app_url", "url": self.http.url}
                        self._app = str(ask_sdk(self.http, Path(scratch), job)["url"])
                except AgentError as error:
                    log.warning("wandb.no_links", reason=error.what)
            return self._app
