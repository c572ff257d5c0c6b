"""The sandbox as the rest of the agent sees it: a model and features go in, validated predictions come out.

Workers are used once. Some can wait warm, with their libraries imported, because that import is most of the time that
an audit takes. No sandbox, no model: there is no path in here that loads one otherwise.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import socket
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from venturalitica_agent.domain.subject import ModelSubject, Predictions
from venturalitica_agent.errors import AgentError, SandboxClosed, SandboxError, SandboxKilled, SandboxUnavailable
from venturalitica_agent.sandbox import answer, handoff, profile
from venturalitica_agent.sandbox.failures import explained
from venturalitica_agent.sandbox.handoff import Features
from venturalitica_agent.sandbox.process import Worker
from venturalitica_agent.sandbox.profile import Limits

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Features", "Limits", "NoAnswer", "Sandbox", "SandboxInfo"]

_HERE = Path(__file__).parent
_WORKER = _HERE / "worker.py"
_CANARY = _HERE / "canary.py"
_LOCK = "lock"

NoAnswer = SandboxError | SandboxUnavailable
"""Why there are no predictions."""


@dataclass(frozen=True, slots=True)
class SandboxInfo:
    """What stood between the model and the host; goes into the evidence.

    Attributes:
        tier: "bwrap".
        profile: "root" or "userns", see `profile.py`.
        detail: what the canary saw and which limits hold, for a person.
    """

    tier: str
    profile: str
    detail: str


_PROVEN: dict[tuple[str, Limits], SandboxInfo] = {}  # of this process: what it holds is the same for every object
_PROVING = threading.Lock()


class Sandbox:
    """Predicts with untrusted models. Thread-safe; close it when done, or use it as a context manager.

    Args:
        limits: what one prediction may use.
        workdir: where private copies of models and features live while a worker uses them.
        warm: how many workers to keep waiting from the start, see `warm`.
        on_kill: told which limit ended what ran in it.
    """

    def __init__(
        self,
        *,
        limits: Limits = Limits(),  # noqa: B008 -- frozen
        workdir: Path,
        warm: int = 0,
        on_kill: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.limits = limits
        self._on_kill = on_kill
        self._folder, self._lock_fd = _claim_folder(workdir)
        # The kernel kills a worker when the thread that started it ends, so one thread that lives as long as this
        # object starts them all.
        self._starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sandbox-starter")
        self._guard = threading.Lock()
        self._waiting: deque[Worker] = deque()
        self._keep = 0
        self._ration: int | None = None
        self._closed = False
        if warm:
            self.warm(warm)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def probe(self) -> SandboxInfo:
        """Run a canary that tries what a hostile model would try.

        Raises:
            SandboxUnavailable: when no sandbox can be made here, or the canary got through it.
        """
        secret = self._folder / "canary-secret"
        try:
            secret.write_text("a file that no model may read")
        except OSError as error:
            raise SandboxUnavailable(
                f"its working folder can't be written: {error.strerror}",
                remedy="Check the `cache:` folder of agent.yaml.",
            ) from error
        home = Path("~").expanduser()
        worker = self._start(_CANARY)
        try:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                worker.await_ready()
                job = {
                    "secret": str(secret),
                    "home": "" if home.is_relative_to("/usr") else str(home),  # all of /usr is there to be read
                    "port": listener.getsockname()[1],
                }
                (worker.slot / "job.json").write_text(json.dumps(job))
                report = json.loads(worker.ask())
        except (SandboxError, ValueError) as error:
            raise SandboxUnavailable(
                f"the sandbox's canary did not report: {error}", remedy="Run `venturalitica-agent doctor`."
            ) from error
        finally:
            worker.close()
            secret.unlink(missing_ok=True)  # the sandbox may have been closed meanwhile
        holes = _holes(report)
        if holes:
            raise SandboxUnavailable(
                f"the sandbox has holes: inside it, {'; '.join(holes)}",
                remedy="Install a current bubblewrap from your distribution, and run the agent outside of containers "
                "that were given extra privileges.",
            )
        limits = self.limits
        detail = (
            "canary: no network, no host files, no capabilities, system-call filter on; limits: "
            f"{limits.memory_bytes >> 20} MiB, {limits.cpu_seconds} s of processor, {limits.wall_seconds:g} s, "
            f"{limits.processes} processes"
        )
        return SandboxInfo(tier="bwrap", profile=profile.variant(), detail=detail)

    def proven(self) -> SandboxInfo:
        """What the canary saw, the first time in this process that it found no hole; nothing is loaded before that.

        Raises:
            SandboxUnavailable: as `probe`.
        """
        key = profile.variant(), self.limits
        with _PROVING:
            if key not in _PROVEN:
                try:
                    _PROVEN[key] = self.probe()
                except SandboxUnavailable as error:
                    self._blame(error)
                    raise
            return _PROVEN[key]

    def warm(self, n: int = 1, *, at_most: int | None = None) -> None:
        """Keep `n` workers waiting from now on; used ones are replaced. Returns at once, they get ready by themselves.

        Args:
            at_most: how many may be started to wait, for who knows how many will be asked: one that nobody asks costs
                two seconds of processor. Whoever asks after them has one started.

        Raises:
            SandboxUnavailable: when no worker can be started.
        """
        with self._guard:
            self._keep, self._ration = n, at_most
        self._refill()

    def cool(self) -> None:
        """Drop the waiting workers, and keep none from now on."""
        with self._guard:
            self._keep = 0
            dropped = list(self._waiting)
            self._waiting.clear()
        for worker in dropped:
            worker.close()

    def predict(self, model: ModelSubject, features: Features | pd.DataFrame) -> Predictions:
        """What the model predicts for each row. It is asked batch by batch, and no more than one is in its memory.

        The columns are those of the model's signature, else those that the model says it was trained with, else all
        (when their number fits); the caller leaves the label out.

        Raises:
            SandboxError: the model failed, overran a limit or answered with something that isn't predictions.
            SandboxUnavailable: there is no sandbox to load it in. What reading `features` raises comes through.
            SandboxClosed: it was closed meanwhile.
        """
        return self.predict_also(model, features, ())[0]

    def predict_also(
        self, model: ModelSubject, features: Features | pd.DataFrame, others: Sequence[Features | pd.DataFrame]
    ) -> tuple[Predictions, list[Predictions | NoAnswer]]:
        """`predict`, and then the same of other tables: one worker is asked about all, as its start is what takes time.

        That worker has seen the first table when it is asked about the others. Who wrote the model has those data as
        well, so this tells the model nothing that it could not have brought along.

        Returns:
            Predictions for `features`, and for each of `others` either its predictions or why there are none. A table
            on which a worker broke down after it had answered others was asked again in one of its own.

        Raises:
            As `predict`, about `features`.
        """
        given = [table if isinstance(table, Features) else Features.of(table) for table in (features, *others)]
        first, *rest = self._ask(model, given)
        if not isinstance(first, Predictions):
            raise first
        while len(rest) < len(others):
            rest += self._ask(model, given[1 + len(rest) :])
        return first, rest

    def _ask(self, model: ModelSubject, tables: Sequence[Features]) -> list[Predictions | NoAnswer]:
        """What one worker says of the first of `tables`, at least of one."""
        try:
            self.proven()
            worker = self._take(self.limits.for_rows(sum(table.rows for table in tables)))
        except SandboxUnavailable as error:
            return [error]
        told: list[Predictions | NoAnswer] = []
        try:
            for found in self._answers(worker, model, tables):
                if isinstance(found, SandboxKilled):
                    self._on_kill(found.limit)
                told.append(found)
        except (SandboxError, SandboxUnavailable) as error:
            self._blame(error)
            if isinstance(error, SandboxKilled):
                self._on_kill(error.limit)
            if isinstance(error, SandboxError):
                error.subject = error.subject or answer.printable(model.name, 200)
            told = told or [error]
        finally:
            worker.close()
            # This answer stands; the next prediction says it itself.
            with contextlib.suppress(SandboxUnavailable, SandboxClosed):
                self._refill()
        return told

    def _answers(
        self, worker: Worker, model: ModelSubject, tables: Sequence[Features]
    ) -> Iterator[Predictions | SandboxError]:
        """What the worker says of the first of `tables`, until it breaks down."""
        asked = handoff.stage(worker.slot, model, tables, model_bytes=self.limits.model_bytes)
        rows = [table.rows for table in tables[:asked]]
        worker.await_ready()
        try:
            raw = worker.ask()
        except SandboxError:
            with contextlib.suppress(SandboxError):  # half an answer: the breakdown is what there is to tell
                yield from islice(self._read(model, worker.said, rows), asked - 1)
            raise
        yield from self._read(model, raw, rows)

    def _read(self, model: ModelSubject, raw: bytearray, rows: Sequence[int]) -> Iterator[Predictions | SandboxError]:
        for i, found in enumerate(answer.read(raw, rows=rows)):
            if not isinstance(found, answer.Failure):
                yield found
            elif i and found.of_memory:
                return  # the tables before it may have taken the memory
            else:
                yield explained(found, model, self.limits)

    def run(self, script: Path, stage: Callable[[Path], None], *, who: str, rows: int = 1) -> bytearray:
        """What one of our scripts answers about what `stage` puts into its slot; unchecked.

        Args:
            who: what the script runs, for messages. rows: what it runs on; the limits are those for as many.

        Raises:
            SandboxError: it overran a limit or ended without an answer. What `stage` raises comes through.
            SandboxUnavailable: there is no sandbox to run it in.
            SandboxClosed: it was closed meanwhile.
        """
        worker = None
        try:
            self.proven()
            worker = self._start(script, self.limits.for_rows(rows), who)
            stage(worker.slot)
            worker.await_ready()
            return worker.ask()
        except (SandboxError, SandboxUnavailable) as error:
            self._blame(error)
            if isinstance(error, SandboxKilled):
                self._on_kill(error.limit)
            raise
        finally:
            if worker is not None:
                worker.close()

    def _blame(self, error: AgentError) -> None:
        """Go on with what went wrong, unless it went wrong because this sandbox was closed: that ends every worker."""
        if self._closed:
            raise _closed() from error

    def close(self) -> None:
        """End every worker, remove the working folder. Idempotent. A prediction under way ends with SandboxClosed."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
        self.cool()
        self._starter.shutdown()
        shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._lock_fd)

    def _start(self, script: Path, limits: Limits | None = None, who: str = "the model") -> Worker:
        try:
            started = self._starter.submit(Worker, script, self._folder, limits or self.limits, who)
        except RuntimeError as error:
            raise _closed() from error
        return started.result()

    def _take(self, limits: Limits) -> Worker:
        if limits != self.limits:  # those that wait warm were started under the ordinary ones
            return self._start(_WORKER, limits)
        while True:
            with self._guard:
                worker = self._waiting.popleft() if self._waiting else None
            if worker is None:
                return self._start(_WORKER)
            if worker.alive:
                return worker
            worker.close()

    def _refill(self) -> None:
        while True:
            with self._guard:
                if self._closed or len(self._waiting) >= self._keep or self._ration == 0:
                    return
                if self._ration is not None:
                    self._ration -= 1
            worker = self._start(_WORKER)
            with self._guard:
                wanted = not self._closed and len(self._waiting) < self._keep
                if wanted:
                    self._waiting.append(worker)
            if not wanted:
                worker.close()


