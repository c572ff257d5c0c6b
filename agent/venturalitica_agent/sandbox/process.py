"""One single-use worker: a process in a sandbox, its slot folder, and the bounded reading of what it says."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from venturalitica_agent.errors import SandboxError, SandboxKilled, SandboxUnavailable
from venturalitica_agent.sandbox import seccomp
from venturalitica_agent.sandbox.answer import REMEDY_FORGED, printable
from venturalitica_agent.sandbox.profile import Limits, command

_READY = b"ready\n"
_CHUNK = 1 << 16
_TAIL = 1 << 14
_MOST_MESSAGES = 16 << 20
_SIGNALLED = 128  # bubblewrap's exit status for a child that signal n ended is 128 + n


class Worker:
    """A sandboxed interpreter that runs one of our scripts once.

    Must be made by a thread that outlives it: the kernel takes `--die-with-parent` to mean the parent's thread.

    Args:
        script: the script to run; a copy of it goes into the slot.
        folder: where the slot folder is made; private to the agent.
        who: what runs in it, for messages.
    """

    def __init__(self, script: Path, folder: Path, limits: Limits, who: str = "the model") -> None:
        self._limits = limits
        self._who = who
        self._ready = False
        self._out = bytearray()
        self._tail = bytearray()
        self._messages = 0
        self.slot = Path(tempfile.mkdtemp(prefix="slot-", dir=folder))
        try:
            shutil.copyfile(script, self.slot / script.name)
            _let_read(self.slot)
            self._process = self._start(script.name)
        except BaseException:
            shutil.rmtree(self.slot)
            raise

    def _start(self, script: str) -> subprocess.Popen[bytes]:
        filter_fd = seccomp.open_program()
        try:
            return subprocess.Popen(
                command(script, slot=self.slot, limits=self._limits, filter_fd=filter_fd),
                env={},  # bubblewrap's own first process keeps its environment, readable from inside
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(filter_fd,),
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            raise SandboxUnavailable(
                f"bubblewrap could not be started: {error.strerror}",
                remedy="Run `venturalitica-agent doctor`; on a full machine give the service more tasks or memory.",
            ) from error
        finally:
            os.close(filter_fd)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def said(self) -> bytearray:
        """What it has answered so far."""
        return self._out

    def await_ready(self) -> None:
        """Wait until the script has imported its libraries; nothing untrusted has been loaded by then.

        Raises:
            SandboxUnavailable: when it ended or took too long.
        """
        if self._ready:
            return
        in_time = self._read(lambda: len(self._out) >= len(_READY), self._limits.start_seconds, len(_READY))
        if self._out != _READY:
            said = self.last_words()
            what = "ended while starting" if in_time else f"was not ready within {self._limits.start_seconds:g} s"
            raise SandboxUnavailable(f"the sandbox {what}{f': {said}' if said else ''}", remedy=_remedy(said))
        self._out.clear()
        self._ready = True

    def ask(self) -> bytearray:
        """Say that the slot holds a job, and return all that the worker answers until it ends.

        Raises:
            SandboxError: when it overran a limit or ended without an answer.
        """
        limits = self._limits
        _let_read(self.slot)
        deadline = time.monotonic() + limits.wall_seconds
        with contextlib.suppress(BrokenPipeError):  # it has ended already: its exit status says how
            os.write(self._stdin, b"go\n")
        in_time = self._read(lambda: False, limits.wall_seconds, limits.output_bytes)
        if len(self._out) > limits.output_bytes:
            what = f"{self._who} wrote more than {limits.output_bytes:,} bytes"
            raise SandboxKilled(what, limit="output", remedy=REMEDY_FORGED)
        if self._messages > _MOST_MESSAGES:
            raise SandboxKilled(
                f"{self._who} printed more than {_MOST_MESSAGES:,} bytes",
                limit="messages",
                remedy="Log the model with its output silenced.",
            )
        if not in_time:
            raise SandboxKilled(
                f"{self._who} took longer than {limits.wall_seconds:g} s",
                limit="time",
                remedy="Bind fewer rows of evaluation data, or raise the sandbox's time limit.",
            )
        try:
            status = self._process.wait(max(1.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            what = f"{self._who} closed its output and went on"
            raise SandboxKilled(what, limit="time", remedy=REMEDY_FORGED) from None
        if status != 0:
            raise self._crash(status)
        return self._out  # not a copy: an answer may be hundreds of megabytes

    def last_words(self) -> str:
        """The last line of stderr, clean and short; untrusted."""
        lines = self._tail.decode(errors="replace").strip().splitlines()
        return printable(lines[-1], 300) if lines else ""

    def close(self) -> None:
        """Kill everything in the sandbox, remove the slot. Idempotent."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        shutil.rmtree(self.slot, ignore_errors=True)

    @property
    def _stdin(self) -> int:
        assert self._process.stdin is not None  # noqa: S101 -- for the type checker: PIPE was asked for
        return self._process.stdin.fileno()

    def _read(self, enough: Callable[[], bool], seconds: float, most: int) -> bool:
        """Read both pipes until `enough`, the end of both, or more than `most` bytes; False when time ran out."""
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            for pipe in (self._process.stdout, self._process.stderr):
                assert pipe is not None  # noqa: S101 -- for the type checker: PIPE was asked for
                selector.register(pipe, selectors.EVENT_READ)
            while selector.get_map() and not enough():
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                for key, _ in selector.select(left):
                    chunk = os.read(key.fd, _CHUNK)
                    if not chunk:
                        selector.unregister(key.fileobj)
                    elif key.fileobj is self._process.stdout:
                        self._out += chunk
                    else:
                        self._messages += len(chunk)
                        self._tail = (self._tail + chunk)[-_TAIL:]
                if len(self._out) > most or self._messages > _MOST_MESSAGES:
                    break
        return True

    def _crash(self, status: int) -> SandboxError:
        limits = self._limits
        memory = f"{limits.memory_bytes / (1 << 30):g} GiB"
        number = status - _SIGNALLED
        if number == signal.SIGXCPU:
            return SandboxKilled(
                f"{self._who} used more than {limits.cpu_seconds} s of processor time",
                limit="processor",
                remedy="Bind fewer rows of evaluation data, or raise the sandbox's processor limit.",
            )
        if number in {s.value for s in signal.Signals}:
            return SandboxKilled(
                f"{self._who}'s process was ended by {signal.Signals(number).name} (its memory limit is {memory})",
                limit=signal.Signals(number).name,
                remedy="A crash in native code is often memory that ran out, or a library of another version than the "
                "model was trained with: compare the versions, or raise the sandbox's memory limit.",
            )
        said = self.last_words()
        return SandboxError(
            f"{self._who}'s process ended with exit status {status} and no answer{f': {said}' if said else ''}",
            remedy=REMEDY_FORGED,
        )


