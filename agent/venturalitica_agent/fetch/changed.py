"""Are the model and the tables of an audit still what was audited? Whoever may write to the store, or to a file that
agent.yaml names, can replace them after the verdict.

What is on this machine is first asked for what the file system says of it (size, inode, change time), and read only
where that is not what it was. What is elsewhere is read, unless the tracker itself sees to it that it never changes.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

from venturalitica_agent.domain.run import LoggedModel, Run
from venturalitica_agent.domain.subject import DataSubject, ModelSubject, Subject
from venturalitica_agent.errors import PermanentError, RunGone, UntrustedInput
from venturalitica_agent.fetch.cache import Cache
from venturalitica_agent.fetch.models import copy_model
from venturalitica_agent.fetch.sources import ARTIFACT, FILE, NAMED, found_again
from venturalitica_agent.fetch.subject import copy_table
from venturalitica_agent.logging import get_logger
from venturalitica_agent.stores.base import Store
from venturalitica_agent.stores.local_files import local_path

log = get_logger(__name__)

# Two writes within the grain of a file's stamps look alike.
_GRAIN_NS = 2_000_000_000
_VERSION = re.compile(r"[^/]+:v\d+(/|\Z)")


class Inputs:
    """What audits of one run have looked at, as it is now.

    Args:
        roots: local folders that the files of logged datasets may be read from.
    """

    def __init__(self, store: Store, run: Run, cache: Cache, roots: Sequence[Path]) -> None:
        self._store = store
        self._run = run
        self._cache = cache
        self._roots = roots
        self._looked: dict[str, str] = {}

    def mark(self, subjects: Sequence[Subject]) -> str:
        """Sixty-four hex characters that are others as soon as a file is; empty where only reading can tell."""
        marks = []
        for subject in subjects:
            if subject.model is not None:
                model = self._logged(subject.model)
                marks.append(_stamp(_folder(model), subject.model.name if self._store.versioned else ""))
            for data in subject.data.values():
                path = data.place.removeprefix(ARTIFACT)
                marks.append(_stamp(self._file(data.place), path if self._store.versioned else ""))
        return sha256(json.dumps(marks).encode()).hexdigest() if all(marks) else ""

    def changed(self, subject: Subject) -> list[str]:
        """What is not what was audited, a sentence each. What is gone, or can't be reached, has not changed.

        Raises:
            RunGone: the run was deleted. RetryableError: the store or the disk is away.
        """
        words = [self._model(subject.model)] if subject.model is not None else []
        words += [self._table(split, data) for split, data in sorted(subject.data.items())]
        return [one for one in words if one]

    def _model(self, audited: ModelSubject) -> str:
        model = self._logged(audited)
        if model is None:
            return ""  # unlinked from the run, which makes another revision of it
        key = f"model {model.model_id} {model.path}"
        if key not in self._looked:
            try:
                there = copy_model(self._store, self._run, model, self._cache)
                self._looked[key] = there.digest if there.files else ""
            except RunGone:
                raise
            except PermanentError as error:
                self._looked[key] = self._unread(_folder(model), error, key)
        return _told(self._looked[key], audited.digest, "the model")

    def _table(self, split: str, audited: DataSubject) -> str:
        if not audited.place:
            return ""  # by an agent that did not note where it had read
        key = f"data {audited.place}"
        if key not in self._looked:
            try:
                source = found_again(self._store, self._run, audited.place, self._roots)
                self._looked[key] = copy_table(source, self._cache)[1].sha256
            except RunGone:
                raise
            except PermanentError as error:
                self._looked[key] = self._unread(self._file(audited.place), error, key)
        return _told(self._looked[key], audited.file.sha256, f"the {split} data")

    def _unread(self, path: Path | None, error: PermanentError, key: str) -> str:
        """ "refused" where a link or a device took the place of what was audited, else empty."""
        if isinstance(error, UntrustedInput) and path is not None and _linked(path):
            return "refused"
        log.info("inputs.unreadable", run=self._run.ref.run_id, reason=f"{key}: {error}")
        return ""

    def _logged(self, audited: ModelSubject) -> LoggedModel | None:
        if audited.place:
            return LoggedModel(audited.name, self._run.artifact_uri, path=audited.place)
        same = (m for m in self._run.models if (m.model_id, m.name) == (audited.model_id, audited.name) and m.ready)
        return next(same, None)

    def _file(self, place: str) -> Path | None:
        """Where a table is on this machine; None when it is elsewhere."""
        for kind in (FILE, NAMED):
            if place.startswith(kind):
                return Path(place.removeprefix(kind))
        folder = _local(self._run.artifact_uri)
        return folder / place.removeprefix(ARTIFACT) if folder and place else None


def _told(now: str, audited: str, what: str) -> str:
    if now == "refused":
        return (
            f"{what} were replaced by a link or a device" if what.endswith("data") else f"{what} was replaced by links"
        )
    if now in ("", audited):
        return ""
    return f"{what} changed: audited was SHA-256 {audited}, now there is {now}"


def _folder(model: LoggedModel | None) -> Path | None:
    folder = _local(model.location) if model is not None else None
    return folder / model.path if folder is not None and model is not None else None


def _local(location: str) -> Path | None:
    try:
        path = local_path(location)
    except UntrustedInput:
        return None
    return path if path is not None and path.is_absolute() else None


def _stamp(path: Path | None, versioned: str) -> str:
    """What changes with the files at a path; empty where nothing can be told without reading them."""
    if path is None:
        return versioned if _VERSION.match(versioned) else ""
    try:
        seen = [(str(one.relative_to(path)), *_facts(one)) for one in _tree(path)]
    except OSError:
        return ""
    if not seen or time.time_ns() - max(changed for _, changed, *_ in seen) < _GRAIN_NS:
        return ""
    return json.dumps(seen)


def _facts(path: Path) -> tuple[int, int, int]:
    """The change time, because nobody can set that one back, the size and the inode; of what a link leads to."""
    about = path.stat()
    return about.st_ctime_ns, about.st_size, about.st_ino


def _tree(path: Path) -> Iterator[Path]:
    """A file, or a folder with everything below it; links to folders are not entered."""
    yield path
    for parent, folders, files in os.walk(path, followlinks=False):
        folders.sort()
        yield from (Path(parent, name) for name in sorted([*folders, *files]))


def _linked(path: Path) -> bool:
    """Whether a link, or what is neither file nor folder, is at this place, above it or below it."""
    return any(one.is_symlink() for one in path.parents) or any(map(_odd, _tree(path)))


def _odd(path: Path) -> bool:
    return path.is_symlink() or (path.exists() and not path.is_file() and not path.is_dir())
