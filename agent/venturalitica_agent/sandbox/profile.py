"""What the sandbox is made of: the bubblewrap command line, in its two variants.

`userns`: the agent is an ordinary user; bubblewrap makes a user namespace, and the model is uid 65534 in it.
`root`: the agent is root; bubblewrap needs no user namespace, and the model runs under a uid of its own that owns
nothing on the host, without one capability. A uid per worker matters because the kernel counts processes by uid: a
fork bomb in one worker would starve its neighbours.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from venturalitica_agent.errors import SandboxUnavailable

NOBODY = 65534
# Between systemd's container range and the sign bit: handed out to nobody by any convention.
_SPARE_UIDS = range(1_900_000_000, 2_000_000_000)

ENVIRONMENT = {
    "PATH": "/usr/bin",
    "HOME": "/tmp",  # noqa: S108 -- the sandbox's own, a fresh tmpfs
    "LANG": "C.UTF-8",
    "JOBLIB_MULTIPROCESSING": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "1",  # else each thread reserves address space, more of it on a busy machine
}
SLOT = "/in"
MOST_MILLIONS = 50


@dataclass(frozen=True, slots=True)
class Limits:
    """What one prediction may use: of up to a million rows. Time and output grow with the rows, see `for_rows`.

    Attributes:
        wall_seconds: from the job's start to the end of its answer.
        start_seconds: for an interpreter with its libraries to get ready, before anything untrusted is loaded.
        cpu_seconds: processor time, per process, the start included.
        memory_bytes: address space, per process.
        output_bytes: length of the answer.
        model_bytes: size of all the model's files.
        processes: processes and threads at once.
    """

    wall_seconds: float = 60
    start_seconds: float = 60
    cpu_seconds: int = 30
    memory_bytes: int = 2 << 30
    output_bytes: int = 64 << 20
    model_bytes: int = 1 << 30
    processes: int = 48

    def for_rows(self, rows: int) -> Limits:
        """Those for as many rows: per begun million as much time and output again, up to MOST_MILLIONS; not memory."""
        millions = min(max(1, -(-rows // 1_000_000)), MOST_MILLIONS)
        return replace(
            self,
            wall_seconds=self.wall_seconds * millions,
            cpu_seconds=self.cpu_seconds * millions,
            output_bytes=self.output_bytes * millions,
        )


def variant() -> str:
    """ "root" or "userns", by who the agent is."""
    return "root" if os.geteuid() == 0 else "userns"


def tools() -> dict[str, str]:
    """Paths of the programs that make the sandbox.

    Raises:
        SandboxUnavailable: when one isn't installed.
    """
    packages = {"bwrap": "bubblewrap", "prlimit": "util-linux", "setpriv": "util-linux"}
    found: dict[str, str] = {}
    for tool, package in packages.items():
        path = shutil.which(tool, path="/usr/bin:/bin:/usr/local/bin")
        if path is None:
            raise SandboxUnavailable(
                f"{tool} is not installed, and no model is loaded without a sandbox",
                remedy=f"Run `apt-get install {package}` (or your system's package of that name) as root.",
            )
        found[tool] = path
    return found


def interpreter_folders() -> list[Path]:
    """Folders outside /usr that this Python and its packages live in, shortest first.

    Raises:
        SandboxUnavailable: when the agent's user can't reach one, so that bubblewrap couldn't either.
    """
    executable = Path(sys.executable)
    named = {Path(sys.prefix), Path(sys.base_prefix), executable.parent.parent}
    folders = {f for path in named for f in (path, path.resolve())} | {executable.resolve().parent.parent}
    outside = sorted((f for f in folders if not f.is_relative_to("/usr")), key=lambda f: len(f.parts))
    for folder in outside:
        if not os.access(folder, os.R_OK | os.X_OK):
            raise SandboxUnavailable(
                "the sandbox can't reach the Python interpreter: the agent's user may not read its folder",
                subject=str(folder),
                remedy="Install the agent with a Python that its user can read, for example /usr/bin/python3 with a "
                "virtual environment under /opt, not one under another user's home.",
            )
    return [f for f in outside if not any(f != other and f.is_relative_to(other) for other in outside)]


def spare_uid() -> int:
    """A uid that owns nothing: drawn from an unused range where this user namespace has it, else 65534."""
    uid = random.choice(_SPARE_UIDS)
    for line in Path("/proc/self/uid_map").read_text().splitlines():
        first, _, length = map(int, line.split())
        if first <= uid < first + length:
            return uid
    return NOBODY


def command(script: str, *, slot: Path, limits: Limits, filter_fd: int) -> list[str]:
    """The whole command line that runs `script` (a file in the slot) in a new sandbox.

    Args:
        script: file name in `slot`.
        slot: the worker's folder on the host, seen read-only at /in.
        filter_fd: inherited descriptor with the seccomp program.

    Raises:
        SandboxUnavailable: when a tool is missing or the interpreter can't be reached.
    """
    tool = tools()
    as_root = variant() == "root"
    user = [] if as_root else ["--unshare-user", "--uid", str(NOBODY), "--gid", str(NOBODY)]
    kept = ["CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"] if as_root else []
    uid = str(spare_uid())
    no_sets = ("--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", "--")
    drop = [tool["setpriv"], "--reuid", uid, "--regid", uid, *no_sets] if as_root else []
    return [
        tool["bwrap"],
        *("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"),
        *user,
        *("--hostname", "sandbox", "--die-with-parent", "--new-session", "--cap-drop", "ALL"),
        *(word for capability in kept for word in ("--cap-add", capability)),
        "--clearenv",
        *(word for name, value in ENVIRONMENT.items() for word in ("--setenv", name, value)),
        *("--ro-bind", "/usr", "/usr"),
        *(word for name in ("bin", "lib", "lib64") if Path("/usr", name).exists() for word in _link(name)),
        *("--proc", "/proc", "--dev", "/dev"),
        *("--size", str(8 << 20), "--perms", "1777", "--tmpfs", "/dev/shm", "--remount-ro", "/dev"),  # noqa: S108
        *("--size", str(64 << 20), "--perms", "1777", "--tmpfs", "/tmp"),  # noqa: S108
        *_mounts(),
        *("--ro-bind", str(slot), SLOT),
        *("--remount-ro", "/", "--chdir", "/tmp", "--seccomp", str(filter_fd), "--"),  # noqa: S108
        *drop,
        tool["prlimit"],
        f"--nproc={limits.processes}",
        f"--cpu={limits.cpu_seconds}:{limits.cpu_seconds + 2}",  # the soft limit's signal tells it from other kills
        f"--as={limits.memory_bytes}",
        *("--fsize=67108864", "--nofile=256", "--core=0", "--memlock=0", "--"),
        *(sys.executable, "-I", "-B", f"{SLOT}/{script}"),
    ]


def _link(name: str) -> list[str]:
    return ["--symlink", f"usr/{name}", f"/{name}"]


def _mounts() -> list[str]:
    """The interpreter's folders at their own paths; their parents are made first, or bubblewrap makes them 0700."""
    words: list[str] = []
    made: set[Path] = {Path("/"), Path("/tmp")}  # noqa: S108
    for folder in interpreter_folders():
        for parent in reversed(folder.parents):
            if parent not in made:
                words += ["--perms", "0755", "--dir", str(parent)]
                made.add(parent)
        words += ["--ro-bind", str(folder), str(folder)]
    return words
