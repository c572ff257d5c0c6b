"""A store that lives in memory: the twin of the real ones for tests, with the same promises and the same refusals.

A file whose path begins with `name:v3/` is one of that W&B artifact, as in a W&B store.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from venturalitica_agent.domain.run import LoggedModel, Run, RunRef, RunStatus
from venturalitica_agent.errors import PermanentError, RunGone, StoreUnavailable
from venturalitica_agent.stores.base import RemoteFile
from venturalitica_agent.stores.local_files import safe_relative


class MemoryStore:
    """A complete `PolledStore`; safe to use from several threads.

    Attributes:
        down: while True every call raises StoreUnavailable.
        model_tags: model id (or `path` of an MLflow 2 model) -> the tags that `tag_models` set.
        linked: run id -> what `link_audit` was given last.
    """

    roots: tuple[Path, ...] = ()
    sweep_every = 0.0
    versioned = False

    def __init__(self, id_: str = "memory", *, ui: str = "") -> None:
        self.down = False
        self.model_tags: dict[str, dict[str, str]] = {}
        self.linked: dict[str, tuple[tuple[str, ...], dict[str, bytes], dict[str, str]]] = {}
        self._id = id_
        self._ui = ui.rstrip("/")
        self._runs: dict[str, Run] = {}
        self._files: dict[str, dict[str, bytes]] = {}
        self._models: dict[str, dict[str, bytes]] = {}
        self._version = 0
        self._lock = threading.RLock()

    # -- what training code would do ------------------------------------------------------------------------
    def add(
        self,
        run: Run,
        files: Mapping[str, bytes] | None = None,
        models: Mapping[str, Mapping[str, bytes]] | None = None,
    ) -> Run:
        """Put a run (or a new state of it) into the store, with artifacts (path -> bytes) and model files by model id.

        Returns:
            The run with its `ref.store` set to this store.
        """
        with self._lock:
            run = replace(run, ref=replace(run.ref, store=self._id))
            self._runs[run.ref.run_id] = run
            self._files.setdefault(run.ref.run_id, {}).update(files or {})
            self._models.update({k: dict(v) for k, v in (models or {}).items()})
            self._version += 1
            return run

    def change(self, run_id: str, **fields: object) -> None:
        """Change fields of the run's `ref`: `status`, `end_time`, `deleted`, `inputs`."""
        with self._lock:
            run = self._runs[run_id]
            self._runs[run_id] = replace(run, ref=replace(run.ref, **fields))  # type: ignore[arg-type]
            self._version += 1

    def remove_file(self, run_id: str, path: str) -> None:
        """As somebody would who may delete artifacts."""
        with self._lock:
            del self._files[run_id][path]

    # -- the Protocol ---------------------------------------------------------------------------------------
    @property
    def id(self) -> str:
        return self._id

    @property
    def uri(self) -> str:
        return f"memory:{self._id}"

    def prepare(self) -> None:
        """Nothing has to be warm."""

    def ping(self) -> None:
        if self.down:
            raise StoreUnavailable("is switched off", subject=self.uri, remedy="it is tried again")

    def experiments(self) -> Mapping[str, str]:
        self.ping()
        with self._lock:
            return {r.ref.experiment_id: r.experiment for r in self._runs.values()}

    def scan(self) -> Iterator[RunRef]:
        self.ping()
        with self._lock:
            refs = [r.ref for r in self._runs.values()]
        yield from sorted(refs, key=lambda r: r.end_time or 0, reverse=True)

    def version(self) -> int | None:
        self.ping()
        return self._version

    def recent(self, since: int) -> Iterator[RunRef]:
        for ref in self.scan():
            if not ref.status.ended or (ref.end_time or 0) >= since:
                yield ref

    def look(self, run_id: str) -> RunRef | None:
        self.ping()
        with self._lock:
            run = self._runs.get(run_id)
            return run.ref if run is not None else None

    def get_run(self, run_id: str) -> Run:
        with self._lock:
            return self._alive(run_id)

    def list_files(self, run_id: str) -> Sequence[RemoteFile]:
        with self._lock:
            self._alive(run_id)
            return [RemoteFile(path, len(content)) for path, content in sorted(self._files[run_id].items())]

    def fetch_file(self, run_id: str, path: str, destination: Path) -> None:
        _write(destination, self.read_file(run_id, path))

    def fetch_model(self, run_id: str, model: LoggedModel, destination: Path) -> None:
        with self._lock:
            self._alive(run_id)
            if model.model_id:
                files = dict(self._models.get(model.model_id, {}))
            else:
                prefix = f"{model.path}/" if model.path else ""
                files = {p.removeprefix(prefix): c for p, c in self._files[run_id].items() if p.startswith(prefix)}
        for path, content in files.items():
            _write(destination / safe_relative(path), content)

    def resolve(self, reference: str) -> Sequence[RemoteFile]:
        self.ping()
        name, _, alias = reference.partition(":")
        with self._lock:
            versioned = self._versioned()
        versions = [int(p.removeprefix(f"{name}:v").partition("/")[0]) for p in versioned if p.startswith(f"{name}:v")]
        folder = f"{name}:v{max(versions)}/" if alias == "latest" and versions else f"{reference}/"
        found = [RemoteFile(path, len(content)) for path, content in versioned.items() if path.startswith(folder)]
        if not found:
            raise PermanentError("there is no such artifact", subject=reference, remedy="correct its name or its alias")
        return found

    def _versioned(self) -> dict[str, bytes]:
        """The files of artifacts, whichever run logged them."""
        every = (item for files in self._files.values() for item in sorted(files.items()))
        return {path: content for path, content in every if re.match(r"[^:]+:v\d+/", path)}

    def put_files(self, run_id: str, files: Mapping[str, bytes]) -> None:
        with self._lock:
            self._alive(run_id)
            self._files[run_id].update({str(safe_relative(path)): content for path, content in files.items()})
            self._version += 1

    def read_file(self, run_id: str, path: str) -> bytes:
        with self._lock:
            self._alive(run_id)
            files = self._versioned() | self._files[run_id]
            content = files.get(str(safe_relative(path)))
        if content is None:
            raise PermanentError("there is no such artifact", subject=path)
        return content

    def set_tags(self, run_id: str, tags: Mapping[str, str], remove: Sequence[str] = ()) -> None:
        with self._lock:
            run = self._alive(run_id)
            kept = {k: v for k, v in run.tags.items() if k not in remove}
            self._runs[run_id] = replace(run, tags=kept | dict(tags))
            self._version += 1

    def get_tags(self, run_id: str) -> Mapping[str, str]:
        return self.get_run(run_id).tags

    def tag_models(self, run_id: str, models: Sequence[LoggedModel], tags: Mapping[str, str]) -> None:
        with self._lock:
            self._alive(run_id)
            for model in models:
                self.model_tags.setdefault(model.model_id or model.path, {}).update(tags)
            self._version += 1

    def link_audit(
        self, run: Run, used: Sequence[str], evidence: Mapping[str, bytes], about: Mapping[str, str]
    ) -> None:
        with self._lock:
            self._alive(run.ref.run_id)
            self.linked[run.ref.run_id] = (tuple(used), dict(evidence), dict(about))

    def run_link(self, run: Run) -> str:
        return f"{self._ui}/#/experiments/{run.ref.experiment_id}/runs/{run.ref.run_id}" if self._ui else ""

    def _alive(self, run_id: str) -> Run:
        self.ping()
        run = self._runs.get(run_id)
        if run is None or run.ref.deleted:
            raise RunGone("the run is deleted or was never there", subject=f"run {run_id}")
        return run


def finished(run_id: str, *, experiment: str = "demo", end_time: int = 1_000, **fields: object) -> Run:
    """A FINISHED run to `add`; `fields` are those of `Run`."""
    ref = RunRef("memory", run_id, "1", RunStatus.FINISHED, start_time=0, end_time=end_time)
    given: dict[str, object] = {"name": run_id, "artifact_uri": f"memory:/{run_id}/artifacts", **fields}
    return Run(ref=ref, experiment=experiment, **given)  # type: ignore[arg-type]


def _write(destination: Path, content: bytes) -> None:
    destination.parent.mkdir(parents=True, exist_ok=True)
    destination.write_bytes(content)
