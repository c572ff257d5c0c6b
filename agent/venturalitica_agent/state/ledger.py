"""The ledger of runs: `domain.ledger.Entry` rows in SQL. Every change is one transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from venturalitica_agent.domain.ledger import MAX_FAILURES, Entry, Phase
from venturalitica_agent.domain.run import RunRef, RunStatus
from venturalitica_agent.state.dialects import insert_of
from venturalitica_agent.state.tables import audits, runs

_QUEUED = (Phase.DUE, Phase.CLAIMED)
_RETRIED = (runs.c.failures > 0) | (runs.c.reason != "")


class Ledger:
    """Reads and writes `Entry` rows. Safe from several threads; times are seconds since the epoch."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._insert = insert_of(engine)

    def get(self, store: str, run_id: str) -> Entry | None:
        with self._engine.connect() as db:
            row = db.execute(sa.select(runs).where(runs.c.store == store, runs.c.run_id == run_id)).mappings().first()
        return _entry(row) if row else None

    def of_store(self, store: str) -> dict[str, Entry]:
        """Every entry of a store by run id."""
        with self._engine.connect() as db:
            rows = db.execute(sa.select(runs).where(runs.c.store == store)).mappings().all()
        return {row["run_id"]: _entry(row) for row in rows}

    def every(self) -> Iterator[Entry]:
        """Every entry, by store and run id."""
        with self._engine.connect() as db:
            for row in db.execute(sa.select(runs).order_by(runs.c.store, runs.c.run_id)).mappings():
                yield _entry(row)

    def swap(self, changes: Iterable[tuple[Entry | None, Entry]], *, now: float) -> bool:
        """Put entries, each in the place of the one that it was made from (None: of no entry).

        Where somebody else changed phase or revision meanwhile, theirs stays. Returns whether all were put.
        """
        rows = [
            {**_row(entry, now), "was_phase": was.phase.value if was else "", "was": was.ref.revision if was else ""}
            for was, entry in changes
        ]
        if not rows:
            return True
        statement = self._insert(runs).values({c.name: sa.bindparam(c.name) for c in runs.c})
        keep = ("store", "run_id", "seen_at", "due_since")
        changed = {c.name: statement.excluded[c.name] for c in runs.c if c.name not in keep}
        statement = statement.on_conflict_do_update(
            index_elements=["store", "run_id"],
            set_={**changed, "due_since": _due_since(statement.excluded.phase, statement.excluded.changed_at)},
            where=(runs.c.phase == sa.bindparam("was_phase")) & (runs.c.revision == sa.bindparam("was")),
        )
        with self._engine.begin() as db:
            return db.execute(statement, rows).rowcount == len(rows)

    def settle(self, now: float) -> list[Entry]:
        """Entries whose quiet time is over; the caller looks at each run once more before it is due."""
        with self._engine.connect() as db:
            found = db.execute(
                sa.select(runs).where(runs.c.phase == Phase.SETTLING, runs.c.ready_at <= now).order_by(runs.c.ready_at)
            )
            return [_entry(row) for row in found.mappings()]

    def due(self, now: float, limit: int, *, only: Collection[tuple[str, str]] | None = None) -> list[Entry]:
        """What to claim next: runs that ended while we watched first, then the backlog, newest first."""
        wanted = sa.true() if only is None else sa.tuple_(runs.c.store, runs.c.run_id).in_(list(only))
        with self._engine.connect() as db:
            found = db.execute(
                sa.select(runs)
                .where(runs.c.phase == Phase.DUE, runs.c.ready_at <= now, wanted)
                .order_by(runs.c.live.desc(), runs.c.end_time.desc(), runs.c.run_id)
                .limit(limit)
            )
            return [_entry(row) for row in found.mappings()]

    def in_phase(self, phase: Phase, store: str | None = None) -> list[Entry]:
        with self._engine.connect() as db:
            query = sa.select(runs).where(runs.c.phase == phase)
            if store is not None:
                query = query.where(runs.c.store == store)
            return [_entry(row) for row in db.execute(query.order_by(runs.c.start_time)).mappings()]

    def forget_gone(self, before: float) -> int:
        """Remove the runs that were deleted in their store before a time and never got a verdict; returns how many."""
        same = (audits.c.store == runs.c.store) & (audits.c.run_id == runs.c.run_id)
        gone = runs.delete().where(runs.c.phase == Phase.GONE, runs.c.changed_at < before)
        with self._engine.begin() as db:
            return db.execute(gone.where(~sa.exists().where(same))).rowcount

    def move(self, entry: Entry, phase: Phase, *, now: float, **changes: Any) -> bool:
        """Change phase and fields of `entry`, unless someone changed its phase, revision or attempts meanwhile."""
        with self._engine.begin() as db:
            done = db.execute(
                runs.update()
                .where(
                    runs.c.store == entry.ref.store,
                    runs.c.run_id == entry.ref.run_id,
                    runs.c.revision == entry.ref.revision,
                    runs.c.phase == entry.phase,
                    runs.c.attempts == entry.attempts,
                )
                .values(phase=phase, changed_at=now, due_since=_due_since(sa.literal(phase.value), now), **changes)
            )
        return done.rowcount == 1

    def next_moment(self, now: float) -> float | None:
        """The earliest moment at which time alone makes an entry ready; None when there is none.

        What is due already waits for room, not for time.
        """
        later = (runs.c.phase == Phase.DUE) & (runs.c.ready_at > now)
        waiting = (runs.c.phase == Phase.SETTLING) | later
        with self._engine.connect() as db:
            return db.execute(sa.select(sa.func.min(runs.c.ready_at)).where(waiting)).scalar()

    def hasten(self, now: float, *, settle: float, pause: float) -> None:
        """Let nothing wait until later than so many seconds from now: for its quiet time, or for its next attempt."""
        with self._engine.begin() as db:
            for phase, longest in ((Phase.SETTLING, settle), (Phase.DUE, pause)):
                late = (runs.c.phase == phase) & (runs.c.ready_at > now + longest)
                db.execute(sa.update(runs).where(late).values(ready_at=now + longest))

    def given_up(self) -> list[Entry]:
        """The runs of which `gave_up` is true, the one that was tried last first."""
        failed = (runs.c.phase == Phase.DONE) & (runs.c.failures >= MAX_FAILURES)
        query = sa.select(runs).where((runs.c.phase == Phase.STUCK) | failed).order_by(runs.c.changed_at.desc())
        with self._engine.connect() as db:
            return [_entry(row) for row in db.execute(query).mappings()]

    def queue(self, now: float) -> dict[str, float]:
        """What waits: `depth` runs, the first of which became due `oldest` seconds ago; `retries` of them failed
        before or found their store away."""
        since = sa.func.min(sa.func.coalesce(runs.c.due_since, runs.c.changed_at))
        waits = sa.select(sa.func.count(), since, sa.func.sum(sa.case((_RETRIED, 1), else_=0)))
        with self._engine.connect() as db:
            depth, oldest, retries = db.execute(waits.where(runs.c.phase.in_(_QUEUED))).one()
        return {"depth": depth, "oldest": max(0.0, now - oldest) if depth else 0.0, "retries": retries or 0}

    def counts(self) -> Mapping[tuple[str, str, str], int]:
        """(store, phase, reason) -> number of runs."""
        with self._engine.connect() as db:
            found = db.execute(
                sa.select(runs.c.store, runs.c.phase, runs.c.reason, sa.func.count()).group_by(
                    runs.c.store, runs.c.phase, runs.c.reason
                )
            )
            return {(store, phase, reason): count for store, phase, reason, count in found}


