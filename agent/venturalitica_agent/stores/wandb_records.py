"""What the records of a W&B log say of its run: a few facts for noticing it, everything else for auditing it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

from venturalitica_agent.stores.naming import text as encodable
from venturalitica_agent.stores.wandb_artifacts import hasher_of
from venturalitica_agent.stores.wandb_log import (
    BLOCK,
    Fields,
    Kind,
    LogReader,
    Malformed,
    fields,
    messages,
    number,
    text,
    texts,
)

MOST_FILES = 10_000  # of one artifact, and of all artifacts of a run together
_MOST_ENTRIES = 20_000  # of config and of summary
_FAR = 8 << 20  # bytes within which the record of the run itself must come
_MANIFEST = b"wandb-artifact-manifest-v1\n"  # source: wandb.sdk.artifacts.artifact_manifests.artifact_manifest_v1


@dataclass(frozen=True, slots=True)
class Glimpse:
    """What noticing needs to know of a run.

    Attributes:
        whole: whether the record of the run itself could be read.
        run_id, project, entity: as W&B shall know the run; empty where it wasn't told.
        start_time: ms since the epoch. runtime: whole seconds, rounded down.
        exit_code: None while the run has not said that it ended.
    """

    whole: bool = False
    run_id: str = ""
    entity: str = ""
    project: str = ""
    start_time: int | None = None
    exit_code: int | None = None
    runtime: int = 0


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A file of an artifact.

    Attributes:
        digest: "md5:<base64>" or "xxh128:<base64>" of its bytes, by the manifest.
        staged: where W&B put a copy on the machine that trained.
        ref: where its bytes are, when W&B only holds a reference.
    """

    path: str
    size: int
    digest: str
    staged: str = ""
    ref: str = ""


@dataclass(frozen=True, slots=True)
class StagedArtifact:
    """An artifact that the run logged.

    Attributes:
        digest: hex of the manifest's hash; the server will know the version by it.
        ready: whether it was completely logged.
        problem: why its files can't be used; empty when they can.
    """

    name: str
    type: str
    digest: str
    aliases: tuple[str, ...] = ()
    files: tuple[StagedFile, ...] = ()
    ready: bool = True
    problem: str = ""


@dataclass(frozen=True, slots=True)
class LoggedRun:
    """Everything that a log tells of its run.

    Attributes:
        summary: nested names are joined by dots.
        damage: what is wrong with a log that lies between its beginning and its end; empty for a whole log, and for
            one that is torn at its end: then it holds everything that was written before.
    """

    glimpse: Glimpse
    name: str = ""
    group: str = ""
    job_type: str = ""
    tags: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    artifacts: tuple[StagedArtifact, ...] = ()
    damage: str = ""


