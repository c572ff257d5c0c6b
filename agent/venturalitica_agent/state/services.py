"""Which services of this user run on this machine, and which stores they watch: so that a training process knows that
its run will be audited by one of them.

Each service keeps one small file and a lock on it. The kernel frees the lock of a service that dies, however it dies,
so what such a one left behind is never taken for a living one.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from venturalitica_agent.logging import get_logger

log = get_logger(__name__)

_MOST = 1 << 20


@dataclass(frozen=True, slots=True)
class Running:
    """A service: its process id, its state's URL without a password, and the ids of the stores that it watches."""

    pid: int
    state: str
    stores: frozenset[str]


def services_folder(env: Mapping[str, str]) -> Path:
    """Where this user's services announce themselves."""
    runtime = env.get("XDG_RUNTIME_DIR")
    return Path(runtime or Path.home() / ".cache") / "venturalitica" / "services"


@contextmanager
def announced(folder: Path, state: str, stores: Collection[str]) -> Iterator[None]:
    """Be known while inside. A folder that can't be written is no reason not to serve: it is logged."""
    fd, path = -1, folder / f"{os.getpid()}-{secrets.token_hex(4)}.json"
    draft = path.with_suffix(".new")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        about = {"pid": os.getpid(), "state": state, "stores": sorted(stores)}
        os.write(fd, json.dumps(about).encode())
        draft.rename(path)  # only now: whoever finds it finds it locked and complete
    except OSError as error:
        log.warning("service.not_announced", folder=str(folder), reason=str(error))
    try:
        yield
    finally:
        if fd >= 0:
            path.unlink(missing_ok=True)
            os.close(fd)


def running(folder: Path) -> list[Running]:
    """The services that are alive now; what dead ones left is removed."""
    found = []
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        with suppress(OSError, ValueError, KeyError, TypeError):
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if os.fstat(fd).st_uid == os.getuid() and _is_held(fd):
                    about = json.loads(os.read(fd, _MOST))
                    found.append(Running(int(about["pid"]), str(about["state"]), frozenset(map(str, about["stores"]))))
                else:
                    path.unlink(missing_ok=True)
            finally:
                os.close(fd)
    return found


def _is_held(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def holder_of(lock: Path) -> int | None:
    """The process that holds the lock beside the state, as the kernel lists locks.

    Trying to take it would be simpler, and for that moment keep a service from starting.
    """
    try:
        there = lock.stat()
        listed = Path("/proc/locks").read_text(encoding="ascii")
    except OSError:
        return None
    device = f"{os.major(there.st_dev):02x}:{os.minor(there.st_dev):02x}:{there.st_ino}"
    for line in listed.splitlines():
        fields = line.split()
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5] == device:
            return int(fields[4])
    return None
