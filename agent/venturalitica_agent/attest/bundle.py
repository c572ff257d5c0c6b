"""The evidence bundle: a pure function of a decision and a policy, so that doing it twice writes the same bytes."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

from venturalitica_agent.attest.oscal_results import oscal_files
from venturalitica_agent.attest.report import report_md
from venturalitica_agent.attest.report_html import report_html
from venturalitica_agent.domain.codec import to_plain
from venturalitica_agent.domain.evidence import MEASUREMENT_VERSION, Decision, EvidenceBundle
from venturalitica_agent.domain.policy import Control, Policy, Requirement
from venturalitica_agent.domain.retention import retain_until
from venturalitica_agent.domain.subject import ColumnBinding, DataSubject, FileDigest, ModelSubject, Problem
from venturalitica_agent.domain.verdict import Finding

SCHEMA = "venturalitica.evidence/1"


def build_bundle(decision: Decision, policy: Policy, *, link: str = "", snapshot_name: str = "") -> EvidenceBundle:
    """Every file of one audit.

    Args:
        link: where the run is shown in the tracker's UI, for the report; may be empty.
        snapshot_name: name of the policy file at `policy_snapshot/`; the file's own unless two policies share it.
    """
    folder = f"venturalitica/{policy.id}/{decision.audit_id}"
    evidence = _pretty(evidence_document(decision, policy))
    inside = {
        f"policy_snapshot/{policy.file_name}": policy.content,
        "evidence.json": evidence,
        "report.html": report_html(decision, policy, link=link).encode(),
        "report.md": report_md(decision, policy, link=link).encode(),
    }
    inside |= oscal_files(decision, policy, inside)
    inside["SHA256SUMS"] = _sums(inside, decision.subject.model)
    files = {f"{folder}/{name}": content for name, content in inside.items()}
    files[f"policy_snapshot/{snapshot_name or policy.file_name}"] = policy.content
    return EvidenceBundle(
        folder=folder, files=files, evidence=f"{folder}/evidence.json", digest=sha256(evidence).hexdigest()
    )


def evidence_document(decision: Decision, policy: Policy) -> dict[str, Any]:
    """The content of `evidence.json`: enough to judge its measurements again. No raw rows, no paths of ours."""
    verdict = decision.verdict
    rules = {control.id: control for control in policy.controls}
    return {
        "schema": SCHEMA,
        "audit_id": decision.audit_id,
        "audit": decision.audit,
        "times": {"decided_at": decision.decided_at, **_kept(decision, policy)},
        "run": {"store": decision.store, **decision.run_facts},
        "policy": {
            "id": policy.id,
            "version": policy.version,
            "digest": policy.digest,
            "file": policy.file_name,
            "shape": policy.shape,
            "title": policy.title,
            "law": dict(policy.law),
        },
        "subject": {
            "model": _model(decision.subject.model),
            "data": {split: _data(d) for split, d in sorted(decision.subject.data.items())},
            "binding": {r: to_plain(ColumnBinding, b) for r, b in sorted(decision.subject.binding.items())},
            "missing": {part: to_plain(Problem, p) for part, p in sorted(decision.subject.problems.items())},
        },
        "verdict": {
            "status": verdict.status.value,
            "counts": {s.value: n for s, n in verdict.counts.items()},
            "waivers_digest": decision.waivers,
            "findings": [_finding(f, rules.get(f.control)) for f in verdict.findings],
        },
        "measurement_version": MEASUREMENT_VERSION,
        "environment": dict(sorted(decision.environment.items())),
        "sandbox": dict(sorted(decision.sandbox.items())),
        "notes": list(decision.notes),
    }


def _kept(decision: Decision, policy: Policy) -> dict[str, str]:
    return {"retain_until": retain_until(policy.retain, decision.decided_at)} if policy.retain else {}


def _finding(finding: Finding, control: Control | None) -> dict[str, Any]:
    """A finding with the exact rule that decided it, which its own words round; one that was observed has none."""
    plain: dict[str, Any] = to_plain(Finding, finding)
    if control is not None:
        require = to_plain(Requirement, control.require)
        plain["rule"] = {**require, "min_group": control.min_group, "level": control.level}
    return plain


def _model(model: ModelSubject | None) -> dict[str, Any] | None:
    if model is None:
        return None
    plain: dict[str, Any] = to_plain(ModelSubject, model)
    del plain["path"], plain["place"]
    return plain


def _data(data: DataSubject) -> dict[str, Any]:
    plain: dict[str, Any] = to_plain(DataSubject, data)
    del plain["path"], plain["place"]
    return plain


def _pretty(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _sums(files: dict[str, bytes], model: ModelSubject | None) -> bytes:
    """In the format of sha256sum: the files of this folder, and the model's files under `model/`."""
    lines = [FileDigest(name, len(content), sha256(content).hexdigest()) for name, content in files.items()]
    if model is not None:
        lines += [FileDigest(f"model/{f.name}", f.size, f.sha256) for f in model.files]
    return "".join(f"{f.sha256}  {f.name}\n" for f in sorted(lines, key=lambda f: f.name)).encode()
