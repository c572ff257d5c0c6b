"""The page of one run: its verdicts with all that each rests on, and the audits that came before or are related."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from venturalitica_agent.attest.limits import cannot_claim
from venturalitica_agent.domain.evidence import Decision
from venturalitica_agent.domain.ledger import Phase
from venturalitica_agent.domain.subject import ColumnBinding, Subject
from venturalitica_agent.domain.verdict import STALE, Finding, GroupStat, worst
from venturalitica_agent.state.listing import STANDING
from venturalitica_agent.state.reading import Reading
from venturalitica_agent.web.lights import light
from venturalitica_agent.web.model import (
    AuditView,
    BoundRole,
    Digest,
    EarlierAudit,
    EvidenceFile,
    FindingView,
    GroupRow,
    Limit,
    RunPage,
)
from venturalitica_agent.web.places import Place
from venturalitica_agent.web.reader_policies import PolicyPages

_MOST_RELATED = 20


def read_run(
    reading: Reading, policies: PolicyPages, places: Mapping[str, Place], store: str, run_id: str
) -> RunPage | None:
    """Everything on one run; None where nothing is known of it."""
    entry = reading.ledger_row(store, run_id)
    found = reading.present_audits(store, run_id)
    if entry is None and not found:
        return None
    place = places.get(store) or Place(store, "", "")
    facts = max((decision for _, decision in found), key=lambda d: d.decided_at).run_facts if found else {}
    experiment_id = str(facts.get("experiment_id") or (entry.experiment_id if entry else ""))
    noted = next((row.link for row, _ in found if row.link), "")
    phase = Phase(entry.phase) if entry else Phase.DONE
    started, ended = (entry.start_time, entry.end_time) if entry else (facts.get("start_time"), facts.get("end_time"))

    def audit(row: Any, decision: Decision) -> AuditView:
        paths = reading.files_of(store, run_id, decision.audit_id) or [row.evidence]
        files = tuple(
            EvidenceFile(path=path, link=place.artifact(experiment_id, run_id, path, noted)) for path in paths
        )
        return _audit(decision, policies.title(decision.verdict.policy_digest), files)

    return RunPage(
        store=store,
        store_uri=place.uri,
        run_id=run_id,
        name=str(facts.get("name") or ""),
        experiment=str(facts.get("experiment") or experiment_id),
        status=_status(found) if found else STANDING.get(phase, phase.value),
        light=light(dict.fromkeys((row.status for row, _ in found), 1)),
        phase=phase.value,
        reason=entry.reason if entry else "",
        started_at=_seconds(started),
        ended_at=_seconds(ended),
        run_link=place.run(experiment_id, run_id, noted),
        experiment_link=place.experiment(experiment_id),
        failing_link=place.failing(experiment_id),
        audits=tuple(audit(row, decision) for row, decision in found),
        earlier=tuple(_related(reading, store, run_id, [decision.subject for _, decision in found]))[:_MOST_RELATED],
    )


def _status(found: Sequence[tuple[Any, Decision]]) -> str:
    if any(row.status == STALE for row, _ in found):
        return STALE
    return worst(decision.verdict.status for _, decision in found).value


def _seconds(milliseconds: Any) -> float | None:
    return float(milliseconds) / 1000 if milliseconds else None


def _audit(decision: Decision, title: str, files: tuple[EvidenceFile, ...]) -> AuditView:
    verdict, subject = decision.verdict, decision.subject
    limits = cannot_claim(finding.article for finding in verdict.findings)
    return AuditView(
        audit_id=decision.audit_id,
        policy=verdict.policy,
        version=verdict.version,
        policy_digest=verdict.policy_digest,
        title=title,
        status=verdict.status.value,
        counts={status.value: count for status, count in verdict.counts.items() if count},
        decided_at=datetime.fromisoformat(decision.decided_at).timestamp(),
        agent_version=decision.environment.get("agent.venturalitica-agent", ""),
        findings=tuple(map(_finding, verdict.findings)),
        binding=tuple(_bound(bound) for _, bound in sorted(subject.binding.items())),
        digests=tuple(_digests(subject)),
        missing=tuple(f"{part}: {problem.what}" for part, problem in sorted(subject.problems.items())),
        evidence=files,
        notes=decision.notes,
        cannot_claim=tuple(Limit(article=article, sentence=sentence) for article, sentence in limits.items()),
        sandbox=", ".join(decision.sandbox[key] for key in ("tier", "profile") if decision.sandbox.get(key)),
    )


def _finding(finding: Finding) -> FindingView:
    measured, waived = finding.measurement, finding.waived
    interval = measured.interval if measured else None
    return FindingView(
        control=finding.control,
        status=finding.status.value,
        would_be=finding.would_be.value if finding.would_be else "",
        sentence=finding.sentence,
        remedy=finding.remedy,
        metric=finding.metric,
        require=finding.require,
        article=finding.article,
        severity=finding.severity,
        enforcement=finding.enforcement,
        decided_on=finding.decided_on,
        value=_finite(measured.value) if measured else None,
        low=_finite(interval.low) if interval else None,
        high=_finite(interval.high) if interval else None,
        level=interval.level if interval else None,
        method=interval.method if interval else "",
        n=measured.n if measured else None,
        rate=measured.rate if measured else "",
        reference=(measured.reference or "") if measured else "",
        groups=tuple(map(_group, measured.groups)) if measured else (),
        notes=measured.notes if measured else (),
        waived=f"waived by {waived.owner} until {waived.expires}: {waived.reason}" if waived else "",
    )


def _finite(number: float | None) -> float | None:
    """JSON has neither NaN nor infinity; the sentence of the finding tells of them."""
    return number if number is not None and math.isfinite(number) else None


def _group(stat: GroupStat) -> GroupRow:
    return GroupRow(
        group=stat.group,
        n=stat.n,
        value=_finite(stat.value),
        numerator=stat.numerator,
        denominator=stat.denominator,
        low=_finite(stat.interval.low) if stat.interval else None,
        high=_finite(stat.interval.high) if stat.interval else None,
        compared=stat.compared,
        reason=stat.reason,
    )


def _bound(bound: ColumnBinding) -> BoundRole:
    details = [f"positive: {bound.positive}"] if bound.positive is not None else []
    details += [f"{group}: {', '.join(map(str, values))}" for group, values in bound.groups.items()]
    details += ["bins up to " + ", ".join(f"{edge:g}" for edge in bound.bins)] if bound.bins else []
    return BoundRole(role=bound.role, column=bound.column, how=bound.how, detail="; ".join(details))


def _digests(subject: Subject) -> Iterator[Digest]:
    if subject.model is not None:
        model = subject.model
        origin = f"{model.flavor}, {model.format}, files: {len(model.files)}"
        yield Digest(part="model", name=model.name, origin=origin, sha256=model.digest, check="", check_reason="")
    for split, data in sorted(subject.data.items()):
        yield Digest(
            part=split,
            name=data.name,
            origin=data.origin,
            sha256=data.file.sha256,
            check=data.check.value,
            check_reason=data.check_reason,
        )


def _related(reading: Reading, store: str, run_id: str, subjects: list[Subject]) -> Iterator[EarlierAudit]:
    for row in reading.earlier_audits(store, run_id):
        yield _earlier("earlier", row, row.audited_at)
    seen: set[tuple[str, str, str]] = set()
    for relation, column, digests in (
        ("same model", "model_digest", {s.model.digest for s in subjects if s.model}),
        ("same data", "data_digest", {s.data["evaluation"].file.sha256 for s in subjects if "evaluation" in s.data}),
    ):
        for digest in sorted(digests):
            for row in reading.lineage(store, run_id, column, digest):
                key = (row.store, row.run_id, row.policy)
                if key not in seen:
                    seen.add(key)
                    yield _earlier(relation, row, row.decided_at)


def _earlier(relation: str, row: Any, decided_at: float) -> EarlierAudit:
    return EarlierAudit(
        relation=relation,
        store=row.store,
        run_id=row.run_id,
        name=row.run_name,
        policy=row.policy,
        version=row.version,
        status=row.status,
        audit_id=row.audit_id,
        decided_at=decided_at,
    )
