"""Checking what lies in a folder: one bundle, or everything that was downloaded of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from venturalitica_verify.bundle import verify_bundle
from venturalitica_verify.folder import find_bundles, read_bundle, strange_snapshots
from venturalitica_verify.outcome import Broken, Check, Outcome


def verify_path(path: Path, keys: Sequence[bytes]) -> dict[str, list[Check]]:
    """The checks of each bundle at or below a folder, by its own; and of what lies beside them."""
    bundles = find_bundles(path)
    found = {str(folder): _verify_folder(folder, keys) for folder in bundles}
    if strange := strange_snapshots(path, bundles):
        words = f"{', '.join(strange)} is the policy of no evidence here"
        found[str(path)] = [Check("policy snapshot", Outcome.FAIL, words)]
    return found


def _verify_folder(folder: Path, keys: Sequence[bytes]) -> list[Check]:
    """The checks of one bundle on disk."""
    try:
        files, subjects = read_bundle(folder)
    except Broken as error:
        return [Check("files", Outcome.FAIL, str(error))]
    return verify_bundle(files, keys, subjects)
