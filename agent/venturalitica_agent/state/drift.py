"""When each run was last compared with what was audited and published, and what was found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from venturalitica_agent.domain.ledger import Phase
from venturalitica_agent.domain.verdict import STALE
from venturalitica_agent.state.dialects import insert_of
from venturalitica_agent.state.tables import audits, drift_checks, evidence_files, runs, verdicts

_TOLD = ("store", "run_id", "incidents", "found_at", "words", "restored")


class DriftRecord:
    """Times are seconds since the epoch by our clock."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._insert = insert_of(engine)

    def due(self, before: float, now: float, limit: int) -> list[tuple[str, str]]:
        """(store, run id) of audited runs that were neither published nor compared since `before`, the oldest first.

        Those, too, that were so after `now`: by a clock that was wrong then.
        """
        c = drift_checks.c
        last = sa.func.coalesce(c.checked_at, runs.c.changed_at)
        same = (c.store == runs.c.store) & (c.run_id == runs.c.run_id)
        query = sa.select(runs.c.store, runs.c.run_id).outerjoin_from(runs, drift_checks, same)
        query = query.where(runs.c.phase == Phase.DONE, (last < before) | (last > now)).order_by(last).limit(limit)
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

    def inputs(self, store: str, run_id: str) -> str:
        """The mark of model and data when they were last those that were audited; empty where none is known."""
        c = drift_checks.c
        with self._engine.connect() as db:
            found = db.execute(sa.select(c.inputs).where(c.store == store, c.run_id == run_id)).scalar()
        return found or ""

    def same_inputs(self, store: str, run_id: str, mark: str, *, now: float) -> None:
        """Model and data are those that were audited; while `mark` is theirs they still are."""
        self._put({"store": store, "run_id": run_id, "checked_at": now, "inputs": mark})

    def stale(self, store: str, run_id: str, words: str, evidence: Sequence[str], *, now: float) -> None:
        """Model or data changed after the audit: these verdicts, each named by its `evidence.json`, are stale."""
        of_run = audits.c.store == store, audits.c.run_id == run_id, audits.c.evidence.in_(evidence)
        told = sa.select(audits.c.audit_id).where(*of_run)
        present = verdicts.c.store == store, verdicts.c.run_id == run_id, verdicts.c.audit_id.in_(told)
        row = {"store": store, "run_id": run_id, "checked_at": now, "inputs": "", "stale_at": now, "stale_words": words}
        with self._engine.begin() as db:
            db.execute(sa.update(verdicts).where(*present).values(status=STALE))
            db.execute(sa.update(audits).where(*of_run).values(status=STALE))
            db.execute(self._upsert(row))

    def went_stale(self, limit: int) -> list[dict[str, Any]]:
        """The runs whose model or data changed after an audit, the last one first: store, run_id, words, found_at."""
        c = drift_checks.c
        query = sa.select(c.store, c.run_id, c.stale_words.label("words"), c.stale_at.label("found_at"))
        query = query.where(c.stale_at.is_not(None)).order_by(c.stale_at.desc()).limit(limit)
        with self._engine.connect() as db:
            return [dict(row) for row in db.execute(query).mappings()]

    def found(self, store: str, run_id: str, words: str, *, restored: bool, now: float) -> None:
        """It was not as it was published."""
        row = {"store": store, "run_id": run_id, "checked_at": now, "words": words, "restored": restored}
        self._put(row | {"found_at": now, "incidents": 1}, more=True)

    def incidents(self, limit: int) -> list[dict[str, Any]]:
        """The runs that were found changed, the last one first: store, run_id, words, restored, found_at, incidents."""
        query = sa.select(drift_checks).where(drift_checks.c.incidents > 0)
        with self._engine.connect() as db:
            rows = db.execute(query.order_by(drift_checks.c.found_at.desc()).limit(limit)).mappings()
            return [{name: row[name] for name in _TOLD} for row in rows]

    def count(self) -> int:
        """How often a run was found changed."""
        with self._engine.connect() as db:
            return db.execute(sa.select(sa.func.sum(drift_checks.c.incidents))).scalar() or 0

    def _put(self, row: dict[str, Any], *, more: bool = False) -> None:
        with self._engine.begin() as db:
            db.execute(self._upsert(row, more=more))

    def _upsert(self, row: dict[str, Any], *, more: bool = False) -> Any:
        statement = self._insert(drift_checks).values(**row)
        changed: dict[str, Any] = {name: statement.excluded[name] for name in row if name not in ("store", "run_id")}
        if more:
            changed["incidents"] = drift_checks.c.incidents + 1
        return statement.on_conflict_do_update(index_elements=["store", "run_id"], set_=changed)
