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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from venturalitica_agent.domain.subject import ModelSubject, Predictions
from venturalitica_agent.errors import SandboxError, SandboxUnavailable
from venturalitica_agent.sandbox import answer, handoff, profile
from venturalitica_agent.sandbox.handoff import Features
from venturalitica_agent.sandbox.process import Worker
from venturalitica_agent.sandbox.profile import Limits

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Features", "Limits", "Sandbox", "SandboxInfo"]

_HERE = Path(__file__).parent
_WORKER = _HERE / "worker.py"
_CANARY = _HERE / "canary.py"
_LOCK = "lock"


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


class Sandbox:
    """Predicts with untrusted models. Thread-safe; close it when done, or use it as a context manager.

    Args:
        limits: what one prediction may use.
        workdir: where private copies of models and features live while a worker uses them.
        warm: how many workers to keep waiting from the start, see `warm`.
    """

    def __init__(self, *, limits: Limits = Limits(), workdir: Path, warm: int = 0) -> None:  # noqa: B008 -- frozen
        self.limits = limits
        self._folder, self._lock_fd = _claim_folder(workdir)
        # The kernel kills a worker when the thread that started it ends, so one thread that lives as long as this
        # object starts them all.
        self._starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sandbox-starter")
        self._guard = threading.Lock()
        self._waiting: deque[Worker] = deque()
        self._keep = 0
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
            secret.unlink()
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

    def warm(self, n: int = 1) -> None:
        """Keep `n` workers waiting from now on; used ones are replaced. Returns at once, they get ready by themselves.

        Raises:
            SandboxUnavailable: when no worker can be started.
        """
        with self._guard:
            self._keep = n
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
        """
        given = features if isinstance(features, Features) else Features.of(features)
        worker = self._take(self.limits.for_rows(given.rows))
        try:
            handoff.stage(worker.slot, model, given, model_bytes=self.limits.model_bytes)
            worker.await_ready()
            return answer.read(worker.ask(), rows=given.rows)
        except answer.Failure as failure:
            raise self._explain(failure, model) from None
        except SandboxError as error:
            error.subject = error.subject or answer.printable(model.name, 200)
            raise
        finally:
            worker.close()
            with contextlib.suppress(SandboxUnavailable):  # this answer stands; the next prediction says it itself
                self._refill()

    def run(self, script: Path, stage: Callable[[Path], None], *, who: str, rows: int = 1) -> bytearray:
        """What one of our scripts answers about what `stage` puts into its slot; unchecked.

        Args:
            who: what the script runs, for messages. rows: what it runs on; the limits are those for as many.

        Raises:
            SandboxError: it overran a limit or ended without an answer. What `stage` raises comes through.
            SandboxUnavailable: there is no sandbox to run it in.
        """
        worker = self._start(script, self.limits.for_rows(rows), who)
        try:
            stage(worker.slot)
            worker.await_ready()
            return worker.ask()
        finally:
            worker.close()

    def close(self) -> None:
        """End the waiting workers, remove the working folder. Idempotent; not while a prediction is under way."""
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
            raise SandboxUnavailable(
                "the sandbox is closed", remedy="The agent is stopping; start it again."
            ) from error
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
                if self._closed or len(self._waiting) >= self._keep:
                    return
            worker = self._start(_WORKER)
            with self._guard:
                wanted = not self._closed and len(self._waiting) < self._keep
                if wanted:
                    self._waiting.append(worker)
            if not wanted:
                worker.close()

    def _explain(self, failure: answer.Failure, model: ModelSubject) -> SandboxError:
        subject = answer.printable(model.name, 200)
        if failure.message.split(":")[0] in ("MemoryError", "ArrowMemoryError", "_ArrayMemoryError"):
            return SandboxError(
                f"the model ran out of memory (limit {self.limits.memory_bytes / (1 << 30):g} GiB)",
                subject=subject,
                remedy="Bind fewer rows of evaluation data, or raise the sandbox's memory limit.",
            )
        if failure.stage == "load":
            return SandboxError(
                f"the model file could not be loaded: {failure.message}", subject=subject, remedy=_load_remedy(model)
            )
        if failure.stage == "features":
            return SandboxError(
                f"the model's input columns could not be chosen: {failure.message}",
                subject=subject,
                remedy="Bind the data that the model was made for, or log the model with a signature.",
            )
        return SandboxError(
            f"the model could not predict: {failure.message}",
            subject=subject,
            remedy="Check that the bound data has the columns and kinds of values that the model was trained with.",
        )


def _load_remedy(model: ModelSubject) -> str:
    trained = ", ".join(f"{name} {version}" for name, version in sorted(model.environment.items())[:8])
    said = f" (it says: {answer.printable(trained, 300)})" if trained else ""
    return (
        f"Install into the agent's environment the packages, in the versions, that the model was trained with{said}, "
        "or log the model without custom code."
    )


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
