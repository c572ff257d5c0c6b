"""When each run was last compared with what was published on it, and what was found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from venturalitica_agent.domain.ledger import Phase
from venturalitica_agent.state.dialects import insert_of
from venturalitica_agent.state.tables import audits, drift_checks, evidence_files, runs


class DriftRecord:
    """Times are seconds since the epoch by our clock."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._insert = insert_of(engine)

    def due(self, before: float, limit: int) -> list[tuple[str, str]]:
        """(store, run id) of audited runs that were neither published nor compared since `before`, the oldest first."""
        c = drift_checks.c
        last = sa.func.coalesce(c.checked_at, runs.c.changed_at)
        same = (c.store == runs.c.store) & (c.run_id == runs.c.run_id)
        query = sa.select(runs.c.store, runs.c.run_id).outerjoin_from(runs, drift_checks, same)
        query = query.where(runs.c.phase == Phase.DONE, last < before).order_by(last).limit(limit)
        with self._engine.connect() as db:
            return [(store, run_id) for store, run_id in db.execute(query)]

    def files(self, store: str, run_id: str, evidence: Sequence[str]) -> dict[str, str]:
        """Artifact path -> SHA-256 of what was written with these verdicts, each named by its `evidence.json`."""
        same = (evidence_files.c.store == audits.c.store) & (evidence_files.c.run_id == audits.c.run_id)
        same &= evidence_files.c.audit_id == audits.c.audit_id
        query = sa.select(evidence_files.c.path, evidence_files.c.sha256).join_from(evidence_files, audits, same)
        query = query.where(audits.c.store == store, audits.c.run_id == run_id, audits.c.evidence.in_(evidence))
        with self._engine.connect() as db:
            return {row.path: row.sha256 for row in db.execute(query)}

    def checked(self, store: str, run_id: str, *, now: float) -> None:
        """It is as it was published, or somebody has to look at it before it can be compared."""
        self._put({"store": store, "run_id": run_id, "checked_at": now})

    def found(self, store: str, run_id: str, words: str, *, restored: bool, now: float) -> None:
        """It was not as it was published."""
        row = {"store": store, "run_id": run_id, "checked_at": now, "words": words, "restored": restored}
        self._put(row | {"found_at": now, "incidents": 1}, more=True)

    def incidents(self, limit: int) -> list[dict[str, Any]]:
        """The runs that were found changed, the last one first: store, run_id, words, restored, found_at, incidents."""
        query = sa.select(drift_checks).where(drift_checks.c.incidents > 0)
        with self._engine.connect() as db:
            rows = db.execute(query.order_by(drift_checks.c.found_at.desc()).limit(limit)).mappings()
            return [{name: row[name] for name in row if name != "checked_at"} for row in rows]

    def count(self) -> int:
        """How often a run was found changed."""
        with self._engine.connect() as db:
            return db.execute(sa.select(sa.func.sum(drift_checks.c.incidents))).scalar() or 0

    def _put(self, row: dict[str, Any], *, more: bool = False) -> None:
        statement = self._insert(drift_checks).values(**row)
        changed: dict[str, Any] = {name: statement.excluded[name] for name in row if name not in ("store", "run_id")}
        if more:
            changed["incidents"] = drift_checks.c.incidents + 1
        statement = statement.on_conflict_do_update(index_elements=["store", "run_id"], set_=changed)
        with self._engine.begin() as db:
            db.execute(statement)
