"""What a training ran on, as far as the process itself can tell: packages, Python, hardware, commit, seeds. Nothing is
imported for it, nothing leaves the machine, and neither paths nor the command line nor the environment are kept."""

from __future__ import annotations

import os
import platform
import random
import resource
import subprocess
import sys
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

_PATIENCE = 5.0  # seconds for git
_KIB = 1024


def environment() -> dict[str, Any]:
    """JSON-ready. What can't be known is left out."""
    found = {
        "python": {"version": platform.python_version(), "implementation": platform.python_implementation()},
        "platform": platform.platform(),
        "hardware": hardware(),
        "packages": packages(),
        "git": commit(Path.cwd()),
        "seeds": seeds(),
    }
    return {name: value for name, value in found.items() if value}


def packages() -> dict[str, str]:
    """Every installed distribution: name -> version."""
    found = {d.metadata["Name"]: d.version for d in metadata.distributions() if d.metadata["Name"]}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def hardware() -> dict[str, Any]:
    """Processor, cores that this process may use, bytes of memory, graphics processors where a driver lists them."""
    found: dict[str, Any] = {
        "machine": platform.machine(),
        "processor": _after(Path("/proc/cpuinfo"), "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpus": [
            model
            for about in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
            if (model := _after(about, "Model"))
        ],
    }
    return {name: value for name, value in found.items() if value}


def _after(file: Path, key: str) -> str:
    """The value of the first line `key : value`."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == key), "")


def commit(folder: Path) -> dict[str, Any]:
    """The commit that is checked out in `folder` and whether tracked files differ from it; empty without git."""
    head = _git(folder, "rev-parse", "--verify", "HEAD")
    if not head:
        return {}
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": head.strip(), **({"dirty": bool(changed.strip())} if changed is not None else {})}


def _git(folder: Path, *words: str) -> str | None:
    env = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    # A repository's own configuration can name programs; none is needed for these questions.
    command = ["git", "-c", "core.fsmonitor=false", *words]
    try:
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=_PATIENCE)
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    return done.stdout if done.returncode == 0 else None


def seeds() -> dict[str, str | int]:
    """What decides random numbers: the seed where it can be read, else a digest of the generator's state.

    Equal digests mean the same numbers from here on. numpy and torch are asked only if they are imported already.
    """
    found: dict[str, str | int] = {
        "PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED", "random"),
        "random.state_sha256": sha256(repr(random.getstate()).encode()).hexdigest(),
    }
    if (numpy := sys.modules.get("numpy")) is not None:
        kind, keys, *rest = numpy.random.get_state(legacy=True)
        found["numpy.state_sha256"] = sha256(keys.tobytes() + repr((kind, rest)).encode()).hexdigest()
    if (torch := sys.modules.get("torch")) is not None:
        found["torch.initial_seed"] = int(torch.initial_seed())
        found["torch.state_sha256"] = sha256(torch.get_rng_state().numpy().tobytes()).hexdigest()
    return found


def peak_memory() -> dict[str, int]:
    """Bytes of resident memory at the highest, of this process so far and of its largest child that has ended."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"process": own.ru_maxrss * _KIB, "children": children.ru_maxrss * _KIB}
