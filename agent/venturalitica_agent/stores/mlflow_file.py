"""MLflow's file store, read without MLflow: its `search_runs` takes seconds per call at 10,000 runs, a ledger of stat
results takes 27 ms. `meta.yaml` is rewritten in place, so a reader must expect to find it empty."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from venturalitica_agent.domain.run import RunRef, RunStatus
from venturalitica_agent.errors import StoreUnavailable
from venturalitica_agent.stores.mlflow_client import MlflowAccess, input_fingerprint

# source: mlflow.entities.run_status, mlflow.protos.service_pb2.RunStatus
_STATUS = {"1": "RUNNING", "2": "SCHEDULED", "3": "FINISHED", "4": "FAILED", "5": "KILLED"}
_NOT_RUNS = frozenset({"models", "datasets", "traces", "tags"})
_FIELD = re.compile(rb"^(run_id|run_uuid|experiment_id|status|start_time|end_time|lifecycle_stage|name): (.*)$", re.M)
_RUN_ID = re.compile(r"[A-Za-z0-9]{1,64}\Z")
_MAX_META = 1 << 16


@dataclass(frozen=True, slots=True)
class _Known:
    """What stat said when `ref` was read."""

    mark: tuple[int, ...]
    ref: RunRef


class MlflowFileStore(MlflowAccess):
    """A `FolderStore`.

    Args:
        root: the store's folder (`mlruns`).
    """

    def __init__(self, root: Path, *, roots: Sequence[Path] = (), ui: str = "") -> None:
        super().__init__(str(root), roots=(root, root.parent, *roots), ui=ui)
        self.root = root
        self._ledger: dict[str, _Known] = {}

    def ping(self) -> None:
        if not self.root.is_dir():
            raise StoreUnavailable(
                "there is no such folder yet", subject=self.uri, remedy="it is watched for; train a run there"
            )

    def experiment_folders(self) -> Iterator[Path]:
        self.ping()
        try:
            with os.scandir(self.root) as entries:
                for entry in entries:
                    if not entry.name.startswith(".") and entry.name not in _NOT_RUNS and entry.is_dir():
                        yield Path(entry.path)
        except OSError as error:
            raise StoreUnavailable(
                f"the folder can't be read: {error.strerror}", subject=self.uri, remedy="check its permissions"
            ) from error

    def experiments(self) -> Mapping[str, str]:
        found = {}
        for folder in self.experiment_folders():
            fields = _fields(folder / "meta.yaml")
            if fields.get("lifecycle_stage") == "active":
                found[folder.name] = fields.get("name", folder.name)
        return found

    def scan(self) -> Iterator[RunRef]:
        found: list[RunRef] = []
        present: dict[str, _Known] = {}
        for folder in self.experiment_folders():
            with os.scandir(folder) as entries:
                names = [e.name for e in entries if e.name not in _NOT_RUNS and _RUN_ID.match(e.name) and e.is_dir()]
            for name in names:
                known = self._read(folder / name)
                if known is not None:
                    present[name] = known
                    found.append(known.ref)
        self._ledger = present
        found.sort(key=lambda r: r.end_time or 0, reverse=True)
        yield from found

    def look(self, run_id: str) -> RunRef | None:
        if not _RUN_ID.match(run_id):
            return None
        known = self._ledger.get(run_id)
        if known is not None:
            return self._remember(self._read(self.root / known.ref.experiment_id / run_id))
        for folder in self.experiment_folders():
            if (folder / run_id).is_dir():
                return self._remember(self._read(folder / run_id))
        return None

    def look_at(self, folder: Path) -> RunRef | None:
        """The run whose folder this is; None when it is no run, or is unreadable at this instant."""
        return self._remember(self._read(folder)) if _RUN_ID.match(folder.name) else None

    def _remember(self, known: _Known | None) -> RunRef | None:
        if known is None:
            return None
        self._ledger[known.ref.run_id] = known
        return known.ref

    def _read(self, folder: Path) -> _Known | None:
        mark = _mark(folder)
        if mark is None:
            return None
        known = self._ledger.get(folder.name)
        if known is not None and known.mark == mark:
            return known
        fields = _fields(folder / "meta.yaml")
        status = _STATUS.get(fields.get("status", ""))
        if status is None or fields.get("run_id", fields.get("run_uuid")) != folder.name:
            return None  # caught in the middle of a rewrite, or not a run
        ref = RunRef(
            store=self.id,
            run_id=folder.name,
            experiment_id=folder.parent.name,
            status=RunStatus(status),
            start_time=_number(fields.get("start_time")),
            end_time=_number(fields.get("end_time")),
            deleted=fields.get("lifecycle_stage") == "deleted",
        )
        # A fresh write within the clock's grain could keep the same mark: such a mark is not remembered as one.
        return _Known(mark if _mark(folder) == mark else (), replace(ref, inputs=_links(folder)))


def _mark(folder: Path) -> tuple[int, ...] | None:
    """mtime and size of `meta.yaml`, mtimes of the link folders; None when there is no `meta.yaml`."""
    try:
        meta = os.stat(folder / "meta.yaml", follow_symlinks=False)
    except OSError:
        return None
    marks = [meta.st_mtime_ns, meta.st_size, meta.st_ino]
    for name in ("inputs", "outputs"):
        try:
            marks.append(os.stat(folder / name, follow_symlinks=False).st_mtime_ns)
        except OSError:
            marks.append(0)
    return tuple(marks)


def _links(folder: Path) -> str:
    links = []
    for kind in ("inputs", "outputs"):
        try:
            links += [f"{kind[0]}:{name}" for name in os.listdir(folder / kind)]
        except OSError:
            continue
    return input_fingerprint(links)


def _fields(path: Path) -> dict[str, str]:
    """The top-level scalars that matter, from a file that MLflow wrote; empty when it is empty or missing.

    Not a YAML parser: at 10,000 runs one takes 7 s where this takes 0.07 s. Values that YAML would fold or quote are
    either unquoted here or don't matter.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            content = os.read(fd, _MAX_META)
        finally:
            os.close(fd)
    except OSError:
        return {}
    return {k.decode(): v.decode("utf-8", "replace").strip().strip("'\"") for k, v in _FIELD.findall(content)}


def _number(text: str | None) -> int | None:
    return int(text) if text and text.lstrip("-").isdigit() else None
