"""Bytes of artifacts that an offline run logged: W&B stages a copy of each file on the machine that trains, and names
the copy in the run's log. A log is untrusted, so a name in it only leads below folders that are trusted, and what lies
there is only taken when it has the digest of the manifest: whoever forges a log learns nothing that they don't have."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from venturalitica_agent.errors import PermanentError, UntrustedInput
from venturalitica_agent.stores.local_files import copy_regular, inside
from venturalitica_agent.stores.wandb_artifacts import Hasher, hasher_of
from venturalitica_agent.stores.wandb_records import StagedFile

_CHUNK = 1 << 20
_LONGEST = 4096


def default_staging(environ: Mapping[str, str]) -> Path:
    """Where W&B stages artifacts for a user with this environment (source: wandb.env.get_data_dir)."""
    return _folder(environ, "WANDB_DATA_DIR", "XDG_DATA_HOME", ".local/share") / "artifacts" / "staging"


def default_cache(environ: Mapping[str, str]) -> Path:
    """Where W&B keeps artifacts by digest once they are uploaded (source: wandb.env.get_cache_dir)."""
    return _folder(environ, "WANDB_CACHE_DIR", "XDG_CACHE_HOME", ".cache") / "artifacts" / "obj"


def _folder(environ: Mapping[str, str], own: str, shared: str, below_home: str) -> Path:
    if environ.get(own):
        return Path(environ[own]).absolute()
    base = Path(environ[shared]) if environ.get(shared, "").startswith("/") else Path.home() / below_home
    return base / "wandb"


class Staging:
    """Finds and copies staged files.

    Args:
        roots: folders that a staged copy may lie in.
        cache: W&B's own cache, where a copy lies under its digest after it was uploaded.
    """

    def __init__(self, roots: Sequence[Path], cache: Path) -> None:
        self._roots = tuple(roots)
        self._cache = cache

    def copy(self, file: StagedFile, destination: Path, subject: str) -> None:
        """Write the bytes of `file` to `destination`, which doesn't exist yet; they are those of the manifest.

        Raises:
            UntrustedInput: it is only a reference, its copy lies outside, or holds other bytes.
            PermanentError: there is no copy (any more), or this user may not read it.
        """
        if file.ref:
            raise UntrustedInput(
                f"{file.path} is only a reference to {file.ref[:200]!r}, which is not followed",
                subject=subject,
                remedy="log the file itself with artifact.add_file, or bind local data with {file: …}",
            )
        ways: list[Callable[[], None]] = [lambda: self._from_staging(file, destination)]
        cached = _cache_path(file)
        if cached:
            ways.append(lambda: copy_regular(self._cache, cached, destination))
        first: PermanentError | None = None
        for way in ways:
            try:
                way()
                _check(destination, file, subject)
            except PermanentError as error:
                destination.unlink(missing_ok=True)
                first = first or error
            else:
                return
        raise first or PermanentError("has no copy on this machine", subject=subject)

    def _from_staging(self, file: StagedFile, destination: Path) -> None:
        if not file.staged or not file.staged.isprintable() or len(file.staged) > _LONGEST:
            raise UntrustedInput("the log names no copy of this file, or in a way that is refused", subject=file.path)
        staged = self._located(Path(file.staged))
        try:
            real = inside(staged, self._roots)
        except UntrustedInput as error:
            raise UntrustedInput(
                f"W&B's copy of {file.path} {error.what}",
                subject=file.staged[:300],
                remedy=f"if the runs that log there are to be audited, add {staged.parent} to `artifacts:` of this "
                "store in agent.yaml",
            ) from error
        root = next(r for r in map(_real, self._roots) if real.is_relative_to(r))
        try:
            copy_regular(root, real.relative_to(root).as_posix(), destination)
        except UntrustedInput:
            raise
        except PermanentError as error:
            raise PermanentError(
                f"W&B's copy of {file.path} can't be had: {error.what}",
                subject=file.staged[:300],
                remedy=error.remedy
                or "somebody cleaned up since: audit the run in its W&B project if it was synced, or train it again",
            ) from error

    def _located(self, staged: Path) -> Path:
        """`staged` as an absolute path. With the policy "immutable" W&B takes no copy and names the file as training
        code did, which may be relative to wherever that ran: most likely beside the `wandb` folder."""
        if staged.is_absolute():
            return staged
        places = [root / staged for root in self._roots]
        return next((place for place in places if os.path.lexists(place)), places[0])


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _cache_path(file: StagedFile) -> str:
    """Where the file lies in W&B's cache, relative to it; empty for what is no digest."""
    kind, _, digest = file.digest.partition(":")
    try:
        name = base64.b64decode(digest, validate=True).hex()
    except (binascii.Error, ValueError):
        return ""
    return f"{kind}/{name[:2]}/{name[2:]}" if len(name) == 32 else ""


def digest_of(path: Path, hasher: Hasher) -> bytes:
    """The digest of the file's bytes by `hasher`, which is used up by it."""
    with path.open("rb") as source:
        while chunk := source.read(_CHUNK):
            hasher.update(chunk)
    return hasher.digest()


def _check(path: Path, file: StagedFile, subject: str) -> None:
    kind, _, promised = file.digest.partition(":")
    if base64.b64encode(digest_of(path, hasher_of(kind))).decode() != promised:
        raise UntrustedInput(
            f"W&B's copy of {file.path} holds other bytes than were logged",
            subject=subject,
            remedy="train the run again: somebody changed the staged copy, or the disk is damaged",
        )
