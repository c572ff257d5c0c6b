"""What was audited, what is due, what is stuck: one document for `status`, read from the state alone."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import sqlalchemy as sa

from venturalitica_agent.domain.ledger import Phase, stale
from venturalitica_agent.settings import Settings
from venturalitica_agent.state.ledger import Ledger
from venturalitica_agent.state.records import AuditRecord, Records
from venturalitica_agent.state.tables import open_state


def overview(settings: Settings, *, limit: int = 50) -> dict[str, Any]:
    """Counts per store and phase, stuck and stale runs, and the newest verdicts (at most `limit`)."""
    engine = open_state(settings.state)
    try:
        return _overview(engine, settings, limit)
    finally:
        engine.dispose()


def _overview(engine: sa.Engine, settings: Settings, limit: int) -> dict[str, Any]:
    ledger, records = Ledger(engine), Records(engine)
    now = time.time()
    counts = ledger.counts()
    audited = records.latest()
    known = records.stores()
    return {
        "state": sa.make_url(settings.state).render_as_string(hide_password=True),
        "stores": [_store(store, known.get(store, {}), counts) for store in sorted({*known, *(k[0] for k in counts)})],
        "due": sum(n for (_, phase, _), n in counts.items() if phase in (Phase.SETTLING, Phase.DUE, Phase.CLAIMED)),
        "stuck": [
            {"store": e.ref.store, "run_id": e.ref.run_id, "reason": e.reason} for e in ledger.in_phase(Phase.STUCK)
        ],
        "retrying": [
            {"store": e.ref.store, "run_id": e.ref.run_id, "reason": e.reason, "attempts": e.attempts}
            for e in ledger.in_phase(Phase.DUE)
            if e.attempts
        ][:limit],
        "running_too_long": [
            {"store": e.ref.store, "run_id": e.ref.run_id, "start_time": e.ref.start_time}
            for e in ledger.in_phase(Phase.RUNNING)
            if stale(e, now=now, limit=settings.stale_running)
        ],
        "verdicts": dict(Counter(a.status for a in audited)),
        "audits": [audit_row(a) for a in audited[:limit]],
    }


def _store(store: str, known: dict[str, Any], counts: Any) -> dict[str, Any]:
    phases: Counter[str] = Counter()
    ignored: dict[str, int] = {}
    for (owner, phase, reason), n in counts.items():
        if owner == store:
            phases[phase] += n
            if phase == Phase.IGNORED:
                ignored[reason] = ignored.get(reason, 0) + n
    return {
        "id": store,
        "uri": known.get("uri", ""),
        "ok": known.get("ok"),
        "since": known.get("since"),
        "error": known.get("error", ""),
        "remedy": known.get("remedy", ""),
        "scanned_at": known.get("scanned_at"),
        "runs": dict(phases),
        "ignored": ignored,
    }


def audit_row(record: AuditRecord) -> dict[str, Any]:
    """One verdict as JSON; `seconds` is from the run's end to its tag, when both are known."""
    ended = record.end_time / 1000 if record.end_time else None
    return {
        "store": record.store,
        "run_id": record.run_id,
        "run": record.run_name,
        "experiment": record.experiment,
        "policy": f"{record.policy}@{record.version}",
        "status": record.status,
        "counts": record.counts,
        "failed": list(record.failed),
        "evidence": record.evidence,
        "link": record.link,
        "end_time": record.end_time,
        "seconds": round(record.tagged_at - ended, 3) if ended else None,
    }
