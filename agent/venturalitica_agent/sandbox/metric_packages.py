"""Installed packages that bring metrics, known by their metadata alone: nothing of them is imported here.

What runs in the sandbox is a copy of a package's files, each of which has the SHA-256 that the package's RECORD says.
"""

from __future__ import annotations

import csv
import shutil
from base64 import urlsafe_b64decode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import Distribution, entry_points
from pathlib import Path, PurePosixPath

from venturalitica_agent import api
from venturalitica_agent.errors import SandboxError
from venturalitica_agent.sandbox.answer import printable

_MOST_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Package:
    """An installed distribution with metrics.

    Attributes:
        folder: where it is installed. files: (path in `folder`, SHA-256 in hex) of each of its files.
        record: SHA-256 (hex) of its RECORD.
        entries: metric's name -> "module:function".
    """

    name: str
    version: str
    folder: Path
    files: tuple[tuple[str, str], ...]
    record: str
    entries: Mapping[str, str]

    @property
    def words(self) -> str:
        return f"{self.name} {self.version}"


def distributions() -> Iterable[Distribution]:
    """Those with entry points in our group, each once; nothing is imported to find them."""
    found: dict[str, Distribution] = {}
    for point in entry_points(group=api.GROUP):
        if point.dist is not None:
            found.setdefault(point.dist.name.lower(), point.dist)
    return found.values()


def package_of(distribution: Distribution) -> Package:
    words = printable(f"{distribution.name} {distribution.version}", 150)
    record = _record(distribution)
    editable = '"editable": true' in (distribution.read_text("direct_url.json") or "")
    if record is None or editable:
        raise SandboxError(
            "it is installed from a working copy, whose files can change under an audit",
            subject=words,
            remedy="Install it properly: `pip install .` without -e.",
        )
    files = []
    for name, digest, *_ in csv.reader(record.decode().splitlines()):
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not digest:
            continue  # scripts, RECORD itself, and what Python compiled: none of it is needed
        method, _, value = digest.partition("=")
        if method != "sha256":
            raise SandboxError(f"its RECORD has {method} digests", subject=words, remedy="Install it with pip.")
        files.append((str(path), urlsafe_b64decode(value + "=" * (-len(value) % 4)).hex()))
    return Package(
        name=printable(distribution.name, 100),
        version=printable(distribution.version, 50),
        folder=Path(str(distribution.locate_file(""))),
        files=tuple(files),
        record=sha256(record).hexdigest(),
        entries={point.name: point.value for point in distribution.entry_points if point.group == api.GROUP},
    )


def _record(distribution: Distribution) -> bytes | None:
    """The bytes of RECORD, the list that an installer writes of the files it installed."""
    for file in distribution.files or ():
        if file.name == "RECORD" and file.parent.suffix == ".dist-info":
            return Path(str(distribution.locate_file(file))).read_bytes()
    return None


def unpack(package: Package, slot: Path) -> None:
    """Copy the package's files into a slot, beside what they may import of ours.

    Raises:
        SandboxError: when a file isn't what RECORD says.
    """
    shutil.copyfile(api.__file__, slot / "api.py")
    left = _MOST_BYTES
    for name, digest in package.files:
        try:
            with (package.folder / name).open("rb") as file:
                content = file.read(left + 1)
        except OSError:
            content = b""
        left -= len(content)
        if left < 0:
            what = f"it has more than {_MOST_BYTES >> 20} MiB"
            raise SandboxError(what, subject=package.words, remedy="Leave large files out of a package of metrics.")
        if sha256(content).hexdigest() != digest:
            raise SandboxError(
                f"its file {printable(name, 200)} is not the one that was installed",
                subject=package.words,
                remedy="Install the package again, and find out who changed the file.",
            )
        target = slot / "packages" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
