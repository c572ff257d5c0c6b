"""Checking what lies in a folder: one bundle, or everything that was downloaded of a run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from venturalitica_verify.bundle import PROOF, attempt, verify_bundle
from venturalitica_verify.folder import find_bundles, read_bundle, strange_snapshots
from venturalitica_verify.log import read_log
from venturalitica_verify.notes import read_proof
from venturalitica_verify.outcome import Broken, Check, Outcome


def verify_path(
    path: Path, keys: Sequence[bytes], log: Path | None = None, authorities: Sequence[bytes] = ()
) -> dict[str, list[Check]]:
    """The checks of each bundle at or below a folder, by its own; and of what lies beside them.

    Args:
        log: a copy of the log that the service published.
        authorities: certificates (PEM) that are trusted to give the time.
    """
    bundles = find_bundles(path)
    found = {str(folder): _verify_folder(folder, keys, authorities) for folder in bundles}
    if log is not None and bundles:
        for name, checks in verify_log(log, keys, bundles).items():
            found.setdefault(name, []).extend(checks)
    if strange := strange_snapshots(path, bundles):
        words = f"{', '.join(strange)} is the policy of no evidence here"
        found[str(path)] = [Check("policy snapshot", Outcome.FAIL, words)]
    return found


def verify_log(folder: Path, keys: Sequence[bytes], bundles: Sequence[Path] = ()) -> dict[str, list[Check]]:
    """The check of a published log; and of each bundle, whether it is in there."""
    try:
        log = read_log(folder)
    except Broken as error:
        return {str(folder): [Check("log", Outcome.FAIL, str(error))]}

    def proven(bundle: Path) -> str:
        try:
            proof = (bundle / PROOF).read_bytes()
        except OSError as error:
            raise Broken(f"{PROOF} can't be read: {error.strerror}") from error
        return log.check_proof(read_proof(proof))

    def whole() -> str | Check:
        words = f"{len(log.entries)} entries of {log.checkpoint.origin} lead to its signed head"
        if not keys:
            return Check("log", Outcome.NOT_CHECKABLE, f"{words}; no key was given to tell whose it is")
        return f"{words}, by key {log.check_signer(keys)[:16]}…"

    return {str(b): [attempt("published log", partial(proven, b))] for b in bundles} | {
        str(folder): [attempt("log", whole)]
    }


def _verify_folder(folder: Path, keys: Sequence[bytes], authorities: Sequence[bytes]) -> list[Check]:
    """The checks of one bundle on disk."""
    try:
        files, subjects = read_bundle(folder)
    except Broken as error:
        return [Check("files", Outcome.FAIL, str(error))]
    return verify_bundle(files, keys, subjects, authorities)
