"""Pages of the list of runs: present verdicts, and where runs stand that have none or are not done, in one order.

The order is by the run's end, newest first; a page is found by the row that it comes after or before, so turning pages
costs the same everywhere in the list.
"""

from __future__ import annotations

import base64
import heapq
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from pydantic import Field, TypeAdapter

from venturalitica_agent.domain.ledger import Phase
from venturalitica_agent.errors import PermanentError
from venturalitica_agent.state.reading import counted
from venturalitica_agent.state.tables import audits, runs, verdict_controls, verdicts

STANDING = {
    Phase.RUNNING: "running",
    Phase.SETTLING: "pending",
    Phase.DUE: "pending",
    Phase.CLAIMED: "pending",
    Phase.IGNORED: "ignored",
    Phase.STUCK: "stuck",
    Phase.GONE: "gone",
}
_MOST_CHOICES = 1000
_Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]
_KEY = TypeAdapter(tuple[_Whole, Literal[0, 1], str, str, str])


class BadQuery(PermanentError):
    """What was asked for can't be understood."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows; an empty field means all.

    Attributes:
        since, until: of the run's end, in milliseconds since the epoch; `until` is not included.
        control: that the run does not pass. text: part of the run's name, or the beginning of its id.
    """

    status: str = ""
    policy: str = ""
    store: str = ""
    experiment: str = ""
    control: str = ""
    since: int | None = None
    until: int | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Key:
    """A row's place in the order; `kind` is 0 for a verdict, 1 for where a run stands."""

    ended: int
    kind: int
    store: str
    run_id: str
    policy: str

    def token(self) -> str:
        plain = json.dumps([self.ended, self.kind, self.store, self.run_id, self.policy], separators=(",", ":"))
        return base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")

    @classmethod
    def read(cls, token: str) -> Key:
        """Raises BadQuery on anything that `token` does not write."""
        try:
            return cls(*_KEY.validate_json(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)), strict=True))
        except ValueError as error:
            raise BadQuery(
                "is not a place in the list", subject=token[:80], remedy="begin at the first page"
            ) from error


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows in order; how many there are in all, and how many come before the first of these.

    Each row has `kind`, `ended`, `store`, `run_id`, `policy`, `version`, `run_name`, `experiment`, `status`,
    `audit_id`, `decided_at` and `reason`; those of verdicts also `failed`, `counts` and `link`, the others `end_time`.
    """

    rows: list[dict[str, Any]]
    total: int
    skipped: int

    def key(self, index: int) -> str:
        """The place of a row, for the page after or before it."""
        return _key(self.rows[index]).token()


class Listing:
    """Safe from several threads."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def page(self, wanted: Wanted, *, size: int, after: Key | None = None, before: Key | None = None) -> Page:
        """The rows after a place, before one, or the first ones."""
        sides = [side for side in (_verdicts(wanted), _standing(wanted)) if side is not None]
        with self._engine.connect() as db:
            found = [_fetched(db, side, size, after, before) for side in sides]
            rows = _merged(found, back=before is not None)[:size]
            if before is not None:
                rows.reverse()
            if after is None and before is None:
                counts = [
                    (len(part) if len(part) < size else _counted(db, side, None)[0], 0)
                    for side, part in zip(sides, found, strict=True)
                ]
            else:
                counts = [_counted(db, side, _key(rows[0]) if rows else None) for side in sides]
            _complete(db, rows)
        return Page(rows, sum(total for total, _ in counts), sum(skipped for _, skipped in counts))

    def choices(self) -> dict[str, list[str]]:
        """Every `status`, `policy`, `experiment` and `control` that there is; at most a thousand of each."""
        with self._engine.connect() as db:
            found = {c.name: _distinct(db, c) for c in (verdicts.c.status, verdicts.c.policy, verdicts.c.experiment)}
            found["control"] = _distinct(db, verdict_controls.c.control)
            phases = _distinct(db, runs.c.phase)
        found["status"] += dict.fromkeys(STANDING[Phase(phase)] for phase in phases if phase != Phase.DONE)
        return found