def _closed() -> SandboxClosed:
    return SandboxClosed("the sandbox is closed", remedy="The agent is stopping; start it again.")


def _holes(report: dict[str, Any]) -> list[str]:
    """What the canary could do and should not have been able to, as clauses."""
    extra = set(report["environment"]) - set(profile.ENVIRONMENT) - {"PWD", "LC_CTYPE"}
    checks = {
        "the user is root": report["uid"] == 0,
        "there are capabilities": report["capabilities"],
        "programs may gain privileges": not report["no_new_privileges"],
        "the system-call filter is off": not report["seccomp"],
        f"the environment holds {', '.join(sorted(extra)[:10])}": bool(extra),
        "the first process shows its environment": bool(set(report["first_environment"]) - set(profile.ENVIRONMENT)),
        "other processes can be seen": report["processes"] > 4,
        "a file of the agent can be read": report["reads_secret"],
        "the home folder can be read": report["reads_home"],
        "the password file can be read": report["reads_passwords"],
        "the host's loopback answers": report["reaches_network"],
        "sockets can be made": report["makes_sockets"],
        f"these folders can be written: {', '.join(report['writes'])}": bool(report["writes"]),
        "processes can be traced": report["traces"],
        "namespaces can be made": report["unshares"],
    }
    return [hole for hole, open_ in checks.items() if open_]


def _claim_folder(workdir: Path) -> tuple[Path, int]:
    """A new private folder under `workdir`, and the descriptor whose lock says that its owner lives.

    Folders of owners that died hold copies of models and data, so they are removed here.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / "sandbox.lock").open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)  # nobody sweeps between another's mkdtemp and its lock
        for folder in workdir.glob("sandbox-*"):
            with contextlib.suppress(OSError), (folder / _LOCK).open() as lock:  # its owner lives, or it is gone
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix="sandbox-", dir=workdir))
        fd = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
    return folder, fd
