"""What was audited, what is due, what is stuck: one document for `status`, read from the state and the policies."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from venturalitica_agent.domain.history import History
from venturalitica_agent.domain.ledger import Phase, stale
from venturalitica_agent.domain.policy import Policy
from venturalitica_agent.errors import ConfigError
from venturalitica_agent.policy.history import find
from venturalitica_agent.policy.load import load_one_policy, load_policies, parse_policy
from venturalitica_agent.policy.waivers import day_of, load_waivers, notices
from venturalitica_agent.settings import Settings
from venturalitica_agent.state.config import ConfigRecord
from venturalitica_agent.state.drift import DriftRecord
from venturalitica_agent.state.ledger import Ledger
from venturalitica_agent.state.machines import machines_of
from venturalitica_agent.state.notices import channels_now
from venturalitica_agent.state.opening import open_state
from venturalitica_agent.state.policies import PolicyRecord
from venturalitica_agent.state.records import AuditRecord, Records


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
        "machines": _machines(engine),
        "stores": [_store(store, known.get(store, {}), counts) for store in sorted({*known, *(k[0] for k in counts)})],
        "due": sum(n for (_, phase, _), n in counts.items() if phase in (Phase.SETTLING, Phase.DUE, Phase.CLAIMED)),
        "queue": ledger.queue(now),
        "given_up": [
            {"store": e.ref.store, "run_id": e.ref.run_id, "phase": e.phase.value, "reason": e.reason}
            for e in ledger.given_up()
        ][:limit],
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
        "drift": DriftRecord(engine).incidents(limit),
        "notify": [dict(channel) for channel in channels_now(engine)],
        "stale": DriftRecord(engine).went_stale(limit),
        "config": {"refused": list(ConfigRecord(engine).refused())},
        "policies": _policies(PolicyRecord(engine)),
        "waivers": _waivers(settings, now),
        "verdicts": dict(Counter(a.status for a in audited)),
        "audits": [audit_row(a) for a in audited[:limit]],
    }


def _machines(engine: sa.Engine) -> list[dict[str, Any]]:
    """Who works on the state now, where several can: none where a file is the state."""
    if engine.dialect.name == "sqlite":
        return []
    with engine.connect() as db:
        return [{"address": m.address, "version": m.version, "notices": m.notices} for m in machines_of(db)]


def _policies(record: PolicyRecord) -> dict[str, Any]:
    """The versions in force, and what keeps newer files from coming into force."""
    terms = [terms[-1] for terms in record.history().values()]
    return {"in_force": [t.ref for t in terms if t.until is None], "refused": [m["words"] for m in record.mistakes()]}


def policy_history(settings: Settings) -> History:
    """Every version of every policy that was ever in force under this state."""
    engine = open_state(settings.state)
    try:
        return PolicyRecord(engine).history()
    finally:
        engine.dispose()


def policy_named(named: str, settings: Callable[[], Settings]) -> Policy:
    """The policy in a file or folder, or the version on record that `id@1.2` or `1.2` names.

    Args:
        settings: asked only where the record is needed.

    Raises:
        ConfigError: no file or version, or more than one, is named so; or it can't be read as a policy.
    """
    path = Path(named)
    if path.exists() or "/" in named or path.suffix.lower() in (".yaml", ".yml", ".json"):
        return load_one_policy(path)
    return _on_record(settings(), named)


def _on_record(settings: Settings, ref: str) -> Policy:
    engine = open_state(settings.state)
    try:
        record = PolicyRecord(engine)
        term = find(record.history(), ref)
        file_name, content = record.source(term.digest) or (term.file_name, b"")
    finally:
        engine.dispose()
    return parse_policy(content, file_name, shown_as=f"{term.ref} ({file_name}) on record")


def _waivers(settings: Settings, now: float) -> list[str]:
    """Sentences on waivers that are over or end within a week, or on why they can't be told."""
    try:
        waivers = load_waivers(settings.policies, load_policies(settings.policies))
    except ConfigError as error:
        return [f"the waivers can't be read now: {error}"]
    return list(notices(waivers.items, day_of(now)))


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