@dataclass(frozen=True, slots=True)
class _Side:
    """One of the two tables that the list is made of: its wanted rows, and what their order is by."""

    kind: int
    query: sa.Select[Any]
    ended: sa.ColumnElement[int]
    names: tuple[sa.ColumnElement[str], ...]

    def beyond(self, key: Key, *, back: bool) -> sa.ColumnElement[bool]:
        """The rows after a place (or, going back, before it)."""
        ended, names = self.ended, sa.tuple_(*self.names)
        at = sa.tuple_(*(key.store, key.run_id, key.policy)[: len(self.names)])
        if self.kind == key.kind:
            tie = names < at if back else names > at
        else:
            tie = sa.true() if (self.kind < key.kind) == back else sa.false()
        # The first condition follows from the second; it is the one that an index can answer.
        if back:
            return (ended >= key.ended) & sa.or_(ended > key.ended, tie)
        return (ended <= key.ended) & sa.or_(ended < key.ended, tie)


def _verdicts(wanted: Wanted) -> _Side | None:
    if wanted.status in STANDING.values():
        return None
    v = verdicts.c
    query: sa.Select[Any] = sa.select(*v, sa.literal(0).label("kind"), sa.literal("").label("reason"))
    for name in ("status", "policy", "store", "experiment"):
        if value := getattr(wanted, name):
            query = query.where(v[name] == value)
    if wanted.control:
        c = verdict_controls.c
        same = (c.store == v.store) & (c.run_id == v.run_id) & (c.policy == v.policy)
        query = query.join(verdict_controls, same & (c.control == wanted.control))
    if wanted.text:
        named = v.folded_name.contains(wanted.text.casefold(), autoescape=True)
        query = query.where(named | _begins(v.run_id, wanted.text))
    query = _within(query, v.ended, wanted).where(counted())  # last: SQLite asks in this order, and this costs most
    return _Side(0, query, v.ended, (v.store, v.run_id, v.policy))


def _standing(wanted: Wanted) -> _Side | None:
    phases = [phase for phase, status in STANDING.items() if wanted.status in ("", status)]
    if not phases or wanted.policy or wanted.control:
        return None
    r = runs.c
    ended = sa.func.coalesce(r.end_time, r.start_time, 0)
    query = sa.select(
        sa.literal(1).label("kind"),
        ended.label("ended"),
        r.store,
        r.run_id,
        r.experiment_id,
        r.experiment_id.label("experiment"),
        r.phase.label("status"),
        r.reason,
        r.end_time,
        *(sa.literal("").label(name) for name in ("policy", "version", "run_name", "audit_id")),
    ).where(r.phase.in_(phases))
    if wanted.store:
        query = query.where(r.store == wanted.store)
    if wanted.experiment:
        called = sa.select(verdicts.c.store, verdicts.c.experiment_id).where(verdicts.c.experiment == wanted.experiment)
        by_name = sa.tuple_(r.store, r.experiment_id).in_(called)
        query = query.where(by_name | (r.experiment_id == wanted.experiment))
    if wanted.text:
        query = query.where(_begins(r.run_id, wanted.text))
    return _Side(1, _within(query, ended, wanted), ended, (r.store, r.run_id))


def _begins(column: sa.Column[str], text: str) -> sa.ColumnElement[bool]:
    # Not LIKE: which letters it takes for the same differs from database to database.
    return sa.func.substr(column, 1, len(text)) == text


def _within(query: sa.Select[Any], ended: sa.ColumnElement[int], wanted: Wanted) -> sa.Select[Any]:
    if wanted.since is not None:
        query = query.where(ended >= wanted.since)
    return query if wanted.until is None else query.where(ended < wanted.until)


