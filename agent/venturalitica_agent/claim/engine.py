"""The durable engine: the only file that imports dbos. A job enqueued under an id runs to its end exactly once, across
crashes; its finished steps are never repeated.

The engine sleeps when there is nothing to do: DBOS asks its database several times a second, which alone costs 1 % of
a core, and starting it again takes a tenth of a second.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer, SetWorkflowID
from sqlalchemy.exc import OperationalError

from venturalitica_agent.errors import RetryableError, StateUnavailable
from venturalitica_agent.logging import get_logger

log = get_logger(__name__)

_QUEUE = "audits"
_REST_AFTER = 30.0
_LOOK, _SHARED_LOOK = 0.05, 0.2  # seconds between two looks for a job
_RECOVERIES = 5
_PATIENCE = 8  # whole seconds for jobs in hand at the end; what takes longer is taken up at the next start
# Recovery only takes up jobs of the same version: the format of jobs, not the release, is what must agree.
_JOB_FORMAT = "1"
ENDED = "SUCCESS"  # what a job was for was done, or could not even be noted
ALIVE = frozenset({"ENQUEUED", "PENDING", "DELAYED"})
_ENDED = ("SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")
_BATCH = 500


class Step(Protocol):
    """Runs `work` once per job and keeps its JSON result: after a crash the kept result is returned instead."""

    def __call__(self, name: str, work: Callable[[], Any]) -> Any: ...


class EngineBusy(RetryableError):
    """Another process works on the same state."""


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        raise StateUnavailable.because(error.orig or error) from error


def _step(name: str, work: Callable[[], Any]) -> Any:
    with _explained():
        return DBOS.run_step({"name": name}, work)


class _Plainly(logging.Filter):
    """What DBOS couldn't note because the state can't be used is told as everything else that can't be."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, OperationalError | StateUnavailable):
            return True
        told = error if isinstance(error, StateUnavailable) else StateUnavailable.because(error.orig or error)
        log.warning("state.unavailable", reason=told.what, subject=told.subject, remedy=told.remedy)
        return False


logging.getLogger("dbos").addFilter(_Plainly())

_execute: Callable[[dict[str, Any], Step], None] | None = None


@DBOS.workflow(name="audit", max_recovery_attempts=_RECOVERIES)
def _audit(job: dict[str, Any]) -> None:
    if _execute is None:  # only if somebody launches DBOS without us
        raise RuntimeError("the engine has no work to execute jobs with")
    _execute(job, _step)


