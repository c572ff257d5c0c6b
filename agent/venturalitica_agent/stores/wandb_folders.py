"""Noticing offline runs: a ledger of stat results over the folders of a `wandb/` folder, so that only logs that changed
are opened, and of those only the beginning and the end are read."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from venturalitica_agent.domain.run import RunRef, RunStatus
from venturalitica_agent.errors import PermanentError, StoreUnavailable, UntrustedInput
from venturalitica_agent.logging import get_logger
from venturalitica_agent.stores.local_files import open_folder
from venturalitica_agent.stores.wandb_records import Glimpse, full_glimpse, glimpse

log = get_logger(__name__)

QUIET = 300.0  # seconds without a heartbeat after which W&B calls a run crashed; a live one writes every 15 s at least
NO_PROJECT = "uncategorized"  # source: wandb.sdk.wandb_settings, Settings.project
_PREFIX = "offline-run-"
_LONGEST_ID = 64
_LONGEST_PROJECT = 128


@dataclass(frozen=True, slots=True)
class Found:
    """A run as its folder showed it.

    Attributes:
        folder, log: the names of its folder and of the log in it.
        mark: what stat said of the log: change time in ns, size, inode, and whether W&B marked it as synced.
    """

    folder: str
    log: str
    mark: tuple[int, int, int, bool]
    glimpse: Glimpse
    ref: RunRef

    @property
    def changed(self) -> int:
        """When the log last changed here (ms since the epoch): its change time, because nobody can set that back."""
        return self.mark[0] // 1_000_000

    @property
    def synced(self) -> bool:
        return self.mark[3]


class RunFolders:
    """The runs below `root`.

    Args:
        store: id of the store, for the references.
    """

    def __init__(self, root: Path, store: str, clock: Callable[[], float] = time.time) -> None:
        self._root = root
        self._store = store
        self._clock = clock
        self._logs: dict[str, str] = {}
        self._known: dict[str, Found] = {}
        self._refused: set[tuple[str, str]] = set()

    def all(self) -> list[Found]:
        """Every run, the last started first."""
        found = {f.folder: f for name in self._names() if (f := self._read(name)) is not None}
        self._known = found
        self._logs = {name: f.log for name, f in found.items()}
        return sorted(found.values(), key=lambda f: (f.ref.start_time or 0, f.folder), reverse=True)

    def look(self, run_id: str) -> Found | None:
        folder = run_id if _may_be_run(run_id) and self._is_folder(run_id) else ""
        if not folder and len(run_id) == _LONGEST_ID:
            folder = next((name for name in self._names() if id_of(name) == run_id), "")
        found = self._read(folder) if folder else None
        if found is not None:
            self._known[folder] = found
        return found

    def version(self) -> int:
        """A number that changes when a run appears, goes, grows before its end, is synced, or was quiet for too long.

        Of a run that ended only its folder is looked at, where the mark of a sync appears; should something be written
        to its log nevertheless, `all` sees it.
        """
        marks: list[object] = []
        for name in self._names():
            known = self._known.get(name)
            if known is not None and known.ref.status.ended:
                marks.append((name, self._changed(name)))
            else:
                mark = self._mark(name)
                marks.append((name, mark, known is not None and mark is not None and self._quiet(mark)))
        return hash(tuple(marks))

    @contextmanager
    def opened(self, folder: str, name: str) -> Iterator[BinaryIO]:
        """The run's log, if it is a regular file behind no link. Raises UntrustedInput or PermanentError."""
        with open_folder(self._root, PurePosixPath(folder)) as parent:
            try:
                fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
            except OSError as error:
                raise PermanentError(
                    f"the log {name} can't be opened: {error.strerror}",
                    subject=f"{self._root}/{folder}",
                    remedy="give the agent's user the right to read it",
                ) from error
        with os.fdopen(fd, "rb", buffering=0) as source:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise UntrustedInput(f"the log {name} is not a regular file", subject=f"{self._root}/{folder}")
            yield source

    # -- inside ---------------------------------------------------------------------------------------------
    def _names(self) -> list[str]:
        try:
            with os.scandir(self._root) as entries:
                named = [e.name for e in entries if e.name.startswith(_PREFIX) and e.is_dir(follow_symlinks=False)]
        except OSError as error:
            raise StoreUnavailable(
                f"the folder can't be read: {error.strerror}",
                subject=str(self._root),
                remedy="it is watched for; train a run there with WANDB_MODE=offline, or check its permissions",
            ) from error
        names = [name for name in named if _may_be_run(name)]
        for name in set(named).difference(names) if len(names) < len(named) else ():
            self._refuse(name, "such a name is refused")
        return sorted(names)

    def _is_folder(self, name: str) -> bool:
        try:
            return stat.S_ISDIR(os.lstat(f"{self._root}/{name}").st_mode)
        except OSError:
            return False

    def _changed(self, folder: str) -> int:
        try:
            return os.lstat(f"{self._root}/{folder}").st_ctime_ns
        except OSError:
            return 0

    def _log(self, folder: str) -> str:
        """The name of the log in `folder`; empty while there is none."""
        if folder in self._logs:
            return self._logs[folder]
        try:
            with os.scandir(f"{self._root}/{folder}") as entries:
                logs = [e.name for e in entries if e.name.startswith("run-") and e.name.endswith(".wandb")]
        except OSError:
            return ""
        if len(logs) > 1:  # the folder is called after the run: offline-run-<date>_<time>-<id>
            after = folder[len(_PREFIX) :].partition("-")[2]
            logs = sorted((n for n in logs if after.startswith(n[4:-6])), key=len)
            if not logs:
                self._refuse(folder, "it holds several logs, none of them called like the folder")
        return logs[-1] if logs else ""

    def _mark(self, folder: str) -> tuple[int, int, int, bool] | None:
        name = self._log(folder)
        if not name:
            return None
        path = f"{self._root}/{folder}/{name}"
        try:
            about = os.lstat(path)
        except OSError:
            return None
        if not stat.S_ISREG(about.st_mode):
            self._refuse(folder, "its log is not a regular file")
            return None
        # source: wandb.cli.beta_sync._is_synced; the marker is an empty file
        return about.st_ctime_ns, about.st_size, about.st_ino, os.path.lexists(f"{path}.synced")

    def _quiet(self, mark: tuple[int, int, int, bool]) -> bool:
        return self._clock() - mark[0] / 1e9 >= QUIET

    def _read(self, folder: str) -> Found | None:
        mark = self._mark(folder)
        if mark is None:
            return None
        known, quiet = self._known.get(folder), self._quiet(mark)
        if known is not None and known.mark == mark and (known.ref.status.ended or not quiet):
            return known
        name = self._log(folder)
        try:
            with self.opened(folder, name) as source:
                seen = glimpse(source)
                if seen.exit_code is None and quiet:
                    seen = full_glimpse(source)
        except PermanentError as error:
            self._refuse(folder, str(error.diagnostics()))
            return None
        return Found(folder, name, mark, seen, self._ref(folder, mark, seen, quiet))

    def _ref(self, folder: str, mark: tuple[int, int, int, bool], seen: Glimpse, quiet: bool) -> RunRef:
        changed, size, _, synced = mark
        status, end = RunStatus.RUNNING, changed // 1_000_000
        if seen.exit_code is not None:
            status = RunStatus.FINISHED if seen.exit_code == 0 else RunStatus.FAILED
            if seen.start_time is not None and seen.runtime >= 0:
                end = min(end, seen.start_time + (seen.runtime + 1) * 1000)
        elif quiet:
            status = RunStatus.FAILED
        return RunRef(
            store=self._store,
            run_id=id_of(folder),
            experiment_id=project_of(seen),
            status=status,
            start_time=seen.start_time,
            end_time=end if status.ended else None,
            inputs="synced" if synced else "",
            mark=f"b{size}" if status.ended else "",
        )

    def _refuse(self, folder: str, why: str) -> None:
        if (folder, why) not in self._refused:
            self._refused.add((folder, why))
            log.warning("wandb_offline.refused", store=str(self._root), run=folder, reason=why)


def _may_be_run(name: str) -> bool:
    return name.startswith(_PREFIX) and name.isprintable() and "/" not in name and "\\" not in name


def id_of(folder: str) -> str:
    """The folder's name, as a run id: cut to 64 characters, with a digest for what is cut off."""
    if len(folder) <= _LONGEST_ID:
        return folder
    return f"{folder[:47]}~{sha256(folder.encode()).hexdigest()[:16]}"


def project_of(seen: Glimpse) -> str:
    """The run's project, cut to the length that W&B allows."""
    return seen.project[:_LONGEST_PROJECT] or NO_PROJECT
