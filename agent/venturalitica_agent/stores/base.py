"""The one Protocol that every kind of store fulfils, so that no stage knows which tracker it talks to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from venturalitica_agent.domain.run import LoggedModel, Run, RunRef


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file among a run's artifacts: POSIX path relative to the artifact root, size in bytes (None if unsaid)."""

    path: str
    size: int | None


class Store(Protocol):
    """One place where runs live.

    Every method raises `StoreUnavailable` (retryable) when the store doesn't answer and `RunGone` when the run
    was deleted. Nothing a store returns is trusted.
    """

    @property
    def id(self) -> str:
        """Stable short id, derived from the URI."""
        ...

    @property
    def uri(self) -> str:
        """The tracking URI, without credentials."""
        ...

    def ping(self) -> None:
        """Cheapest call that proves that the store answers."""
        ...

    # -- noticing ---------------------------------------------------------------------------------------------
    def experiments(self) -> Mapping[str, str]:
        """Experiment id -> name, of every experiment that is not deleted."""
        ...

    def scan(self) -> Iterator[RunRef]:
        """Every run of the store, newest first where that is cheap; what the reconcile sweep reads."""
        ...

    def look(self, run_id: str) -> RunRef | None:
        """One run, or None when it does not exist (any more) or can't be read at this instant."""
        ...

    # -- reading ----------------------------------------------------------------------------------------------
    def get_run(self, run_id: str) -> Run:
        """Everything of a run that an audit may read. Its `ref` is consistent with `look`."""
        ...

    def list_files(self, run_id: str) -> Sequence[RemoteFile]:
        """Every file among the run's artifacts, recursively."""
        ...

    def fetch_file(self, run_id: str, path: str, destination: Path) -> None:
        """Copy one artifact file of the run to `destination` (a file); refuses links, devices and paths outside."""
        ...

    def fetch_model(self, run_id: str, model: LoggedModel, destination: Path) -> None:
        """Copy all files of a model into the folder `destination`; refuses links, devices and paths outside."""
        ...

    # -- writing ----------------------------------------------------------------------------------------------
    def put_files(self, run_id: str, files: Mapping[str, bytes]) -> None:
        """Write artifacts (POSIX path -> bytes) to the run. Never changes its status or times."""
        ...

    def read_file(self, run_id: str, path: str) -> bytes:
        """The bytes of one artifact, for reading back what was written."""
        ...

    def set_tags(self, run_id: str, tags: Mapping[str, str], remove: Sequence[str] = ()) -> None:
        """Set and remove tags of the run. Never changes its status or times."""
        ...

    def get_tags(self, run_id: str) -> Mapping[str, str]: ...

    def tag_models(self, run_id: str, models: Sequence[LoggedModel], tags: Mapping[str, str]) -> None:
        """Set the same tags on the run's logged models and their registered versions."""
        ...

    # -- links ------------------------------------------------------------------------------------------------
    def run_link(self, run: Run) -> str:
        """Where a person sees the run in the tracker's own UI; empty when no UI is known."""
        ...


class FolderStore(Store, Protocol):
    """A store whose changes the kernel can announce (MLflow's file store)."""

    @property
    def root(self) -> Path: ...

    def experiment_folders(self) -> Iterator[Path]:
        """The folder of each experiment."""
        ...


class PolledStore(Store, Protocol):
    """A store that must be asked."""

    def version(self) -> int | None:
        """A number that changes with every commit, where asking for it is nearly free; else None."""
        ...

    def recent(self, since: int) -> Iterator[RunRef]:
        """Runs that ended at or after `since` (ms since the epoch), and runs that have not ended."""
        ...
