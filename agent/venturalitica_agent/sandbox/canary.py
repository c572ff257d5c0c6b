"""Runs inside the sandbox: tries what a hostile model would try, and reports what it saw as one JSON line.

Like the worker it is a plain script. The agent reads the report; what should have been impossible and was not, means
that there is no sandbox here.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PTRACE_TRACEME = 0
_CLONE_NEWUSER = 0x10000000


def _works(attempt: Callable[[], Any]) -> bool:
    try:
        attempt()
    except (OSError, ValueError, StopIteration):
        return False
    return True


def _connect(family: int, address: Any) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(1)
        connection.connect(address)


def _status() -> dict[str, str]:
    lines = Path("/proc/self/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _first_file(folder: Path) -> Path:
    return next(path for path in folder.iterdir() if path.is_file())


def observe(job: dict[str, Any]) -> dict[str, Any]:
    """What can be seen and done from here.

    Args:
        job: `secret`: a file on the host; `home`: the agent's home folder; `port`: a listener on the host's loopback.
    """
    status = _status()
    libc = ctypes.CDLL(None, use_errno=True)
    first = Path("/proc/1/environ")
    visible = first.read_bytes() if _works(first.read_bytes) else b""
    return {
        "uid": os.getuid(),
        "capabilities": any(int(value, 16) for key, value in status.items() if key.startswith("Cap")),
        "no_new_privileges": status["NoNewPrivs"] == "1",
        "seccomp": status["Seccomp"] == "2",
        "environment": sorted(os.environ),
        "first_environment": sorted(x.split(b"=")[0].decode(errors="replace") for x in visible.split(b"\0") if x),
        "processes": sum(name.isdigit() for name in os.listdir("/proc")),  # noqa: PTH208
        "reads_secret": _works(Path(job["secret"]).read_bytes),
        "reads_home": _works(lambda: _first_file(Path(job["home"])).read_bytes()),
        "reads_passwords": _works(Path("/etc/shadow").read_bytes),
        "reaches_network": _works(lambda: _connect(socket.AF_INET, ("127.0.0.1", job["port"]))),
        "makes_sockets": _works(lambda: socket.socket(socket.AF_UNIX).close()),
        "writes": [
            folder
            for folder in ("/", "/usr", "/in", "/dev", "/proc/sys/kernel", sys.prefix, sys.base_prefix)
            if _works(lambda folder=folder: Path(folder, "canary").write_text(""))  # type: ignore[misc]
        ],
        "traces": libc.ptrace(_PTRACE_TRACEME, 0, 0, 0) == 0,
        "unshares": libc.unshare(_CLONE_NEWUSER) == 0,
    }


def main() -> None:
    os.write(1, b"ready\n")
    if sys.stdin.readline():
        report = observe(json.loads(Path("/in/job.json").read_text()))
        os.write(1, json.dumps(report).encode() + b"\n")


if __name__ == "__main__":
    main()
