"""Where a folder of policies comes from, as far as git can tell: the commit, and which files aren't as it holds them.

Git is only asked for names of objects. It reads no file of the working tree, so no filter, hook or monitor that a
repository configures is run; what was changed is found by hashing the bytes that we read ourselves.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

_SECONDS = 5.0
_ISOLATED = (
    "--no-pager", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "protocol.allow=never",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Provenance:
    """What git says of a folder; empty where there is no git, no repository or no commit.

    Attributes:
        commit: the commit that is checked out, in hex.
        blobs: the object ids that this commit holds under each file name, whichever subfolder the file is in.
    """

    commit: str = ""
    blobs: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def dirty(self, file_name: str, content: bytes) -> bool | None:
        """Whether a file of the folder is not as the commit holds it; None without a commit."""
        if not self.commit:
            return None
        name = hashlib.new("sha256" if len(self.commit) == 64 else "sha1", usedforsecurity=False)
        name.update(b"blob %d\0" % len(content) + content)
        return name.hexdigest() not in self.blobs.get(file_name, ())


def provenance(folder_or_file: Path) -> Provenance:
    """What git knows of a folder of policies, or of one policy file."""
    folder, what = (folder_or_file, ".") if folder_or_file.is_dir() else (folder_or_file.parent, folder_or_file.name)
    commit = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD^{commit}").strip()
    if not commit:
        return Provenance()
    blobs: dict[str, frozenset[str]] = {}
    for entry in _git(folder, "ls-tree", "-r", "-z", commit, "--", what).split("\0"):
        about, _, path = entry.partition("\t")
        if path:
            name = PurePosixPath(path).name
            blobs[name] = blobs.get(name, frozenset()) | {about.rpartition(" ")[2]}
    return Provenance(commit, blobs)


def _git(folder: Path, *words: str) -> str:
    """What git answers; empty when it doesn't."""
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
    }
    try:
        done = subprocess.run(
            ["git", *_ISOLATED, *words],  # noqa: S607 - whichever git the service's own PATH has
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""
