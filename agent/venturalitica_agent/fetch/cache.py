"""Private copies of models and tables, named by what is in them, so that what was hashed is what is used.

One entry is one folder, `entries/<digest>`, where the digest is `files_digest` of the files in it. Everything is
copied into a staging folder, hashed there, and renamed into place; so an entry is complete or absent. Two processes
may share a cache: the kernel's locks (flock) say what is in use and vanish with a process that dies.

An entry is hashed again each time it is handed out. That costs milliseconds for the usual model, and it makes fsync
unnecessary: what a power cut left half written is found and fetched again.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from venturalitica_agent.domain.subject import FileDigest, Subject, files_digest
from venturalitica_agent.errors import RetryableError, UntrustedInput
from venturalitica_agent.stores.local_files import safe_relative

_CHUNK = 1 << 20
_MAX_FILES = 10_000


class CacheMiss(RetryableError):
    """An entry is no longer there, or no longer what it was; fetching again brings it back."""


class CacheUnavailable(RetryableError):
    """The cache's disk is full, read-only or broken."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One folder in the cache and exactly what is in it."""

    path: Path
    digest: str
    files: tuple[FileDigest, ...]


class Cache:
    """A folder of entries.

    Args:
        root: the cache's own folder; made private (0700). Files inside are world-readable below it, because the
            sandbox binds an entry for another user.
        limit: bytes above which the entries used longest ago are removed. Entries that are leased, or were handed
            out less than `grace` seconds ago, are never removed, even when that keeps the cache above its limit.
    """

    def __init__(self, root: Path, *, limit: int = 8 << 30, grace: float = 900.0) -> None:
        self.root = root
        self.limit = limit
        self._grace = grace
        self._entries = root / "entries"
        self._staging_root = root / "staging"
        with _disk_trouble(root):
            for folder in (root, self._entries, self._staging_root):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                folder.chmod(0o700)
            self._clean_up()

    def add(self, fill: Callable[[Path], None], *, limit: int) -> Entry:
        """Let `fill` write files into an empty folder, hash them, and keep them.

        Raises:
            UntrustedInput: there is a link, device or hostile name among them, or more than `limit` bytes.
            CacheUnavailable: the disk refuses.
        """
        with _disk_trouble(self.root):
            with self._staging() as folder:
                content = folder / "content"
                content.mkdir()
                fill(content)
                entry = self._keep(content, _seal(content, limit))
            self.evict()
            return entry

    @contextmanager
    def lease(self, digest: str) -> Iterator[Entry]:
        """An entry, verified, that can't be evicted inside the block. Raises CacheMiss."""
        path = self._entries / digest
        with ExitStack() as held:
            with self._locked(fcntl.LOCK_SH):
                try:
                    held.callback(os.close, fd := os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
                except FileNotFoundError as error:
                    raise CacheMiss("is no longer in the cache", subject=digest, remedy="fetch it again") from error
                fcntl.flock(fd, fcntl.LOCK_SH)
                os.utime(path)
            with _disk_trouble(self.root):
                files = _read_entry(path)
            if files is None or files_digest(files) != digest:
                raise CacheMiss("was damaged in the cache", subject=digest, remedy="fetch it again")
            yield Entry(path, digest, files)

    @contextmanager
    def use(self, subject: Subject) -> Iterator[None]:
        """Hold everything that `subject` points at in this cache, verified. Raises CacheMiss."""
        paths = [Path(d.path) for d in subject.data.values()]
        if subject.model is not None:
            paths.append(Path(subject.model.path))
        with ExitStack() as held:
            for digest in sorted({p.relative_to(self._entries).parts[0] for p in paths}):
                held.enter_context(self.lease(digest))
            yield

    def evict(self) -> None:
        """Remove what was used longest ago until the entries fit into the limit."""
        with self._staging() as bin_, self._locked(fcntl.LOCK_EX):
            by_age = sorted((p.stat().st_mtime, p) for p in self._entries.iterdir())
            sizes = {path: _size(path) for _, path in by_age}
            excess = sum(sizes.values()) - self.limit
            for used_at, path in by_age:
                if excess <= 0 or abs(time.time() - used_at) < self._grace:  # later than now: by a clock that was wrong
                    break
                if _take_away(path, bin_ / path.name):
                    excess -= sizes[path]

    # -- inside ---------------------------------------------------------------------------------------------
    def _keep(self, content: Path, files: tuple[FileDigest, ...]) -> Entry:
        digest = files_digest(files)
        path = self._entries / digest
        with self._locked(fcntl.LOCK_SH):
            if path.exists():
                os.utime(path)
                if _read_entry(path) == files:
                    return Entry(path, digest, files)
                path.rename(content.parent / "damaged")
            try:
                content.rename(path)
            except OSError:
                # Another process was faster with the same content.
                if not path.exists():
                    raise
            os.utime(path)
        return Entry(path, digest, files)

    @contextmanager
    def _staging(self) -> Iterator[Path]:
        """A folder of our own, locked while we live so that nobody takes it for a leftover."""
        with self._locked(fcntl.LOCK_SH):
            folder = Path(tempfile.mkdtemp(dir=self._staging_root))
            fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(fd, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(fd)

    def _clean_up(self) -> None:
        """Remove staging folders whose process died."""
        with self._locked(fcntl.LOCK_EX):
            for folder in list(self._staging_root.iterdir()):
                if _take_away(folder, folder.with_name(f"{folder.name}.leftover")):
                    shutil.rmtree(folder.with_name(f"{folder.name}.leftover"), ignore_errors=True)

    @contextmanager
    def _locked(self, mode: int) -> Iterator[None]:
        fd = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, mode)
            yield
        finally:
            os.close(fd)


@contextmanager
def _disk_trouble(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CacheUnavailable(
            f"the cache can't be used: {error.strerror or error}",
            subject=str(root),
            remedy="free some space, or check the permissions of that folder",
        ) from error


def _take_away(path: Path, to: Path) -> bool:
    """Rename `path` unless somebody holds it."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.rename(to)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def _size(entry: Path) -> int:
    return sum(p.lstat().st_size for p in entry.rglob("*"))


def _read_entry(path: Path) -> tuple[FileDigest, ...] | None:
    """The files of an entry, or None when it is not readable as one."""
    try:
        return tuple(_hash(path, name) for name in _names(path))
    except (UntrustedInput, FileNotFoundError):
        return None


def _seal(folder: Path, limit: int) -> tuple[FileDigest, ...]:
    """Hash every file and make it read-only; refuse whatever is not a plain private file."""
    names = _names(folder)
    total = sum((folder / n).lstat().st_size for n in names)
    if total > limit:
        raise UntrustedInput(
            f"is {total:,} bytes; at most {limit:,} are read", remedy="log a smaller file, or raise the limit"
        )
    files = tuple(_hash(folder, name) for name in names)
    for name in names:
        (folder / name).chmod(0o444)
    for parent in {folder, *(p for n in names for p in (folder / n).parents if p.is_relative_to(folder))}:
        parent.chmod(0o755)
    return files


def _names(folder: Path) -> list[str]:
    """Relative POSIX names of the regular files below `folder`, sorted."""
    found: list[str] = []
    for parent, folders, files in os.walk(folder, followlinks=False):
        for name in (*folders, *files):
            path = Path(parent, name)
            relative = path.relative_to(folder).as_posix()
            mode = path.lstat()
            if stat.S_ISDIR(mode.st_mode):
                continue
            # A second hard link would let somebody else change our private copy.
            if not stat.S_ISREG(mode.st_mode) or mode.st_nlink != 1:
                raise UntrustedInput(
                    "is not a regular file (a link, device, socket or pipe is refused)", subject=repr(relative[:200])
                )
            safe_relative(relative)
            found.append(relative)
            if len(found) > _MAX_FILES:
                raise UntrustedInput(f"holds more than {_MAX_FILES:,} files")
    return sorted(found)


def _hash(folder: Path, name: str) -> FileDigest:
    digest = sha256()
    fd = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        size = 0
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return FileDigest(name, size, digest.hexdigest())
