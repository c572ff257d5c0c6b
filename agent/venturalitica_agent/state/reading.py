"""What the status page asks of the state. Connections of its own that can't write; each question is one short
transaction, so nobody who audits ever waits for a reader. Times are seconds since the epoch by our clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from venturalitica_agent.domain.codec import from_plain
from venturalitica_agent.domain.evidence import Decision
from venturalitica_agent.domain.ledger import Phase
from venturalitica_agent.domain.run import RunStatus
from venturalitica_agent.state.opening import open_state
from venturalitica_agent.state.tables import audits, evidence_files, runs, store_faults, stores, verdicts

WAITING = (Phase.SETTLING, Phase.DUE, Phase.CLAIMED)
NOT_COUNTED = (Phase.IGNORED, Phase.GONE)
_LINEAGE = 20
_POOL = 8


def open_reading(url: str) -> sa.Engine:
    """The state behind `url` for reading only; its tables are made first where they are missing.

    Raises:
        ConfigError: the state can't be opened.
    """
    open_state(url).dispose()
    if sa.make_url(url).get_backend_name() != "sqlite":
        return sa.create_engine(
            url,
            pool_size=_POOL,
            pool_pre_ping=True,
            connect_args={"options": "-c default_transaction_read_only=on"},
        )
    engine = sa.create_engine(url, pool_size=_POOL, connect_args={"timeout": 30})

    @sa.event.listens_for(engine, "connect")
    def _read_only(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA query_only=ON")

    return engine


def counted() -> sa.ColumnElement[bool]:
    """Of rows of `verdicts`: whether the run still counts, that is, whether it is neither gone nor ignored."""
    # As one text, since SQLite looks pairs up one after the other; a store's id is always of the same length.
    out = sa.select(runs.c.store.concat(runs.c.run_id)).where(runs.c.phase.in_(NOT_COUNTED))
    return verdicts.c.store.concat(verdicts.c.run_id).not_in(out)


@dataclass(frozen=True, slots=True)
class Tally:
    """How many present verdicts of one status a policy gave in one experiment.

    Attributes:
        week: which of the given weeks they were given in; -1 for before the first.
        newest: when the newest of them was given.
    """

    store: str
    experiment_id: str
    experiment: str
    policy: str
    status: str
    week: int
    count: int
    newest: float


@dataclass(frozen=True, slots=True)
class Queue:
    """Runs of one store in one phase in which they wait or are stuck: how many, and since when the oldest is."""

    store: str
    waits: bool
    count: int
    since: float


class Reading:
    """Safe from several threads."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine

    def _rows(self, query: sa.Select[Any]) -> Sequence[Any]:
        with self.engine.connect() as db:
            return db.execute(query).all()

    # -- the whole ------------------------------------------------------------------------------------------
    def tallies(self, weeks: Sequence[float]) -> list[Tally]:
        """Every present verdict that counts, summed; `weeks` are the beginnings of some weeks, ascending."""
        began = [(verdicts.c.decided_at >= start, index) for index, start in reversed(list(enumerate(weeks)))]
        week = sa.case(*began, else_=-1) if began else sa.literal(-1)
        by = (
            verdicts.c.store,
            verdicts.c.experiment_id,
            verdicts.c.experiment,
            verdicts.c.policy,
            verdicts.c.status,
            week.label("week"),
        )
        query = sa.select(*by, sa.func.count(), sa.func.max(verdicts.c.decided_at)).where(counted()).group_by(*by)
        return [Tally(*row) for row in self._rows(query)]

    def phases(self) -> list[tuple[str, str, str, int]]:
        """(store, phase, reason, how many runs), reasons only of ignored ones."""
        reason = sa.case((runs.c.phase == Phase.IGNORED, runs.c.reason), else_="").label("reason")
        by = (runs.c.store, runs.c.phase, reason)
        return [tuple(row) for row in self._rows(sa.select(*by, sa.func.count()).group_by(*by))]

    def open_experiments(self) -> set[tuple[str, str]]:
        """(store, experiment id) of the experiments in which a run goes on, waits or is stuck."""
        phases = (*WAITING, Phase.RUNNING, Phase.STUCK)
        query = sa.select(runs.c.store, runs.c.experiment_id).where(runs.c.phase.in_(phases)).distinct()
        return {tuple(row) for row in self._rows(query)}

    def queues(self) -> list[Queue]:
        """What waits and what is stuck, by store."""
        # A run that is tried again and again has waited since it ended, not since the last try.
        ended = runs.c.end_time / 1000.0
        known = sa.case((ended > runs.c.seen_at, ended), else_=runs.c.seen_at)
        first = sa.case((known < runs.c.changed_at, known), else_=runs.c.changed_at)
        new = runs.c.phase.in_(WAITING) & (runs.c.audited_revision == "")
        since = sa.func.min(sa.case((new, first), else_=runs.c.changed_at))
        query = sa.select(runs.c.store, runs.c.phase, sa.func.count(), since)
        query = query.where(runs.c.phase.in_((*WAITING, Phase.STUCK))).group_by(runs.c.store, runs.c.phase)
        return [Queue(store, phase in WAITING, count, at) for store, phase, count, at in self._rows(query)]

    def running_since_before(self, moment: float) -> int:
        """Runs that are RUNNING and began before `moment`, see `domain.ledger.stale`."""
        query = sa.select(sa.func.count()).where(
            runs.c.phase == Phase.RUNNING,
            runs.c.status == RunStatus.RUNNING,
            sa.func.coalesce(runs.c.start_time, 0) < moment * 1000,
        )
        return int(self._rows(query)[0][0])

    def last_events(self) -> dict[str, float]:
        """When something last changed on a run, by store."""
        query = sa.select(runs.c.store, sa.func.max(runs.c.changed_at)).group_by(runs.c.store)
        return dict(tuple(row) for row in self._rows(query))

    def decided_by(self) -> list[tuple[str, str, str, int]]:
        """(policy, digest of the version, status, how many present verdicts)."""
        same = (audits.c.store == verdicts.c.store) & (audits.c.run_id == verdicts.c.run_id)
        joined = verdicts.join(audits, same & (audits.c.audit_id == verdicts.c.audit_id))
        by = (verdicts.c.policy, audits.c.policy_digest, verdicts.c.status)
        query = sa.select(*by, sa.func.count()).select_from(joined).where(counted()).group_by(*by)
        return [tuple(row) for row in self._rows(query)]

    def latest_runs(self) -> dict[str, sa.Row[Any]]:
        """`run_id`, `run_name`, `experiment_id` and `link` of the run of each store that ended last."""
        return {store: found for store in self.known_stores() if (found := self._latest(store)) is not None}

    def _latest(self, store: str) -> sa.Row[Any] | None:
        v = verdicts.c
        last = sa.select(v.store, v.run_id, v.audit_id, v.run_name, v.experiment_id)
        last = last.where(v.store == store, counted()).order_by(v.ended.desc()).limit(1)
        one = last.subquery()  # found before it is joined, which a planner would turn round
        same = (audits.c.store == one.c.store) & (audits.c.run_id == one.c.run_id)
        query = sa.select(one.c.run_id, one.c.run_name, one.c.experiment_id, audits.c.link)
        return next(iter(self._rows(query.join(audits, same & (audits.c.audit_id == one.c.audit_id)))), None)

    # -- stores ---------------------------------------------------------------------------------------------
    def known_stores(self) -> dict[str, dict[str, Any]]:
        """Every store on record by id: `uri`, `ok`, `since`, `error`, `remedy`, `scanned_at`."""
        return {row.id: dict(row._mapping) for row in self._rows(sa.select(stores))}

    def faults(self) -> dict[str, sa.Row[Any]]:
        """What last went wrong with each store: `error`, `remedy`, `at`."""
        return {row.store: row for row in self._rows(sa.select(store_faults))}

    # -- one run --------------------------------------------------------------------------------------------
    def ledger_row(self, store: str, run_id: str) -> sa.Row[Any] | None:
        query = sa.select(runs).where(runs.c.store == store, runs.c.run_id == run_id)
        return next(iter(self._rows(query)), None)

    def present_audits(self, store: str, run_id: str) -> list[tuple[sa.Row[Any], Decision]]:
        """The row of `audits` behind each present verdict of a run, and its decision, by policy."""
        same = (audits.c.store == verdicts.c.store) & (audits.c.run_id == verdicts.c.run_id)
        query = (
            sa.select(audits)
            .join(verdicts, same & (audits.c.audit_id == verdicts.c.audit_id))
            .where(verdicts.c.store == store, verdicts.c.run_id == run_id)
            .order_by(verdicts.c.policy)
        )
        return [(row, from_plain(Decision, row.decision)) for row in self._rows(query)]

    def files_of(self, store: str, run_id: str, audit_id: str) -> list[str]:
        """Artifact paths of what an audit wrote, in order."""
        files = evidence_files.c
        of_audit = (files.store == store, files.run_id == run_id, files.audit_id == audit_id)
        return [path for (path,) in self._rows(sa.select(files.path).where(*of_audit).order_by(files.path))]

    def earlier_audits(self, store: str, run_id: str) -> list[sa.Row[Any]]:
        """Audits of a run that another one took the place of, newest first; at most 20."""
        present = sa.select(verdicts.c.audit_id).where(verdicts.c.store == store, verdicts.c.run_id == run_id)
        columns = [c for c in audits.c if c is not audits.c.decision]
        of_run = (audits.c.store == store, audits.c.run_id == run_id, audits.c.audit_id.not_in(present))
        query = sa.select(*columns).where(*of_run).order_by(audits.c.audited_at.desc()).limit(_LINEAGE)
        return list(self._rows(query))

    def lineage(self, store: str, run_id: str, column: str, digest: str) -> list[sa.Row[Any]]:
        """Present verdicts of other runs with the same `model_digest` or `data_digest`, newest first; at most 20."""
        if not digest:
            return []
        other = sa.or_(verdicts.c.store != store, verdicts.c.run_id != run_id)
        query = sa.select(verdicts).where(verdicts.c[column] == digest, other)
        return list(self._rows(query.order_by(verdicts.c.decided_at.desc()).limit(_LINEAGE)))
