"""Where a table's bytes are: among the run's artifacts, in the file that a logged dataset names, in the file that
agent.yaml names. A logged source is a hint from whoever trained: it may only lead below folders that the
configuration trusts, and never onto the network."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from venturalitica_agent.domain.run import LoggedDataset, Run
from venturalitica_agent.errors import UntrustedInput
from venturalitica_agent.fetch.advice import advice_for
from venturalitica_agent.fetch.problems import Unfit, listed
from venturalitica_agent.fetch.tables import MAX_FILE, format_of
from venturalitica_agent.stores.base import RemoteFile, Store
from venturalitica_agent.stores.local_files import copy_regular, inside, local_path, safe_relative
from venturalitica_agent.strict_yaml import shown

ARTIFACT, FILE, NAMED = "artifact:", "file:", "named:"
_MAX_SOURCE = 1 << 16


@dataclass(frozen=True, slots=True)
class Source:
    """One table that can be copied.

    Attributes:
        place: the same for two sources that are the same file, and where it is found again.
        origin: where it is, in words.
        copy: writes the bytes to the given path.
        modified: when the file was last written, ms since the epoch; None when nobody says.
        again: for `found_again`, where that is not `place`: a name that may lead to another file by then.
    """

    name: str
    place: str
    origin: str
    format: str
    copy: Callable[[Path], None]
    modified: int | None = None
    again: str = ""


def from_artifact(store: Store, run: Run, file: RemoteFile, origin: str = "") -> Source:
    """A file that the store can fetch for the run: among its artifacts, unless `origin` says otherwise.

    Raises:
        UntrustedInput: a hostile path. Unfit: a file that we can't read.
    """
    path = str(safe_relative(file.path))
    if file.size is not None and file.size > MAX_FILE:
        raise Unfit(f"{shown(path)} is {file.size:,} bytes; at most {MAX_FILE:,} are read", code="unreadable")
    return Source(
        name=path,
        place=f"{ARTIFACT}{path}",
        origin=origin or f"artifact {path} of the run",
        format=format_of(path),
        copy=lambda to: store.fetch_file(run.ref.run_id, path, to),
    )


def from_file(path: Path) -> Source:
    """A file that agent.yaml names. Links are followed, because whoever writes agent.yaml is trusted."""
    real = Path(os.path.realpath(path))
    try:
        return replace(
            _local(path.name, real, real.parent, f"file {path} (named in agent.yaml)"), again=f"{NAMED}{path}"
        )
    except OSError as error:
        raise Unfit(
            f"the file {shown(str(path))} that agent.yaml names can't be read: {error.strerror}",
            remedy="correct the path in agent.yaml, or put the file there",
            code="missing",
        ) from error


def from_dataset(store: Store, run: Run, dataset: LoggedDataset, roots: Sequence[Path]) -> Source:
    """The file that a logged dataset says it came from.

    Raises:
        Unfit: it names no file that can be reached. UntrustedInput: it names one that must not be read.
    """
    name = f"dataset {shown(dataset.name)}"
    bind = f"{advice_for(run).log_file}, or name it in agent.yaml under `data:`"
    uri = source_uri(dataset)
    if not uri:
        raise Unfit(
            f"the {name} was logged without its rows (its source is {shown(dataset.source_type or 'unknown')})",
            remedy=bind,
            code="missing",
        )
    artifact = artifact_path(run, uri)
    if artifact:
        return from_artifact(store, run, RemoteFile(artifact, None))
    try:
        path = local_path(uri)
    except ValueError as error:
        raise UntrustedInput(f"the source of the {name} is no URI: {shown(uri)}", remedy=bind) from error
    if path is None:
        raise Unfit(
            f"the source of the {name} is {shown(uri)}; it is not fetched from the network",
            remedy=bind,
            code="missing",
        )
    if ".." in path.parts or not str(path).isprintable():
        raise UntrustedInput(f"the source of the {name} is refused: {shown(uri)}", remedy=bind)
    try:
        real, root = _find(path, roots, name, bind)
        return _local(dataset.name, real, root, f"source {uri} of the logged {name}")
    except OSError as error:
        raise Unfit(f"the source {shown(uri)} of the {name} can't be read: {error.strerror}", remedy=bind) from error


def found_again(store: Store, run: Run, place: str, roots: Sequence[Path]) -> Source:
    """The table that an earlier audit read from `place` (`Source.again` or `Source.place`), as it is now.

    Raises:
        Unfit: it is not there. UntrustedInput: something is in its place that must not be read.
    """
    if place.startswith(ARTIFACT):
        return from_artifact(store, run, RemoteFile(place.removeprefix(ARTIFACT), None))
    if place.startswith(NAMED):
        return from_file(Path(place.removeprefix(NAMED)))
    path = Path(place.removeprefix(FILE))
    try:
        real = inside(path, roots)
        if real != path:
            raise UntrustedInput(
                "is not a regular file (a folder, device, socket or pipe is refused)", subject=str(path)
            )
        return _local(path.name, real, real.parent, f"file {path}")
    except OSError as error:
        raise Unfit(f"the file {shown(str(path))} can't be read: {error.strerror}", code="missing") from error


def source_uri(dataset: LoggedDataset) -> str:
    """The URI in a logged source, which is JSON such as `{"uri": "data/test.csv"}`; empty when there is none."""
    if len(dataset.source) > _MAX_SOURCE:
        return ""
    try:
        said = json.loads(dataset.source)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(said, dict):
        return ""
    found = next((said[key] for key in ("uri", "url", "path") if isinstance(said.get(key), str)), "")
    return str(found)


def artifact_path(run: Run, uri: str) -> str:
    """The path among the run's artifacts that a URI leads to; empty when it leads elsewhere."""
    root = f"{run.artifact_uri.rstrip('/')}/"
    return uri.removeprefix(root) if run.artifact_uri and uri.startswith(root) else ""


def same_name(dataset: LoggedDataset, path: str) -> bool:
    """Whether a logged dataset names the same file as `path`, going by the last part of its source or by its name."""
    file = PurePosixPath(path)
    return PurePosixPath(source_uri(dataset)).name == file.name or dataset.name in (file.name, file.stem)


def _find(path: Path, roots: Sequence[Path], name: str, bind: str) -> tuple[Path, Path]:
    """The real path below exactly one root, and that root."""
    if path.is_absolute():
        real = inside(path, roots)
        found = {real} if real.exists() else set()
    else:
        found = {inside(root / path, roots) for root in roots if (root / path).exists()}
    if not found:
        raise Unfit(
            f"the source {shown(str(path))} of the {name} does not exist below {listed([str(r) for r in roots])}",
            remedy=bind,
            code="missing",
        )
    if len(found) > 1:
        raise Unfit(
            f"the source {shown(str(path))} of the {name} exists more than once: {listed(sorted(map(str, found)))}",
            remedy="name the right one in agent.yaml under `data:`",
            code="ambiguous",
        )
    real = found.pop()
    root = next(Path(os.path.realpath(r)) for r in roots if real.is_relative_to(os.path.realpath(r)))
    return real, root


def _local(name: str, real: Path, root: Path, origin: str) -> Source:
    about = real.stat()
    if not stat.S_ISREG(about.st_mode):
        raise UntrustedInput("is not a regular file (a folder, device, socket or pipe is refused)", subject=str(real))
    relative = real.relative_to(root).as_posix()
    return Source(
        name=name,
        place=f"{FILE}{real}",
        origin=origin,
        format=format_of(real.name),
        copy=lambda to: copy_regular(root, relative, to, MAX_FILE),
        modified=about.st_mtime_ns // 1_000_000,
    )
