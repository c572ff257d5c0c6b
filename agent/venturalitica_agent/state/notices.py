"""What people are to be told of, kept until it was told: each once for each channel, whatever crashes.

Verdicts and drift are taken from the log, entry by entry, in the transaction that also says how far it was read.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from venturalitica_agent.state.dialects import insert_of
from venturalitica_agent.state.tables import audits, channels, log_entries, log_heads, notices, stores

_BATCH = 200
_REST = 30.0  # seconds between two messages, at least: a backlog is not a flood
_UNTIL_PUBLISHED = 600.0  # seconds that a verdict in the log is awaited on its run before it is told without its name


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to tell, in one line."""

    number: int
    event: str
    line: str
    at: float


@dataclass(frozen=True, slots=True)
class Logged:
    """An entry of the log that a channel may be told of, with what the records know of its run; empty where nothing."""

    number: int
    facts: Mapping[str, Any]
    names: Mapping[str, Any]


class Outbox:
    """The notices of one channel. Times are seconds since the epoch by our clock."""

    def __init__(self, engine: sa.Engine, channel: str) -> None:
        self._engine = engine
        self._insert = insert_of(engine)
        self._channel = channel

    def open(self, now: float) -> float:
        """Begin with what happens from now on, unless the channel is known; returns since when it is."""
        size = sa.func.coalesce(sa.select(log_heads.c.size).scalar_subquery(), 0)
        row = {"name": self._channel, "since": now, "log_size": size}
        with self._engine.begin() as db:
            db.execute(self._insert(channels).values(**row).on_conflict_do_nothing(index_elements=["name"]))
            return float(db.execute(sa.select(channels.c.since).where(self._mine)).scalar_one())

    @property
    def _mine(self) -> sa.ColumnElement[bool]:
        return channels.c.name == self._channel

    def read_log(self, now: float) -> Sequence[Logged]:
        """What is new in the log, up to a verdict that is being published just now."""
        with self._engine.connect() as db:
            read = db.execute(sa.select(channels.c.log_size).where(self._mine)).scalar_one()
            entries = db.execute(
                sa.select(log_entries.c.number, log_entries.c.content, log_entries.c.at)
                .where(log_entries.c.number >= read)
                .order_by(log_entries.c.number)
                .limit(_BATCH)
            ).all()
            found = []
            for number, content, at in entries:
                facts = json.loads(content)
                names = _names(db, facts)
                if facts["kind"] == "verdict" and not names and now - at < _UNTIL_PUBLISHED:
                    break
                found.append(Logged(number, facts, names))
        return found

    def note_read(self, upto: int, told: Sequence[tuple[int, str, str]], now: float) -> None:
        """Keep what is to be told of the log's entries before `upto`, as (number, event, line)."""
        with self._engine.begin() as db:
            for number, event, line in told:
                self._put(db, f"log:{number}", event, line, now)
            db.execute(channels.update().where(self._mine, channels.c.log_size < upto).values(log_size=upto))

    def note(self, key: str, event: str, line: str, now: float) -> None:
        """Keep one thing to tell; nothing new where its key is known."""
        with self._engine.begin() as db:
            self._put(db, key, event, line, now)

    def _put(self, db: sa.Connection, key: str, event: str, line: str, now: float) -> None:
        row = {"channel": self._channel, "key": key, "event": event, "line": line, "at": now}
        statement = self._insert(notices).values(**row)
        db.execute(statement.on_conflict_do_nothing(index_elements=["channel", "key"]))

    def last_key(self, beginning: str) -> str:
        """The key of the last notice of those whose keys begin so; empty where there is none."""
        like = notices.c.key.startswith(beginning, autoescape=True)
        query = sa.select(notices.c.key).where(notices.c.channel == self._channel, like)
        with self._engine.connect() as db:
            return db.execute(query.order_by(notices.c.number.desc()).limit(1)).scalar() or ""

    def waiting(self, now: float, digest: float) -> Sequence[Notice]:
        """What is to be sent now: nothing while the channel rests after a message or a failure."""
        with self._engine.connect() as db:
            channel = db.execute(sa.select(channels).where(self._mine)).mappings().one()
            rest = max(digest, _REST) if channel["sent_at"] else digest
            if now < max(channel["next_at"], (channel["sent_at"] or channel["since"]) + rest):
                return ()
            query = sa.select(notices.c.number, notices.c.event, notices.c.line, notices.c.at)
            query = query.where(notices.c.channel == self._channel, notices.c.sent_at.is_(None))
            return [Notice(*row) for row in db.execute(query.order_by(notices.c.number))]

    def sent(self, numbers: Collection[int], now: float) -> None:
        with self._engine.begin() as db:
            db.execute(notices.update().where(notices.c.number.in_(numbers)).values(sent_at=now))
            fresh = {"failures": 0, "next_at": 0.0, "error": "", "sent_at": now}
            db.execute(channels.update().where(self._mine).values(**fresh))

    def failed(self, words: str, next_at: float) -> int:
        """Note a failure; returns how many there were in a row."""
        with self._engine.begin() as db:
            more = {"failures": channels.c.failures + 1, "next_at": next_at, "error": words}
            db.execute(channels.update().where(self._mine).values(**more))
            return int(db.execute(sa.select(channels.c.failures).where(self._mine)).scalar_one())

    def failures(self) -> int:
        with self._engine.connect() as db:
            return int(db.execute(sa.select(channels.c.failures).where(self._mine)).scalar_one())

    def forget(self, *, sent_before: float, waiting_before: float) -> int:
        """Remove what was told long ago, and give up what could not be told; returns how much was given up."""
        mine = notices.c.channel == self._channel
        with self._engine.begin() as db:
            db.execute(notices.delete().where(mine, notices.c.sent_at < sent_before))
            late = notices.delete().where(mine, notices.c.sent_at.is_(None), notices.c.at < waiting_before)
            given_up = db.execute(late).rowcount
            if given_up:
                more = {"given_up": channels.c.given_up + given_up}
                db.execute(channels.update().where(self._mine).values(**more))
        return given_up


def stores_now(engine: sa.Engine) -> Sequence[Mapping[str, Any]]:
    """id, uri, ok and since (the last change of `ok`) of every store."""
    with engine.connect() as db:
        query = sa.select(stores.c.id, stores.c.uri, stores.c.ok, stores.c.since).order_by(stores.c.id)
        return [dict(row) for row in db.execute(query).mappings()]


def channels_now(engine: sa.Engine) -> Sequence[Mapping[str, Any]]:
    """How each channel is doing: name, waiting, failures, error, sent_at, given_up."""
    waits = (notices.c.channel == channels.c.name) & notices.c.sent_at.is_(None)
    waiting = sa.select(sa.func.count()).where(waits).scalar_subquery().label("waiting")
    c = channels.c
    with engine.connect() as db:
        query = sa.select(c.name, waiting, c.failures, c.error, c.sent_at, c.given_up).order_by(c.name)
        return [dict(row) for row in db.execute(query).mappings()]


def _names(db: sa.Connection, facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """Name, experiment and link of the run that an entry is about, once its verdict is published."""
    about = (audits.c.store == facts.get("store"), audits.c.run_id == facts.get("run_id"))
    query = sa.select(audits.c.run_name, audits.c.experiment, audits.c.link, audits.c.failed).where(*about)
    if "audit_id" in facts:
        query = query.where(audits.c.audit_id == facts["audit_id"])
    row = db.execute(query.limit(1)).mappings().first() if facts.get("run_id") else None
    return dict(row) if row else {}