class Engine:
    """Executes jobs durably.

    Args:
        url: SQLAlchemy URL of the engine's own database.
        lock: file that marks this state as worked on, for engines on SQLite; None for a shared database.
        execute: what a job does; gets the job and `step`. Must not raise: what it raises is only logged.
        width: how many jobs run at once.
        machine: id of this process among those that share the database, which no other one ever has; empty where the
            state admits one process. connecting: what connections to the database are made with.
    """

    def __init__(
        self,
        url: str,
        *,
        lock: Path | None,
        execute: Callable[[dict[str, Any], Step], None],
        width: int = 2,
        machine: str = "",
        connecting: Mapping[str, Any] = MappingProxyType({}),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._lock_path = lock
        self._lock_fd: int | None = None
        self._execute = execute
        self.width = width
        self._machine = machine
        self._connecting = connecting
        self._clock = clock
        self._awake = False
        self._busy_at = 0.0
        self._mutex = threading.RLock()
        self._count = threading.Lock()
        self._active = 0

    def open(self) -> None:
        """Take the state for this process and finish what a crashed one left; raises EngineBusy."""
        if self._lock_path is not None:
            fd = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(fd)
                raise EngineBusy(
                    "another venturalitica-agent works on this state",
                    subject=str(self._lock_path),
                    remedy="let it do the work, or stop it first",
                ) from error
            self._lock_fd = fd
        try:
            with self._mutex:
                self._wake()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop; jobs in hand are taken up again at the next `open`."""
        with self._mutex:
            if self._awake:
                # A job that is cut off can't tell DBOS its end, which DBOS would report with a traceback.
                logging.getLogger("dbos").setLevel(logging.CRITICAL)
                DBOS.destroy(workflow_completion_timeout_sec=_PATIENCE if self._active else 0)
                self._awake = False
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def submit(self, job_id: str, job: dict[str, Any]) -> None:
        """Enqueue a job; a job whose id is already there is not enqueued again."""
        with self._mutex, _explained():
            self._wake()
            with SetWorkflowID(job_id):
                DBOS.enqueue_workflow(_QUEUE, _audit, job)

    def status(self, job_id: str) -> str | None:
        """DBOS's word for where a job is (see `ALIVE`), or None when there is no such job."""
        with self._mutex, _explained():
            self._wake()
            found = DBOS.get_workflow_status(job_id)
            return found.status if found else None

    def forget(self, before: float) -> int:
        """Remove the jobs that ended before a time (seconds since the epoch); returns how many.

        What a job did is in the ledger and in the records; that it was executed is only needed while its run is
        claimed, and a run whose job has ended doesn't stay so.
        """
        until = datetime.fromtimestamp(before, UTC).isoformat()
        forgotten = 0
        with self._mutex:
            self._wake()
            while ended := DBOS.list_workflows(
                status=list(_ENDED), completed_before=until, limit=_BATCH, load_input=False, load_output=False
            ):
                DBOS.delete_workflows([one.workflow_id for one in ended])
                forgotten += len(ended)
        return forgotten

    def owners(self) -> set[str]:
        """Ids of the machines that have jobs in hand, dead ones too."""
        with self._mutex:
            self._wake()
            found = DBOS.list_workflows(status="PENDING", load_input=False, load_output=False)
            return {job.executor_id for job in found if job.executor_id}

    def take_over(self, machine: str) -> int:
        """Have what a dead machine had in hand executed again, by whichever machine is free; returns how many jobs.

        Each time counts as a recovery, of which a job has `_RECOVERIES`. Where the machine is not dead after all, its
        next step finds that the job is another's now, and ends.
        """
        with self._mutex:
            self._wake()
            return len(DBOS._recover_pending_workflows([machine]))

    def rest(self, *, busy: bool, now: bool = False) -> None:
        """Called now and then: puts the engine to sleep when it has had nothing to do for a while, or at once.

        On a shared database it is also woken by this, when another machine has enqueued something.
        """
        with self._mutex:
            at = self._clock()
            if busy and not now:
                self._busy_at = at
                if self._machine:
                    self._wake()
            elif self._awake and (now or at - self._busy_at > _REST_AFTER):
                DBOS.destroy()
                self._awake = False
                log.debug("engine.asleep")

    def _counted(self, job: dict[str, Any], step: Step) -> None:
        with self._count:
            self._active += 1
        try:
            self._execute(job, step)
        finally:
            with self._count:
                self._active -= 1

    def _wake(self) -> None:
        global _execute
        self._busy_at = self._clock()
        if self._awake:
            return
        _execute = self._counted
        config = DBOSConfig(
            name="venturalitica-agent",
            system_database_url=self._url,
            application_version=_JOB_FORMAT,
            executor_id=self._machine or "local",
            serializer=DBOSPortableJSONSerializer(),  # the default is pickle: database access would be code execution
            log_level="ERROR",
            notification_listener_polling_interval_sec=0.2,  # DBOS waits for this sleep when it is destroyed
            scheduler_polling_interval_sec=60.0,
        )
        if self._machine:
            config["db_engine_kwargs"] = {"connect_args": dict(self._connecting), "pool_pre_ping": True}
        DBOS(config=config)
        DBOS.launch()
        DBOS.register_queue(
            _QUEUE,
            worker_concurrency=self.width,
            polling_interval_sec=_SHARED_LOOK if self._machine else _LOOK,
            on_conflict="always_update",
        )
        self._awake = True
        log.debug("engine.awake")
