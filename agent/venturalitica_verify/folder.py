"""Reading a bundle from a folder, as it was downloaded from a tracker."""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from venturalitica_verify.outcome import Broken

MARKS = ("attestation.dsse.json", "evidence.json", "SHA256SUMS")
SUBJECTS = ("model/", "data/")
_MOST = 64 << 20  # bytes of one file of evidence; models and data are hashed piece by piece


def find_bundles(path: Path) -> Sequence[Path]:
    """The folders of evidence at or below `path`, also those that lack files which a bundle must have."""
    here = [path] if any((path / mark).exists() for mark in MARKS) else []
    below = {found.parent for mark in MARKS for found in path.rglob(mark)}
    return here or sorted(folder for folder in below if not below & set(folder.parents))


def read_bundle(folder: Path) -> tuple[Mapping[str, bytes], Mapping[str, str]]:
    """(the bytes of the evidence's files, the SHA-256 of files of the model and data beside them), by POSIX name.

    Raises:
        Broken: something in the folder is no plain file, or too large to be evidence.
    """
    files, subjects = {}, {}
    for path in sorted(folder.rglob("*")):
        mode, name = path.lstat().st_mode, path.relative_to(folder).as_posix()
        if stat.S_ISDIR(mode):
            continue
        if not stat.S_ISREG(mode):
            raise Broken(f"{name} is no plain file")
        if name.startswith(SUBJECTS):
            subjects[name] = _digest(path)
        elif path.stat().st_size > _MOST:
            raise Broken(f"{name} is too large to be evidence")
        else:
            files[name] = path.read_bytes()
    return files, subjects


def strange_snapshots(path: Path, bundles: Sequence[Path]) -> Sequence[str]:
    """The files of `policy_snapshot/` beside bundles of one run that are not the policy of any of them."""
    known = {p.read_bytes() for bundle in bundles for p in (bundle / "policy_snapshot").glob("*")}
    found = [] if path in bundles else sorted((path / "policy_snapshot").glob("*"))
    return [f"policy_snapshot/{p.name}" for p in found if not p.is_file() or p.read_bytes() not in known]


def _digest(path: Path) -> str:
    digest = sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