def _fetched(db: sa.Connection, side: _Side, size: int, after: Key | None, before: Key | None) -> list[dict[str, Any]]:
    """The nearest rows of one side, in the order in which one walks."""
    query = side.query
    if before is not None:
        query = query.where(side.beyond(before, back=True))
        query = query.order_by(side.ended.asc(), *(name.desc() for name in side.names))
    else:
        if after is not None:
            query = query.where(side.beyond(after, back=False))
        query = query.order_by(side.ended.desc(), *side.names)
    return [dict(row) for row in db.execute(query.limit(size)).mappings()]


def _merged(found: Iterable[list[dict[str, Any]]], *, back: bool) -> list[dict[str, Any]]:
    # Within a kind the database's order stands; between kinds their number decides.
    sign = 1 if back else -1
    return list(heapq.merge(*found, key=lambda row: (sign * row["ended"], -sign * row["kind"])))


def _counted(db: sa.Connection, side: _Side, key: Key | None) -> tuple[int, int]:
    """How many rows a side has, and how many of them come before a place."""
    before = sa.literal(0) if key is None else sa.func.sum(sa.case((side.beyond(key, back=True), 1), else_=0))
    total, skipped = db.execute(side.query.with_only_columns(sa.func.count(), before)).one()
    return total, skipped or 0


def _complete(db: sa.Connection, rows: list[dict[str, Any]]) -> None:
    """Add to each row what only other tables know of it."""
    a, v = audits.c, verdicts.c
    behind: dict[tuple[str, ...], Any] = {}
    for found in _looked_up(db, (a.store, a.run_id, a.audit_id), [row for row in rows if row["kind"] == 0], a):
        behind[found.store, found.run_id, found.audit_id] = found
    bare = [row for row in rows if row["kind"] == 1]
    names = {(one.store, one.run_id): one.run_name for one in _looked_up(db, (v.store, v.run_id), bare, v)}
    called = {key: _called(db, *key) for key in {(row["store"], row["experiment_id"]) for row in bare}}
    for row in rows:
        if row["kind"] == 0:
            audit = behind[row["store"], row["run_id"], row["audit_id"]]
            row |= {"failed": audit.failed, "counts": audit.counts, "link": audit.link}
        else:
            row["run_name"] = names.get((row["store"], row["run_id"]), "")
            row["experiment"] = called[row["store"], row["experiment_id"]] or row["experiment"]
            row["status"] = STANDING[Phase(row["status"])]
            row["decided_at"] = None


def _looked_up(
    db: sa.Connection, key: tuple[sa.Column[Any], ...], rows: list[dict[str, Any]], columns: Iterable[sa.Column[Any]]
) -> Iterable[Any]:
    """The rows of a table whose key is that of one of `rows`, without what weighs much."""
    # Not as IN: SQLite would read the whole table.
    wanted = [sa.and_(*(column == row[column.name] for column in key)) for row in rows]
    light = [column for column in columns if column is not audits.c.decision]
    return db.execute(sa.select(*light).where(sa.or_(*wanted))).all() if wanted else ()


def _called(db: sa.Connection, store: str, experiment_id: str) -> str | None:
    """The name of an experiment, as the newest verdict in it knows it."""
    v = verdicts.c
    query = sa.select(v.experiment).where(v.store == store, v.experiment_id == experiment_id)
    return db.execute(query.order_by(v.decided_at.desc()).limit(1)).scalar()


def _distinct(db: sa.Connection, column: sa.Column[str]) -> list[str]:
    """The different values of an indexed column, ascending, each found by one step into the index."""
    first = sa.select(sa.func.min(column).label("value")).cte("found", recursive=True)
    following = sa.select(sa.func.min(column)).where(column > first.c.value).scalar_subquery()
    found = first.union_all(sa.select(following).where(first.c.value.is_not(None)))
    query = sa.select(found.c.value).where(found.c.value.is_not(None)).limit(_MOST_CHOICES)
    return list(db.execute(query).scalars())


def _key(row: dict[str, Any]) -> Key:
    return Key(row["ended"], row["kind"], row["store"], row["run_id"], row["policy"])
