"""Runs without a tracker: a folder in which each run is a folder of its own, as `vl.wrap` and `vl.monitor` write it.

    <root>/<32 hex>/run.json      what the run is and whether it ended
    <root>/<32 hex>/tags.json     its tags; the verdict is written there
    <root>/<32 hex>/artifacts/    its files; the evidence is written there

A run is complete when `run.json` says that it ended; its writer replaces that file in one step.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from venturalitica_agent.domain.run import LoggedModel, Run, RunRef, RunStatus
from venturalitica_agent.errors import PermanentError, RecordUnreadable, RunGone, StoreUnavailable, UntrustedInput
from venturalitica_agent.stores import local_files
from venturalitica_agent.stores.base import RemoteFile
from venturalitica_agent.stores.naming import moment, store_id, text

RUN, TAGS, ARTIFACTS = "run.json", "tags.json", "artifacts"
_RUN_ID = re.compile(r"[0-9a-f]{32}\Z")
_MOST = 1 << 20
_LONGEST = 250  # characters of a name
_DESCRIPTION = "MLmodel"


class RunFolderStore:
    """A `PolledStore`.

    Args:
        root: the folder of runs, usually `.venturalitica/runs` beside the training code.
        roots: further local folders that data may be read from.
    """

    sweep_every = 0.0
    versioned = False

    def __init__(self, root: Path, *, roots: Sequence[Path] = ()) -> None:
        self.root = root
        self.roots = (root, *roots)

    @property
    def uri(self) -> str:
        return str(self.root)

    @property
    def id(self) -> str:
        return store_id(f"folder:{self.root}")

    def prepare(self) -> None:
        """Nothing has to be warm."""

    def ping(self) -> None:
        local_files.must_be_there(self.root, "train there with `vl.wrap` or `vl.monitor` and no tracker")

    # -- noticing ---------------------------------------------------------------------------------------------
    def experiments(self) -> Mapping[str, str]:
        return {ref.experiment_id: ref.experiment_id for ref in self.scan()}

    def scan(self) -> Iterator[RunRef]:
        self.ping()
        try:
            names = [entry.name for entry in os.scandir(self.root) if _RUN_ID.match(entry.name)]
        except OSError as error:
            raise StoreUnavailable(
                f"the folder can't be read: {error.strerror}", subject=self.uri, remedy="check its permissions"
            ) from error
        refs = [ref for name in names if (ref := self.look(name)) is not None]
        yield from sorted(refs, key=lambda ref: ref.end_time or 0, reverse=True)

    def version(self) -> int | None:
        return None

    def recent(self, since: int) -> Iterator[RunRef]:
        """See `PolledStore.recent`."""
        for ref in self.scan():
            if not ref.status.ended or (ref.end_time or 0) >= since:
                yield ref

    def look(self, run_id: str) -> RunRef | None:
        try:
            return self._ref(run_id, self._about(run_id))
        except (RunGone, RecordUnreadable):
            return None

    def _about(self, run_id: str) -> dict[str, Any]:
        """What `run.json` says, each field checked before it is used."""
        if not _RUN_ID.match(run_id):
            raise RunGone("this is no id of a run in a folder", subject=run_id[:100])
        try:
            content = local_files.read_regular(self.root, f"{run_id}/{RUN}", _MOST)
        except UntrustedInput as error:
            raise RecordUnreadable(error.what, subject=error.subject, remedy="restore the run's folder") from error
        except PermanentError as error:
            self.ping()
            raise RunGone("the run is deleted or was never there", subject=f"run {run_id}") from error
        return _document(content, f"{self.root}/{run_id}/{RUN}")

    def _ref(self, run_id: str, about: Mapping[str, Any]) -> RunRef:
        status = about.get("status")
        if not isinstance(status, str) or status not in RunStatus.__members__:
            raise RecordUnreadable("says no status that we know", subject=f"{self.root}/{run_id}/{RUN}")
        return RunRef(
            store=self.id,
            run_id=run_id,
            experiment_id=_name(about.get("experiment")) or "default",
            status=RunStatus(status),
            start_time=moment(about.get("start_time")),
            end_time=moment(about.get("end_time")),
        )

    # -- reading ----------------------------------------------------------------------------------------------
    def get_run(self, run_id: str) -> Run:
        about = self._about(run_id)
        ref = self._ref(run_id, about)
        return Run(
            ref=ref,
            name=_name(about.get("name")) or run_id,
            experiment=ref.experiment_id,
            artifact_uri=str(self._artifacts(run_id)),
            tags=self.get_tags(run_id),
            models=tuple(self._models(run_id)),
        )

    def _models(self, run_id: str) -> Iterator[LoggedModel]:
        """Folders with an `MLmodel` in them; what else is a model, the run's declaration says."""
        try:
            files = self.list_files(run_id)
        except UntrustedInput:
            # Whoever fetches this meets the same refusal, and there it becomes a finding with its reason.
            yield LoggedModel(name="", location=str(self._artifacts(run_id)))
            return
        for path in sorted(PurePosixPath(f.path) for f in files):
            if path.name == _DESCRIPTION:
                folder = "" if str(path.parent) == "." else str(path.parent)
                yield LoggedModel(name=folder, location=str(self._artifacts(run_id)), path=folder)

    def _artifacts(self, run_id: str) -> Path:
        return self.root / run_id / ARTIFACTS

    def list_files(self, run_id: str) -> Sequence[RemoteFile]:
        self._about(run_id)
        folder = self._artifacts(run_id)
        if not folder.is_dir():
            return []
        return [RemoteFile(path, size) for path, size in local_files.list_regular(folder)]

    def fetch_file(self, run_id: str, path: str, destination: Path) -> None:
        self._about(run_id)
        relative = local_files.safe_relative(path)
        local_files.copy_regular(self.root, f"{run_id}/{ARTIFACTS}/{relative}", destination)

    def fetch_model(self, run_id: str, model: LoggedModel, destination: Path) -> None:
        inside = f"{local_files.safe_relative(model.path)}/" if model.path else ""
        for file in self.list_files(run_id):
            if file.path == model.path:  # a model that is one file
                self.fetch_file(run_id, file.path, destination / PurePosixPath(file.path).name)
            elif file.path.startswith(inside):
                self.fetch_file(run_id, file.path, destination / file.path.removeprefix(inside))

    def resolve(self, reference: str) -> Sequence[RemoteFile]:
        raise PermanentError(
            "this is a folder of runs, which has no W&B artifacts",
            subject=reference[:200],
            remedy="use {artifact: …} or {file: …} in agent.yaml, or select runs of W&B only",
        )

    # -- writing ----------------------------------------------------------------------------------------------
    def put_files(self, run_id: str, files: Mapping[str, bytes]) -> None:
        self._about(run_id)
        for path, content in files.items():
            relative = local_files.safe_relative(path)
            local_files.write_regular(self.root, f"{run_id}/{ARTIFACTS}/{relative}", content)

    def read_file(self, run_id: str, path: str) -> bytes:
        self._about(run_id)
        return local_files.read_regular(self.root, f"{run_id}/{ARTIFACTS}/{local_files.safe_relative(path)}")

    def set_tags(self, run_id: str, tags: Mapping[str, str], remove: Sequence[str] = ()) -> None:
        self._about(run_id)
        with self._alone(run_id):
            kept = {name: value for name, value in self.get_tags(run_id).items() if name not in remove}
            content = json.dumps(kept | dict(tags), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
            local_files.write_regular(self.root, f"{run_id}/{TAGS}", content.encode())

    def get_tags(self, run_id: str) -> Mapping[str, str]:
        self._about(run_id)
        try:
            content = local_files.read_regular(self.root, f"{run_id}/{TAGS}", _MOST)
            said = _document(content, f"{self.root}/{run_id}/{TAGS}")
        except (PermanentError, RecordUnreadable):
            return {}  # there are none, or something else is in their place, which `set_tags` replaces
        return {text(name): text(value) for name, value in said.items() if isinstance(value, str)}

    def tag_models(self, run_id: str, models: Sequence[LoggedModel], tags: Mapping[str, str]) -> None:
        """Nothing: a model in a folder has no tags."""

    def link_audit(
        self, run: Run, used: Sequence[str], evidence: Mapping[str, bytes], about: Mapping[str, str]
    ) -> None:
        """Nothing: a folder shows no lineage."""

    def run_link(self, run: Run) -> str:  # noqa: ARG002 - the Protocol's
        return ""

    @contextmanager
    def _alone(self, run_id: str) -> Iterator[None]:
        """No two agents change a run's tags at the same time; the kernel frees the lock of one that dies."""
        with local_files.open_folder(self.root, PurePosixPath(run_id)) as folder:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield


def _document(content: bytes, where: str) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RecordUnreadable("is no JSON", subject=where, remedy="it is read again") from error
    if not isinstance(found, dict):
        raise RecordUnreadable("is no JSON object", subject=where, remedy="it is read again")
    return found


def _name(value: object) -> str:
    return text(value)[:_LONGEST] if isinstance(value, str) else ""