def _due_since(phase: sa.ColumnElement[str], now: Any) -> sa.ColumnElement[float | None]:
    """Of a row that comes into a phase: since when it is due, which another attempt doesn't change."""
    before = sa.case((_queued(runs.c.phase), sa.func.coalesce(runs.c.due_since, runs.c.changed_at)), else_=now)
    return sa.case((_queued(phase), before), else_=None)


def _queued(phase: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    # Not IN, whose values can't be bound for many rows at once.
    return sa.or_(*(phase == sa.literal_column(f"'{one.value}'") for one in _QUEUED))


def _row(entry: Entry, now: float) -> dict[str, Any]:
    ref = entry.ref
    return {
        "store": ref.store,
        "run_id": ref.run_id,
        "experiment_id": ref.experiment_id,
        "status": ref.status.value,
        "start_time": ref.start_time,
        "end_time": ref.end_time,
        "revision": ref.revision,
        "phase": entry.phase.value,
        "reason": entry.reason,
        "live": entry.live,
        "ready_at": entry.ready_at,
        "due_since": now if entry.phase in _QUEUED else None,
        "attempts": entry.attempts,
        "failures": entry.failures,
        "job": entry.job,
        "audited_revision": entry.audited_revision,
        "seen_at": now,
        "changed_at": now,
    }


def _entry(row: sa.RowMapping) -> Entry:
    status, _, rest = row["revision"].partition("@")
    mark, _, inputs = rest.partition("#")
    ref = RunRef(
        store=row["store"],
        run_id=row["run_id"],
        experiment_id=row["experiment_id"],
        status=RunStatus(status),
        start_time=row["start_time"],
        end_time=row["end_time"],
        deleted=row["phase"] == Phase.GONE,
        inputs=inputs,
        mark="" if mark == str(row["end_time"] or 0) else mark,
    )
    return Entry(
        ref=ref,
        phase=Phase(row["phase"]),
        reason=row["reason"],
        live=row["live"],
        ready_at=row["ready_at"],
        attempts=row["attempts"],
        failures=row["failures"],
        job=row["job"],
        audited_revision=row["audited_revision"],
    )
