"""Noticing in a file store: the fewest inotify watches that miss nothing (root, experiment folders, folders of
unfinished runs). A recursive watch would need five per run, and goes blind silently at the kernel's limit."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

from watchdog.observers.inotify_c import CallbackId, InotifyConstants, InotifyEvent, InotifyFD, Mask, WatchDescriptor

from venturalitica_agent.domain.run import RunRef
from venturalitica_agent.errors import AgentError
from venturalitica_agent.logging import get_logger
from venturalitica_agent.stores.base import FolderStore
from venturalitica_agent.stores.mlflow_file import may_be_run

log = get_logger(__name__)

_APPEARS = Mask(InotifyConstants.IN_CREATE | InotifyConstants.IN_MOVED_TO | InotifyConstants.IN_ONLYDIR)
_REWRITTEN = Mask(_APPEARS | InotifyConstants.IN_CLOSE_WRITE)
_OURS = CallbackId(0)  # one callback per watch is all that we ever add
_NO_WATCH = WatchDescriptor(-1)  # what watchdog answers, without raising, where permissions forbid a watch


class _Hook:
    """What watchdog calls for one watched folder."""

    def __init__(self, watch: FolderWatch, folder: Path, on_name: Callable[[Path, str], None]) -> None:
        self._watch = watch
        self._folder = folder
        self._on_name = on_name

    def on_event(self, event: InotifyEvent) -> None:
        if event.name:
            self._on_name(self._folder, os.fsdecode(event.name))

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        self._watch.forget(self._folder, wd)

    def on_queue_overflow(self) -> None:
        self._watch.overflowed(self._folder)


class FolderWatch:
    """Announces runs of one file store as they change.

    Args:
        look: reads a run's folder (`MlflowFileStore.look_at`).
        on_run: called with every run that was seen, from the watching thread; must not block.
        on_blind: called when events were lost (overflow, watch limit): a sweep is needed.
    """

    def __init__(
        self,
        store: FolderStore,
        look: Callable[[Path], RunRef | None],
        *,
        on_run: Callable[[RunRef], None],
        on_blind: Callable[[str], None],
    ) -> None:
        self._store = store
        self._look = look
        self._on_run = on_run
        self._on_blind = on_blind
        self._watched: dict[Path, WatchDescriptor] = {}
        self._lock = threading.Lock()
        self._blind = False
        self._stopping = False
        self._inotify = InotifyFD()

    @property
    def watches(self) -> int:
        """How many folders are watched."""
        return len(self._watched)

    def start(self) -> None:
        """Watch the root and every experiment; the caller then scans, and passes unfinished runs to `follow`."""
        self._inotify.start()
        try:
            self._add(self._store.root, self._experiment_appeared, _APPEARS)
            for folder in self._store.experiment_folders():
                self._add(folder, self._run_appeared, _APPEARS)
        except AgentError:
            self.stop()
            raise

    def stop(self) -> None:
        self._stopping = True
        self._inotify.stop()
        if self._inotify.ident is not None:
            self._inotify.join(timeout=5)

    def follow(self, ref: RunRef) -> None:
        """Watch the folder of an unfinished run until it ends, and whatever above it lost its watch."""
        self._add(self._store.root, self._experiment_appeared, _APPEARS)
        experiment = self._store.root / ref.experiment_id
        self._add(experiment, self._run_appeared, _APPEARS)
        if self._add(experiment / ref.run_id, self._run_rewritten, _REWRITTEN):
            self._run_rewritten(experiment / ref.run_id, "meta.yaml")  # it may have ended since it was seen

    # -- called by watchdog ---------------------------------------------------------------------------------
    def forget(self, folder: Path, wd: WatchDescriptor) -> None:
        with self._lock:
            if self._watched.get(folder) == wd:
                del self._watched[folder]
        if folder == self._store.root and not self._stopping:
            self._on_blind("the store's folder was removed or replaced")

    def overflowed(self, folder: Path) -> None:
        if folder == self._store.root:  # every watch is told; once is enough
            self._on_blind("the kernel's event queue overflowed")

    def _experiment_appeared(self, root: Path, name: str) -> None:
        if name.startswith("."):
            return
        folder = root / name
        self._add(folder, self._run_appeared, _APPEARS)
        try:
            runs = [entry.name for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
        except OSError:
            return  # gone again; the sweep has the last word
        for run in runs:
            self._run_appeared(folder, run)

    def _run_appeared(self, experiment: Path, name: str) -> None:
        if not may_be_run(name):
            return
        # First the watch, then the look: the run may be over before the watch is there.
        self._add(experiment / name, self._run_rewritten, _REWRITTEN)
        self._run_rewritten(experiment / name, "meta.yaml")

    def _run_rewritten(self, folder: Path, name: str) -> None:
        if name not in ("meta.yaml", "inputs", "outputs"):
            return
        ref = self._look(folder)
        if ref is None:
            return  # between truncation and write: the close that follows is an event of its own
        if ref.status.ended:
            self._drop(folder)
        self._on_run(ref)

    # -- watches --------------------------------------------------------------------------------------------
    def _add(self, folder: Path, on_name: Callable[[Path, str], None], mask: Mask) -> bool:
        """Watch a folder; True when it was not watched before and is now."""
        with self._lock:
            if folder in self._watched:
                return False
            hook = _Hook(self, folder, on_name)
            try:
                wd = self._inotify.add_callback(os.fsencode(folder), mask, hook, _OURS)
                if wd == _NO_WATCH:
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR):
                    return False  # gone before we got there
                blind = not self._blind and error.errno in (errno.ENOSPC, errno.EMFILE, errno.ENOMEM)
                self._blind = True
                why = error.strerror
            else:
                self._watched[folder] = wd
                return True
        if blind:
            log.warning(
                "watch.limit_reached",
                store=self._store.uri,
                watches=len(self._watched),
                remedy="raise fs.inotify.max_user_watches; until then runs are found by the sweep",
            )
        self._on_blind(f"a folder can't be watched: {why}")
        return False

    def _drop(self, folder: Path) -> None:
        with self._lock:
            wd = self._watched.pop(folder, None)
        if wd is not None:
            self._inotify.remove_callbacks([(wd, _OURS)])
