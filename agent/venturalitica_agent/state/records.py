"""Verdicts that were given, and how each store is doing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import sqlalchemy as sa

from venturalitica_agent.domain.codec import from_plain, to_plain
from venturalitica_agent.domain.evidence import Decision, EvidenceBundle, Published
from venturalitica_agent.domain.run import Run
from venturalitica_agent.domain.verdict import counts_tag
from venturalitica_agent.state.dialects import insert_of
from venturalitica_agent.state.present import make_present
from venturalitica_agent.state.tables import audits, store_faults, stores


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One given verdict, as `status` and the table of the demo show it."""

    store: str
    run_id: str
    run_name: str
    experiment: str
    policy: str
    version: str
    status: str
    counts: str
    failed: tuple[str, ...]
    evidence: str
    link: str
    end_time: int | None
    tagged_at: float
    policy_digest: str
    evidence_digest: str = ""


class Records:
    """Reads and writes everything but the ledger of runs."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._insert = insert_of(engine)

    def _put(self, table: sa.Table, row: Mapping[str, Any]) -> sa.Insert:
        """Insert a row, or change the one with its key."""
        statement = self._insert(table).values(**row)
        keys = [c.name for c in table.primary_key]
        changed = {c: statement.excluded[c] for c in row if c not in keys}
        return statement.on_conflict_do_update(index_elements=keys, set_=changed)

    # -- verdicts -------------------------------------------------------------------------------------------
    def decision(self, store: str, run_id: str, audit_id: str) -> Decision | None:
        """The decision that was already given for the same run, model, data, binding and policy."""
        with self._engine.connect() as db:
            found = db.execute(
                sa.select(audits.c.decision).where(
                    audits.c.store == store, audits.c.run_id == run_id, audits.c.audit_id == audit_id
                )
            ).scalar()
        return from_plain(Decision, found) if found is not None else None

    def keep_audit(
        self, run: Run, decision: Decision, bundle: EvidenceBundle, published: Published, *, now: float
    ) -> None:
        verdict = decision.verdict
        row = {
            "store": decision.store,
            "run_id": run.ref.run_id,
            "audit_id": decision.audit_id,
            "policy": verdict.policy,
            "version": verdict.version,
            "policy_digest": verdict.policy_digest,
            "status": verdict.status.value,
            "experiment": run.experiment,
            "run_name": run.name,
            "link": published.link,
            "counts": counts_tag(verdict.counts),
            "failed": "\n".join(verdict.not_passed),
            "evidence": bundle.evidence,
            "evidence_digest": bundle.digest,
            "end_time": run.ref.end_time,
            "audited_at": now,
            "tagged_at": published.tagged_at,
            "decision": to_plain(Decision, decision),
        }
        files = {path: sha256(content).hexdigest() for path, content in bundle.files.items()}
        with self._engine.begin() as db:
            db.execute(self._put(audits, row))
            make_present(db, row, files)

    def latest(self, store: str | None = None, run_id: str | None = None) -> list[AuditRecord]:
        """The newest verdict of each (run, policy), newest first."""
        found: dict[tuple[str, str, str], AuditRecord] = {}
        for record in self.given(store, run_id):
            found.setdefault((record.store, record.run_id, record.policy), record)
        return list(found.values())

    def given(self, store: str | None = None, run_id: str | None = None) -> Iterator[AuditRecord]:
        """Every verdict that was ever published, newest first."""
        # Without the decisions: each is tens of kilobytes.
        query = sa.select(*(c for c in audits.c if c is not audits.c.decision)).order_by(audits.c.audited_at.desc())
        if store is not None:
            query = query.where(audits.c.store == store)
        if run_id is not None:
            query = query.where(audits.c.run_id == run_id)
        with self._engine.connect() as db:
            for row in db.execute(query).mappings():
                yield _record(row)

    def last_published(self, store: str, run_id: str) -> float:
        """The moment that the run's last verdict has, by our clock of then; 0 where it has none."""
        last = sa.func.max(audits.c.audited_at)
        with self._engine.connect() as db:
            query = sa.select(last).where(audits.c.store == store, audits.c.run_id == run_id)
            return db.execute(query).scalar() or 0.0

    def decision_of(self, record: AuditRecord) -> Decision:
        """What is behind a verdict that `latest` told."""
        of_record = (audits.c.store == record.store, audits.c.run_id == record.run_id)
        with self._engine.connect() as db:
            query = sa.select(audits.c.decision).where(*of_record, audits.c.evidence == record.evidence)
            return from_plain(Decision, db.execute(query).scalar_one())

    # -- stores ---------------------------------------------------------------------------------------------
    def store_up(self, store: str, uri: str, *, now: float, scanned: bool = False) -> bool:
        """Note that a store answers; True when that is news."""
        return self._store(store, uri, ok=True, error="", remedy="", now=now, scanned=scanned)

    def store_down(self, store: str, uri: str, error: str, remedy: str, *, now: float) -> bool:
        """Note that a store doesn't answer; True when that is news."""
        return self._store(store, uri, ok=False, error=error, remedy=remedy, now=now, scanned=False)

    def _store(self, store: str, uri: str, *, ok: bool, error: str, remedy: str, now: float, scanned: bool) -> bool:
        known = self.stores().get(store)
        news = known is None or known["ok"] != ok
        row: dict[str, Any] = {
            "id": store,
            "uri": uri,
            "ok": ok,
            "since": now if news or known is None else known["since"],
            "error": error,
            "remedy": remedy,
        }
        if scanned:
            row["scanned_at"] = now
        if news or scanned or (known is not None and known["error"] != error):
            with self._engine.begin() as db:
                db.execute(self._put(stores, row))
                if not ok:
                    db.execute(self._put(store_faults, {"store": store, "error": error, "remedy": remedy, "at": now}))
        return news

    def stores(self) -> dict[str, dict[str, Any]]:
        with self._engine.connect() as db:
            return {row["id"]: dict(row) for row in db.execute(sa.select(stores)).mappings()}


def _record(row: sa.RowMapping) -> AuditRecord:
    return AuditRecord(
        store=row["store"],
        run_id=row["run_id"],
        run_name=row["run_name"],
        experiment=row["experiment"],
        policy=row["policy"],
        version=row["version"],
        status=row["status"],
        counts=row["counts"],
        failed=tuple(x for x in row["failed"].split("\n") if x),
        evidence=row["evidence"],
        link=row["link"],
        end_time=row["end_time"],
        tagged_at=row["tagged_at"],
        policy_digest=row["policy_digest"],
        evidence_digest=row["evidence_digest"],
    )
