"""Files on this machine that somebody else may write: opened without following links, only as regular files, only
below a folder that the configuration trusts."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from venturalitica_agent.errors import AgentError, PermanentError, StoreUnavailable, UntrustedInput

MAX_FILE = 8 << 30
_CHUNK = 1 << 20
_UNFINISHED = (".artifact.uploading.", ".venturalitica.")
_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def safe_relative(path: str) -> PurePosixPath:
    """`path` as a relative POSIX path, or UntrustedInput: no `..`, no root, no control characters, no backslash."""
    parts = PurePosixPath(path).parts
    bad = (
        not parts
        or path.startswith("/")
        or ".." in parts
        or "\\" in path
        or len(path) > 1024
        or any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in path)
    )
    if bad:
        raise UntrustedInput(
            "this artifact path is refused (absolute, upward, or with control characters)", subject=repr(path[:200])
        )
    return PurePosixPath(*parts)


def local_path(uri: str) -> Path | None:
    """The path that a `file:` URI or a bare path names; None when the URI lives elsewhere."""
    if not uri:
        raise UntrustedInput("an empty location is refused", remedy="the store must say where its files are")
    parts = urlsplit(uri)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise UntrustedInput("a file URI that names another machine is refused", subject=uri[:200])
        return Path(unquote(parts.path))
    if parts.scheme == "" or ("://" not in uri and len(parts.scheme) > 1 and uri.startswith(("/", "."))):
        return Path(uri)
    return None


def must_be_there(folder: Path, remedy: str) -> None:
    """Raises StoreUnavailable, with what to do to have it, while a watched folder is not there yet."""
    if not folder.is_dir():
        raise StoreUnavailable(
            "there is no such folder yet", subject=str(folder), remedy=f"it is watched for; {remedy}"
        )


def inside(path: Path, roots: Sequence[Path]) -> Path:
    """`path` with links resolved, if that is inside one of `roots`; else UntrustedInput."""
    real = Path(os.path.realpath(path))
    for root in roots:
        if real.is_relative_to(Path(os.path.realpath(root))):
            return real
    listed = ", ".join(str(r) for r in roots) or "none"
    raise UntrustedInput(
        f"lies outside the folders that this store may read ({listed})",
        subject=str(path)[:300],
        remedy="if it is right, add its folder to the store's `artifacts:` in agent.yaml",
    )


@contextmanager
def open_folder(root: Path, relative: PurePosixPath | None = None, *, create: bool = False) -> Iterator[int]:
    """A descriptor of `root / relative`, walked without following any link below `root`."""
    shown = f"{root}/{relative or ''}"
    with _explained(shown):
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in relative.parts if relative else ():
            with _explained(shown):
                if create:
                    with suppress(FileExistsError):
                        os.mkdir(part, 0o777, dir_fd=fd)  # the umask decides, as for MLflow
                deeper = os.open(part, _DIR, dir_fd=fd)
            os.close(fd)
            fd = deeper
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _explained(subject: str) -> Iterator[None]:
    """What the system refuses, in our errors: a link, an absent file, or a trouble that may pass."""
    try:
        yield
    except OSError as error:
        raise _as_ours(error, subject[:300]) from error


def _as_ours(error: OSError, subject: str) -> AgentError:
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return UntrustedInput("is a link, or lies behind one or behind a file: refused", subject=subject)
    if error.errno in (errno.ENOENT, errno.ENXIO, errno.ENAMETOOLONG):
        return PermanentError("there is no such file or folder", subject=subject)
    if error.errno == errno.EISDIR:
        return PermanentError("a folder is at the place of this file", subject=subject, remedy="move it away")
    if error.errno in (errno.EACCES, errno.EPERM):
        return PermanentError(
            "this user may not open it", subject=subject, remedy="give the agent's user the right to read and write it"
        )
    return StoreUnavailable(
        f"the file system says: {error.strerror}",
        subject=subject,
        remedy="check the disk; it is tried again with growing pauses",
    )


def _open_regular(name: str, folder: int) -> int:
    # O_NONBLOCK: opening a FIFO must not wait for a writer that never comes.
    with _explained(name):
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise UntrustedInput("is not a regular file (a link, device, socket or pipe is refused)", subject=name[:200])
    return fd


def read_regular(root: Path, path: str, limit: int = MAX_FILE) -> bytes:
    """Bytes of the regular file `root/path`."""
    relative = safe_relative(path)
    with open_folder(root, relative.parent) as folder:
        fd = _open_regular(relative.name, folder)
        with os.fdopen(fd, "rb") as source, _explained(path):
            content = source.read(limit + 1)
    if len(content) > limit:
        raise UntrustedInput(f"is larger than {limit} bytes", subject=path[:200])
    return content


def copy_regular(root: Path, path: str, destination: Path, limit: int = MAX_FILE) -> None:
    """Copy the regular file `root/path` to `destination`, in bounded pieces."""
    relative = safe_relative(path)
    destination.parent.mkdir(parents=True, exist_ok=True)
    with open_folder(root, relative.parent) as folder:
        fd = _open_regular(relative.name, folder)
        with os.fdopen(fd, "rb") as source, destination.open("xb") as target:
            left = limit
            while chunk := source.read(min(_CHUNK, left + 1)):
                left -= len(chunk)
                if left < 0:
                    raise UntrustedInput(f"is larger than {limit} bytes", subject=path[:200])
                target.write(chunk)


def list_regular(root: Path, *, limit: int = 10_000) -> Iterator[tuple[str, int]]:
    """(relative POSIX path, size) of every regular file below `root`; links are listed as refused by raising.

    Files that MLflow (`.artifact.uploading.*`) or we are still writing are left out: they become real by rename.
    """
    seen = 0
    pending = [PurePosixPath()]
    while pending:
        folder = pending.pop()
        with open_folder(root, folder) as fd, os.scandir(fd) as entries:
            for entry in sorted(entries, key=lambda e: e.name):
                seen += 1
                if seen > limit:
                    raise UntrustedInput(f"holds more than {limit} files", subject=str(root))
                relative = safe_relative(str(folder / entry.name))
                if entry.is_dir(follow_symlinks=False):
                    pending.append(relative)
                elif entry.is_file(follow_symlinks=False):
                    if not entry.name.startswith(_UNFINISHED):
                        with _explained(str(relative)):
                            size = entry.stat(follow_symlinks=False).st_size
                        yield str(relative), size
                else:
                    raise UntrustedInput(
                        "is not a regular file (a link, device, socket or pipe is refused)", subject=str(relative)
                    )


def write_regular(root: Path, path: str, content: bytes) -> None:
    """Write `root/path` atomically (temporary name, fsync, rename), never through a link."""
    relative = safe_relative(path)
    with open_folder(root, relative.parent, create=True) as folder, _explained(path):
        # A name that nobody can prepare, made anew: an existing one could be a hard link to another file.
        temporary = f".venturalitica.{secrets.token_hex(8)}"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=folder)
        try:
            with os.fdopen(fd, "wb") as target:
                target.write(content)
                target.flush()
                os.fsync(target.fileno())
            os.rename(temporary, relative.name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            os.unlink(temporary, dir_fd=folder)
            raise
        os.fsync(folder)
