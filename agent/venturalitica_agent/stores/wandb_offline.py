"""A `wandb/` folder of offline runs as a store: each `offline-run-*` folder in it is one run.

A run is known by its folder's name, because runs that continue or repeat another one have W&B's own run id in common.
Folders of online runs (`run-*`) are left to the W&B project that they report to. W&B's files are never changed; ours
lie beside them.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from venturalitica_agent.domain.run import LoggedModel, Run, RunRef
from venturalitica_agent.errors import PermanentError, RunGone, UntrustedInput
from venturalitica_agent.stores import local_files
from venturalitica_agent.stores import wandb_facts as facts
from venturalitica_agent.stores.base import RemoteFile
from venturalitica_agent.stores.naming import store_id
from venturalitica_agent.stores.wandb_folders import Found, RunFolders, project_of
from venturalitica_agent.stores.wandb_logged import datasets, own_tags, tables
from venturalitica_agent.stores.wandb_records import LoggedRun, StagedArtifact, StagedFile, read_run
from venturalitica_agent.stores.wandb_shelf import Reference, files_of, newest, shelved
from venturalitica_agent.stores.wandb_staging import Staging, default_cache, default_staging, digest_of

_STATUS = "files/venturalitica/status.json"
_UNFINISHED = ".venturalitica."
_MOST_STATUS = 1 << 20
_MOST_FILES = 10_000
_REMEMBERED = 16  # logs that were read: enough for the runs in hand


class WandbOfflineStore:
    """A `PolledStore`.

    Args:
        root: the `wandb` folder.
        roots: further folders that W&B's copies of logged files may be read from; they are also looked for beside
            `root` and in the staging folder and the cache that W&B has for the user whom the agent runs as.
    """

    sweep_every = 0.0
    versioned = False

    def __init__(self, root: Path, *, roots: Sequence[Path] = (), clock: Callable[[], float] = time.time) -> None:
        self.root = root
        beside = () if root.parent == root.parent.parent else (root.parent,)  # never the whole file system
        self.roots = (root, *beside, *roots)
        self._folders = RunFolders(root, self.id, clock)
        cache = default_cache(os.environ)
        self._staging = Staging((*self.roots, default_staging(os.environ), cache), cache)
        self._logs: OrderedDict[str, tuple[Found, LoggedRun]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def uri(self) -> str:
        return str(self.root)

    @property
    def id(self) -> str:
        return store_id(f"wandb_offline:{self.root}")

    def prepare(self) -> None:
        """Nothing has to be warm."""

    def ping(self) -> None:
        local_files.must_be_there(self.root, "train a run there with WANDB_MODE=offline")

    # -- noticing ---------------------------------------------------------------------------------------------
    def experiments(self) -> Mapping[str, str]:
        return {ref.experiment_id: ref.experiment_id for ref in self.scan()}

    def scan(self) -> Iterator[RunRef]:
        yield from (found.ref for found in self._folders.all())

    def version(self) -> int | None:
        return self._folders.version()

    def recent(self, since: int) -> Iterator[RunRef]:
        """See `PolledStore.recent`; also runs that ended earlier and came here since, copied from another machine."""
        for found in self._folders.all():
            if not found.ref.status.ended or max(found.ref.end_time or 0, found.changed) >= since:
                yield found.ref

    def look(self, run_id: str) -> RunRef | None:
        found = self._folders.look(run_id)
        return found.ref if found else None

    def synced(self, run_id: str) -> tuple[str, str, str] | None:
        """Entity, project and run id under which `wandb sync` has sent the run to a server; None before that.

        The entity is empty when the run named none: then it was that of whoever synced it. What the options of
        `wandb sync` changed (entity, project, id) is not written down anywhere.
        """
        found = self._found(run_id)
        if not found.synced:
            return None
        seen = found.glimpse
        return seen.entity, project_of(seen), seen.run_id

    # -- reading ----------------------------------------------------------------------------------------------
    def get_run(self, run_id: str) -> Run:
        found = self._found(run_id)
        logged = self._logged(found)
        root = f"wandb-run:///{quote(run_id, safe='')}"
        shelf = shelved(logged.artifacts)
        models = [(key, artifact) for key, artifact in shelf.items() if artifact.type == "model"]
        return Run(
            ref=found.ref,
            name=logged.name or logged.glimpse.run_id or run_id,
            experiment=found.ref.experiment_id,
            artifact_uri=root,
            tags=own_tags(logged),
            params=facts.params({name: {"value": value} for name, value in logged.config.items()}),
            metrics=facts.numbers(logged.summary),
            datasets=tuple(d for key, a in shelf.items() for d in datasets(key, a, root)),
            tables=tuple(tables(logged)),
            models=tuple(
                LoggedModel(key, f"{root}/{key}", model_id=key, ready=artifact.ready, step=i)
                for i, (key, artifact) in enumerate(models)
            ),
        )

    def list_files(self, run_id: str) -> Sequence[RemoteFile]:
        found = self._found(run_id)
        shelf = shelved(self._whole(found).artifacts)
        own = (f for f in self._run_files(found.folder) if PurePosixPath(f.path).parts[0] not in shelf)
        return sorted(
            [*own, *(f for key, artifact in shelf.items() for f in files_of(key, artifact))], key=lambda f: f.path
        )

    def resolve(self, reference: str) -> Sequence[RemoteFile]:
        """See `Store.resolve`: the newest version in this folder; a name of several projects' must say which."""
        wanted = Reference.of(reference)
        key, artifact = self._named(wanted)
        _check(artifact)
        return [f for f in files_of(key, artifact) if not wanted.path or f.path == f"{key}/{wanted.path}"]

    def fetch_file(self, run_id: str, path: str, destination: Path) -> None:
        found = self._found(run_id)
        key, _, inside = str(local_files.safe_relative(path)).partition("/")
        artifact = shelved(self._whole(found).artifacts).get(key)
        if artifact is None and ":" in key and not self._has_file(found, path):
            artifact = self._named(Reference.of(key))[1]
        if artifact is not None:
            self._staging.copy(_file(artifact, inside, path), destination, path)
            return
        try:
            local_files.copy_regular(self.root, f"{found.folder}/files/{path}", destination)
        except UntrustedInput as error:
            raise UntrustedInput(
                error.what,
                subject=path,
                remedy="`wandb.save` only links files into a run: log it with run.log_artifact, or name it in "
                "agent.yaml with {file: …}",
            ) from error
        promised = tables(self._logged(found)).get(path, "")
        if promised and digest_of(destination, sha256()).hex() != promised.lower():
            destination.unlink()
            raise UntrustedInput(
                "holds other bytes than the table that was logged", subject=path, remedy="train the run again"
            )

    def fetch_model(self, run_id: str, model: LoggedModel, destination: Path) -> None:
        artifact = shelved(self._whole(self._found(run_id)).artifacts).get(model.model_id)
        if artifact is None:
            raise PermanentError("the run logged no such model", subject=model.name)
        _check(artifact)
        for file in artifact.files:
            path = local_files.safe_relative(file.path)
            destination.joinpath(path.parent).mkdir(parents=True, exist_ok=True)
            self._staging.copy(file, destination.joinpath(path), f"{model.name}/{path}")

    def read_file(self, run_id: str, path: str) -> bytes:
        found = self._found(run_id)
        return local_files.read_regular(self.root, f"{found.folder}/files/{local_files.safe_relative(path)}")

    # -- writing ----------------------------------------------------------------------------------------------
    def put_files(self, run_id: str, files: Mapping[str, bytes]) -> None:
        found = self._found(run_id)
        for path, content in files.items():
            # From the root on, so that no link in the run's folder leads elsewhere.
            target = f"{found.folder}/files/{local_files.safe_relative(path)}"
            local_files.write_regular(self.root, target, content)

    def set_tags(self, run_id: str, tags: Mapping[str, str], remove: Sequence[str] = ()) -> None:
        """Write the verdict beside the run; the run's own tags are in its log, which is never changed."""
        found = self._found(run_id)
        with self._lock:
            kept = {name: value for name, value in self._status(found).items() if name not in remove}
            content = json.dumps(kept | dict(tags), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
            local_files.write_regular(self.root, f"{found.folder}/{_STATUS}", content.encode())

    def get_tags(self, run_id: str) -> Mapping[str, str]:
        found = self._found(run_id)
        return own_tags(self._logged(found)) | self._status(found)

    def tag_models(self, run_id: str, models: Sequence[LoggedModel], tags: Mapping[str, str]) -> None:
        """Nothing: an artifact that was not synced has no tags."""

    def link_audit(
        self, run: Run, used: Sequence[str], evidence: Mapping[str, bytes], about: Mapping[str, str]
    ) -> None:
        """Nothing: lineage is what a server shows."""

    def run_link(self, run: Run) -> str:  # noqa: ARG002 - the Protocol's
        return ""

    # -- inside -----------------------------------------------------------------------------------------------
    def _found(self, run_id: str) -> Found:
        found = self._folders.look(run_id)
        if found is None:
            self.ping()
            raise RunGone("the run is deleted or was never there", subject=f"run {run_id}")
        return found

    def _logged(self, found: Found) -> LoggedRun:
        """What the log tells, read once for each state of it."""
        with self._lock:
            known = self._logs.get(found.folder)
            if known is not None and known[0].mark == found.mark:
                self._logs.move_to_end(found.folder)
                return known[1]
        with self._folders.opened(found.folder, found.log) as source:
            logged = read_run(source)
        with self._lock:
            self._logs[found.folder] = found, logged
            while len(self._logs) > _REMEMBERED:
                self._logs.popitem(last=False)
        return logged

    def _whole(self, found: Found) -> LoggedRun:
        """The same, for looking at what was logged: a hole in the log may hide a newer model or table."""
        logged = self._logged(found)
        if logged.damage:
            raise UntrustedInput(
                logged.damage,
                subject=f"{self.root}/{found.folder}/{found.log}",
                remedy="restore the file from where it was written, or train the run again",
            )
        return logged

    def _named(self, wanted: Reference) -> tuple[str, StagedArtifact]:
        """The artifact that a name means in this folder, as (key, artifact)."""
        runs: dict[str, list[Found]] = {}
        for found in self._folders.all():
            if wanted.project in ("", project_of(found.glimpse)) and wanted.entity in ("", found.glimpse.entity):
                runs.setdefault(project_of(found.glimpse), []).append(found)
        named: dict[str, tuple[str, StagedArtifact]] = {}
        for project, of_project in runs.items():
            try:
                named[project] = newest(wanted, map(self._logged, of_project))
            except LookupError:
                continue
        if not named:
            raise PermanentError(
                f"no run in this folder logged an artifact {wanted.name}:{wanted.alias}",
                subject=self.uri,
                remedy="correct the name or the alias in agent.yaml, or log that artifact in a run there",
            )
        if len({key for key, _ in named.values()}) > 1:
            raise PermanentError(
                f"several projects have an artifact {wanted.name}:{wanted.alias}: {', '.join(sorted(named))}",
                subject=self.uri,
                remedy=f"say which in agent.yaml: <project>/{wanted.name}:{wanted.alias}",
            )
        return next(iter(named.values()))

    def _has_file(self, found: Found, path: str) -> bool:
        return os.path.lexists(self.root / found.folder / "files" / path)

    def _run_files(self, folder: str) -> list[RemoteFile]:
        """The files in the run's folder. A link, which `wandb.save` makes, is listed without a size; so is a pipe."""
        base = PurePosixPath(folder, "files")
        found: list[RemoteFile] = []
        pending = [PurePosixPath()] if os.path.lexists(self.root / base) else []
        while pending:
            inside = pending.pop()
            with local_files.open_folder(self.root, base / inside) as fd, os.scandir(fd) as entries:
                for entry in entries:
                    path = local_files.safe_relative(str(inside / entry.name))
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(path)
                    elif not entry.name.startswith(_UNFINISHED):
                        found.append(RemoteFile(str(path), _size(entry)))
            if len(found) + len(pending) > _MOST_FILES:
                raise UntrustedInput(f"holds more than {_MOST_FILES:,} files", subject=f"{self.root}/{base}")
        return found

    def _status(self, found: Found) -> dict[str, str]:
        """Our tags; none when there is no such file, or something else in its place, which `set_tags` replaces."""
        try:
            content = local_files.read_regular(self.root, f"{found.folder}/{_STATUS}", _MOST_STATUS)
        except PermanentError:
            return {}
        said = facts.decoded(content.decode("utf-8", "replace"))
        return {name: value for name, value in said.items() if isinstance(value, str)}


def _size(entry: os.DirEntry[str]) -> int | None:
    try:
        return entry.stat(follow_symlinks=False).st_size if entry.is_file(follow_symlinks=False) else None
    except OSError:  # it is gone since
        return None


def _check(artifact: StagedArtifact) -> None:
    if artifact.problem:
        raise UntrustedInput(
            f"the artifact can't be used: {artifact.problem}",
            subject=artifact.name[:200],
            remedy="log the files that are to be audited in an artifact of their own",
        )


def _file(artifact: StagedArtifact, inside: str, path: str) -> StagedFile:
    _check(artifact)
    file = next((f for f in artifact.files if f.path == inside), None)
    if file is None:
        raise PermanentError("there is no such file in the artifact", subject=path[:300])
    return file
