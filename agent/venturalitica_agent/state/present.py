"""The verdict that counts now of each run and policy, kept apart from all that were ever given: what is listed and
counted is a narrow table, while each row of `audits` holds tens of kilobytes of what its verdict rests on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from venturalitica_agent.domain.verdict import Status
from venturalitica_agent.state.tables import evidence_files, verdict_controls, verdicts

_MET = (Status.PASS, Status.SKIP)
_COPIED = ("store", "run_id", "policy", "audit_id", "version", "status", "experiment", "run_name")


def make_present(db: sa.Connection, audit: Mapping[str, Any], files: Mapping[str, str]) -> None:
    """Have a row of `audits` be the verdict that counts for its run and policy, in the caller's transaction.

    Args:
        files: artifact path -> SHA-256 of what the audit wrote on the run.
    """
    of_run = {name: audit[name] for name in ("store", "run_id", "policy")}
    for table in (verdicts, verdict_controls):
        db.execute(sa.delete(table).where(*(table.c[name] == value for name, value in of_run.items())))
    db.execute(sa.insert(verdicts).values(**_row(audit)))
    unmet = [of_run | {"control": control} for control in _unmet(audit["decision"])]
    if unmet:
        db.execute(sa.insert(verdict_controls), unmet)
    of_audit = {name: audit[name] for name in ("store", "run_id", "audit_id")}
    db.execute(sa.delete(evidence_files).where(*(evidence_files.c[name] == v for name, v in of_audit.items())))
    if files:
        db.execute(
            sa.insert(evidence_files), [of_audit | {"path": path, "sha256": digest} for path, digest in files.items()]
        )


def _row(audit: Mapping[str, Any]) -> dict[str, Any]:
    decision = audit["decision"]
    model, data = decision["subject"]["model"], decision["subject"]["data"].get("evaluation")
    return {
        **{name: audit[name] for name in _COPIED},
        "experiment_id": str(decision["run_facts"].get("experiment_id") or ""),
        "folded_name": audit["run_name"].casefold(),
        "ended": audit["end_time"] or 0,
        "decided_at": datetime.fromisoformat(decision["decided_at"]).timestamp(),
        "model_digest": model["digest"] if model else "",
        "data_digest": data["file"]["sha256"] if data else "",
    }


def _unmet(decision: Mapping[str, Any]) -> list[str]:
    findings = decision["verdict"]["findings"]
    return list(dict.fromkeys(found["control"] for found in findings if found["status"] not in _MET))
