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

    Attributes:
        roots: local folders that its data may be read from.
        sweep_every: seconds between two full scans at least: 0 where one costs nearly nothing.
        versioned: whether what is below a path such as `evalset:v3/` never changes, because the tracker sees to that.
    """

    roots: tuple[Path, ...]
    sweep_every: float
    versioned: bool

    def prepare(self) -> None:
        """Import and connect ahead of need, so that the first audit doesn't pay for it. Never raises."""
        ...

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

    def resolve(self, reference: str) -> Sequence[RemoteFile]:
        """The files of a W&B artifact named as in agent.yaml (`evalset:latest`, `evalset:v3`, `entity/project/…`), as
        paths that `fetch_file` takes, for any run: `evalset:v3/test.csv`, with the version that the name means now.

        Raises:
            PermanentError: the tracker has no such thing.
        """
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

    def link_audit(
        self, run: Run, used: Sequence[str], evidence: Mapping[str, bytes], about: Mapping[str, str]
    ) -> None:
        """Show the audit in the tracker's own lineage, where it has one; doing it again changes nothing.

        Args:
            used: what was audited: model ids, and data by the paths that `fetch_file` takes.
            evidence: artifact path -> bytes. about: the verdict's tags.
        """
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