def glimpse(source: BinaryIO) -> Glimpse:
    """The record of the run at the log's beginning, and that of its exit in the last two blocks. Reads no more."""
    found = Glimpse()
    for kind, record in LogReader(source, until=_FAR).records((Kind.RUN,)):
        found = _with(found, kind, record)
        break
    size = source.seek(0, os.SEEK_END)
    return _ended(source, found, max(0, (size - 1) // BLOCK - 1) * BLOCK)


def full_glimpse(source: BinaryIO) -> Glimpse:
    """The same, with the exit looked for in the whole log: something may have been written long after it."""
    return _ended(source, glimpse(source), 0)


def _ended(source: BinaryIO, found: Glimpse, start: int) -> Glimpse:
    for kind, record in LogReader(source, start, lenient=True).records((Kind.EXIT,)):
        found = _with(found, kind, record)
    return found


def _with(found: Glimpse, kind: Kind, record: Fields) -> Glimpse:
    if kind is Kind.EXIT:
        return replace(found, exit_code=number(record, 1), runtime=number(record, 2))
    if found.whole:  # a run may be named anew, not moved
        return found
    started = fields(b"".join(messages(record, 17)))
    seconds, nanos = number(started, 1), number(started, 2)
    return replace(
        found,
        whole=True,
        run_id=encodable(text(record, 1)),
        entity=encodable(text(record, 2)),
        project=encodable(text(record, 3)),
        start_time=seconds * 1000 + nanos // 1_000_000 if 0 < seconds < 1 << 40 else None,
    )


def read_run(source: BinaryIO) -> LoggedRun:
    """Everything in a log, up to the first thing in it that isn't whole."""
    reader, told = LogReader(source), _Told()
    damage = ""
    try:
        for kind, record in reader.records(tuple(Kind)):
            told.add(kind, record)
    except Malformed as error:
        damage = str(error)
    if reader.stopped and not damage and _goes_on(source, reader.end):
        damage = reader.stopped
    return told.run(f"its log is damaged at byte {reader.end:,}: {damage}" if damage else "")


def _goes_on(source: BinaryIO, end: int) -> bool:
    """Whether there are whole records behind `end`: then what is there is no torn end, but a hole."""
    rest = LogReader(source, end // BLOCK * BLOCK, lenient=True)
    for _ in rest.records(()):
        pass
    return rest.end > end


class _Told:
    """Gathers what one record after the other tells; the last word on anything counts."""

    def __init__(self) -> None:
        self._glimpse = Glimpse()
        self._about: Fields = {}
        self._config: dict[str, bytes] = {}
        self._summary: dict[str, bytes] = {}
        self._artifacts: list[StagedArtifact] = []
        self._files = 0

    def add(self, kind: Kind, record: Fields) -> None:
        """Raises Malformed for what is no such record, or too much of it."""
        match kind:
            case Kind.RUN:
                self._glimpse = _with(self._glimpse, kind, record)
                self._about = record
                for config in messages(record, 4):
                    _update(self._config, fields(config))
                for summary in messages(record, 5):
                    _update(self._summary, fields(summary))
            case Kind.EXIT:
                self._glimpse = _with(self._glimpse, kind, record)
            case Kind.CONFIG:
                _update(self._config, record)
            case Kind.SUMMARY:
                _update(self._summary, record)
            case Kind.ARTIFACT:
                artifact = _artifact(record, MOST_FILES - self._files)
                self._files += 1 + len(artifact.files)
                if self._files > MOST_FILES:
                    raise Malformed(f"it tells of more than {MOST_FILES:,} artifacts and files in them")
                self._artifacts.append(artifact)

    def run(self, damage: str) -> LoggedRun:
        return LoggedRun(
            self._glimpse,
            name=encodable(text(self._about, 8)),
            group=encodable(text(self._about, 6)),
            job_type=encodable(text(self._about, 7)),
            tags=tuple(encodable(tag) for tag in texts(self._about, 10)[:_MOST_ENTRIES]),
            config=_plain(self._config),
            summary=_plain(self._summary),
            artifacts=tuple(self._artifacts),
            damage=damage,
        )


def _update(entries: dict[str, bytes], record: Fields) -> None:
    """Apply a ConfigRecord or SummaryRecord. Values stay JSON: most of them are replaced before anybody looks."""
    for item in messages(record, 1):
        found = fields(item)
        entries[_name(found)] = b"".join(messages(found, 16)[-1:])
    for item in messages(record, 2):
        entries.pop(_name(fields(item)), None)
    if len(entries) > _MOST_ENTRIES:
        raise Malformed(f"its config or summary has more than {_MOST_ENTRIES:,} entries")


def _name(item: Fields) -> str:
    return text(item, 1) or ".".join(texts(item, 2))


def _plain(entries: Mapping[str, bytes]) -> dict[str, Any]:
    return {encodable(name): value for name, content in entries.items() for value in _json(content)}


def _json(content: bytes) -> Iterator[Any]:
    try:
        yield json.loads(content)
    except (ValueError, RecursionError):
        return


def _artifact(record: Fields, room: int) -> StagedArtifact:
    manifest = fields(b"".join(messages(record, 12)))
    entries = messages(manifest, 4)
    name, digest, problem = encodable(text(record, 5)), text(record, 6).lower(), ""
    if text(manifest, 5):
        problem = "its list of files is so long that W&B keeps it in a file of its own, which is not read"
    elif len(entries) > room:
        problem = f"it has {len(entries):,} files; at most {MOST_FILES:,} are read in the artifacts of a run"
    files: tuple[StagedFile, ...] = ()
    if not problem:
        files, problem = _files([fields(e) for e in entries], digest)
    return StagedArtifact(
        name=name,
        type=encodable(text(record, 4)),
        digest=digest,
        aliases=tuple(encodable(alias) for alias in texts(record, 11)),
        files=files,
        ready=bool(number(record, 14)),
        problem=problem,
    )


def _files(entries: list[Fields], digest: str) -> tuple[tuple[StagedFile, ...], str]:
    """The files of a manifest, if it is the one that `digest` (hex) is of; else why not."""
    digests = {text(e, 1): text(e, 2) for e in entries}
    lines = "".join(f"{path}:{digests[path]}\n" for path in sorted(digests)).encode()
    kind = next((k for k in ("md5", "xxh128") if _hex(k, _MANIFEST + lines) == digest), "")
    if not kind:
        return (), "its list of files is not the one that its digest names"
    found = {
        path: StagedFile(path, number(e, 4), f"{kind}:{digests[path]}", staged=text(e, 6), ref=text(e, 3))
        for e in entries
        for path in (text(e, 1),)
    }
    return tuple(found[path] for path in sorted(found)), ""


def _hex(kind: str, content: bytes) -> str:
    hasher = hasher_of(kind)
    hasher.update(content)
    return hasher.digest().hex()