def _let_read(slot: Path) -> None:
    """Open the slot to the model's uid, whatever the umask is; the folder above it keeps everyone else out."""
    slot.chmod(0o755)
    for path in slot.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _remedy(said: str) -> str:
    """What to do about a sandbox that does not start, by what bubblewrap said."""
    refused = ("namespace", "uid map", "Permission denied", "Operation not permitted")
    if not any(word in said for word in refused):
        return "Run `venturalitica-agent doctor` as the service's user; the sandbox's last words say what was missing."
    if _sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1":
        return "Run `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0` as root, and keep it in /etc/sysctl.d."
    if _sysctl("kernel/unprivileged_userns_clone") == "0":
        return "Run `sysctl -w kernel.unprivileged_userns_clone=1` as root, and keep it in /etc/sysctl.d."
    if _sysctl("user/max_user_namespaces") == "0":
        return "Run `sysctl -w user.max_user_namespaces=10000` as root, and keep it in /etc/sysctl.d."
    return (
        "In a container, allow namespaces: `docker run --security-opt seccomp=unconfined --security-opt "
        "systempaths=unconfined …`; under systemd, remove RestrictNamespaces=yes, ProcSubset=pid, "
        "ProtectKernelTunables=yes, ProtectKernelLogs=yes and ProtectHostname=yes from the unit."
    )


def _sysctl(name: str) -> str:
    try:
        return Path("/proc/sys", name).read_text().strip()
    except OSError:
        return ""
