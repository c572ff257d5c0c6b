"""Offline runs whose verdict follows them: once `wandb sync` has sent a run to a server, what is written beside the run
is written there too. The server's copy is never audited a second time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from venturalitica_agent.domain.run import Run, RunRef
from venturalitica_agent.errors import RetryableError
from venturalitica_agent.logging import get_logger
from venturalitica_agent.stores.wandb_offline import WandbOfflineStore
from venturalitica_agent.stores.wandb_project import WandbProject

log = get_logger(__name__)

_OURS = "venturalitica."


class SyncedOfflineStore(WandbOfflineStore):
    """A `WandbOfflineStore` that writes through.

    Args:
        project_of: the store of an `entity/project` (with an empty entity: the key's default one); None when there is
            no API key, and so no server to write to.
    """

    def __init__(
        self, root: Path, *, roots: Sequence[Path] = (), project_of: Callable[[str], WandbProject | None]
    ) -> None:
        super().__init__(root, roots=roots)
        self._project_of = project_of
        self._projects: dict[str, WandbProject] = {}

    def holds(self, ref: RunRef) -> bool:
        """Whether a run of a W&B project is the copy of one in this folder."""
        return self.root.is_dir() and any(
            found.glimpse.run_id == ref.run_id and found.ref.experiment_id == ref.experiment_id
            for found in self._folders.all()
        )

    def _online(self, run_id: str) -> tuple[WandbProject, str] | None:
        """The project and the id under which the run is on the server now; None when it isn't, or can't be known."""
        where = self.synced(run_id)
        if where is None:
            return None
        entity, project, online = where
        store = self._project(f"{entity}/{project}")
        if store is None:
            return None
        if store.look(online) is None:
            log.warning("sync.not_found", run=run_id, project=store.uri, reason="the synced run is not there")
            return None
        return store, online

    def _project(self, path: str) -> WandbProject | None:
        """One store for each project: it remembers what it has just written and need not ask for it again."""
        if path not in self._projects:
            store = self._project_of(path)
            if store is None:
                return None
            self._projects[path] = store
        return self._projects[path]

    def put_files(self, run_id: str, files: Mapping[str, bytes]) -> None:
        super().put_files(run_id, files)
        if (there := self._online(run_id)) is not None:
            there[0].put_files(there[1], files)

    def set_tags(self, run_id: str, tags: Mapping[str, str], remove: Sequence[str] = ()) -> None:
        if (there := self._online(run_id)) is not None:
            store, online = there
            stale = [name for name in store.get_tags(online) if name.startswith(_OURS) and name not in tags]
            store.set_tags(online, tags, remove=stale)
            found = store.get_tags(online)
            if any(found.get(name) != value for name, value in tags.items()):
                raise RetryableError(
                    "the verdict reads back otherwise than it was written", subject=f"run {online} of {store.uri}"
                )
            log.info("sync.verdict_written", run=run_id, project=store.uri)
        super().set_tags(run_id, tags, remove)

    def link_audit(
        self, run: Run, used: Sequence[str], evidence: Mapping[str, bytes], about: Mapping[str, str]
    ) -> None:
        if (there := self._online(run.ref.run_id)) is None:
            return
        store, online = there
        copy = store.get_run(online)
        names = {name.partition(":")[0] for name in used}  # versions are counted anew on the server
        linked = [m.model_id for m in copy.models if m.name.partition(":")[0] in names]
        paths = [json.loads(d.source)["uri"].removeprefix(f"{copy.artifact_uri}/") for d in copy.datasets]
        linked += [path for path in paths if path.partition(":")[0] in names]
        store.link_audit(replace(run, ref=copy.ref), linked, evidence, about)

    def run_link(self, run: Run) -> str:
        there = self._online(run.ref.run_id)
        return "" if there is None else there[0].run_link(replace(run, ref=replace(run.ref, run_id=there[1])))
