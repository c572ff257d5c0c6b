"""The append-only log: what was decided and by what, in an order that can't be changed afterwards without it showing.

An entry's number is given inside the transaction that writes it, so numbers have no gaps, whoever dies when. Appending
under a key that is there already changes nothing and returns what is there, with the same proof.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import sqlalchemy as sa

from venturalitica_agent.domain import merkle
from venturalitica_agent.state.dialects import insert_of
from venturalitica_agent.state.tables import log_entries, log_heads, timestamps

_HEAD = 1


class Head(Protocol):
    """Who signs the heads of the log."""

    @property
    def public_key(self) -> str: ...

    @property
    def origin(self) -> str:
        """The name that a log which begins now gets."""
        ...

    def checkpoint(self, origin: str, size: int, root: bytes) -> str: ...


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One entry, and what proves its place.

    Attributes:
        number: from 0. key: what it is about; unique.
        path: the inclusion proof of the entry in the log as it was right after it, its sibling first.
        checkpoint: the signed head of that moment. public_key: of who signed it, as PEM.
        signature: of what the entry is about, by the same key; empty where nothing else was signed.
    """

    number: int
    key: str
    content: bytes
    path: tuple[bytes, ...]
    checkpoint: str
    public_key: str
    signature: bytes = b""


class Log:
    """Reads the log and appends to it."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._insert = insert_of(engine)

    def entry(self, key: str) -> LogEntry | None:
        with self._engine.connect() as db:
            return _one(db, key)

    def last(self, kind: str) -> LogEntry | None:
        """The newest of the entries whose keys begin with `kind` and a colon."""
        query = sa.select(log_entries).where(log_entries.c.key.startswith(f"{kind}:", autoescape=True))
        with self._engine.connect() as db:
            row = db.execute(query.order_by(log_entries.c.number.desc()).limit(1)).mappings().first()
        return _entry(row) if row else None

    def containing(self, word: str) -> list[bytes]:
        """The contents of the entries that have `word` in them, the oldest first. Reads the whole log."""
        sought = word.encode()
        with self._engine.connect() as db:
            every = db.execute(sa.select(log_entries.c.content).order_by(log_entries.c.number)).scalars()
            return [content for content in every if sought in content]

    def append(self, key: str, content: bytes, head: Head, *, signature: bytes = b"", now: float) -> LogEntry:
        """Write an entry at the end, unless one has this key; returns the one that has it."""
        with self._engine.begin() as db:
            # Writing first makes everybody else who appends wait, so that what is read here is the end of the log.
            start = self._insert(log_heads).values(id=_HEAD, origin=head.origin, size=0, frontier=b"")
            start = start.on_conflict_do_update(index_elements=["id"], set_={"id": _HEAD})
            origin, size, peaks = db.execute(
                start.returning(log_heads.c.origin, log_heads.c.size, log_heads.c.frontier)
            ).one()
            known = _one(db, key)
            if known is not None:
                return known
            frontier = _split(peaks)
            path = merkle.path_of_next(frontier)
            frontier = merkle.grown(frontier, size, merkle.leaf_hash(content))
            signed = head.checkpoint(origin, size + 1, merkle.root(frontier))
            entry = LogEntry(size, key, content, path, signed, head.public_key, signature)
            db.execute(log_heads.update().values(size=size + 1, frontier=b"".join(frontier)))
            db.execute(
                log_entries.insert().values(
                    number=entry.number,
                    key=key,
                    content=content,
                    path=b"".join(path),
                    checkpoint=signed,
                    public_key=entry.public_key,
                    signature=signature,
                    at=now,
                )
            )
            return entry

    def keep_timestamp(self, message: str, answer: bytes) -> bytes:
        """Remember an authority's answer on a message (its SHA-256), unless there is one; returns the one that is."""
        statement = self._insert(timestamps).values(message=message, answer=answer).on_conflict_do_nothing()
        with self._engine.begin() as db:
            db.execute(statement)
        kept = self.timestamp(message)
        return answer if kept is None else kept

    def timestamp(self, message: str) -> bytes | None:
        with self._engine.connect() as db:
            return db.execute(sa.select(timestamps.c.answer).where(timestamps.c.message == message)).scalar()

    def entries(self) -> Iterator[LogEntry]:
        """Every entry from the first on."""
        with self._engine.connect() as db:
            for row in db.execute(sa.select(log_entries).order_by(log_entries.c.number)).mappings():
                yield _entry(row)

    def origin(self) -> str:
        """The log's name; empty before its first entry."""
        with self._engine.connect() as db:
            return db.execute(sa.select(log_heads.c.origin)).scalar() or ""

    def size(self) -> int:
        """How many entries the log says that it has."""
        with self._engine.connect() as db:
            return db.execute(sa.select(log_heads.c.size)).scalar() or 0


def _one(db: sa.Connection, key: str) -> LogEntry | None:
    row = db.execute(sa.select(log_entries).where(log_entries.c.key == key)).mappings().first()
    return _entry(row) if row else None


def _entry(row: sa.RowMapping) -> LogEntry:
    return LogEntry(
        number=row["number"],
        key=row["key"],
        content=row["content"],
        path=_split(row["path"]),
        checkpoint=row["checkpoint"],
        public_key=row["public_key"],
        signature=row["signature"],
    )


def _split(hashes: bytes) -> tuple[bytes, ...]:
    return tuple(hashes[at : at + merkle.HASH] for at in range(0, len(hashes), merkle.HASH))
