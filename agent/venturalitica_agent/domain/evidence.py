"""What proves a verdict: the decision, the files made of it, and what was written where."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from venturalitica_agent.domain.codec import to_plain
from venturalitica_agent.domain.subject import ColumnBinding, Problem, Subject
from venturalitica_agent.domain.verdict import Verdict, Waived

# Raised whenever a metric, an interval or the decision rule changes its meaning: part of every audit id.
MEASUREMENT_VERSION = "3"


def canonical(value: Any) -> bytes:
    """The one JSON text of a plain value that digests are taken of: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def subject_digests(subject: Subject) -> dict[str, Any]:
    """What the subject is, by digest: model, each split, the binding, what is missing, and whose metrics."""
    return {
        "model": subject.model.digest if subject.model else None,
        "data": {split: data.file.sha256 for split, data in sorted(subject.data.items())},
        "binding": {role: to_plain(ColumnBinding, b) for role, b in sorted(subject.binding.items())},
        "missing": {part: to_plain(Problem, p) for part, p in sorted(subject.problems.items())},
        **({"metrics": dict(subject.metrics)} if subject.metrics else {}),
    }


def audit_id(
    store: str, run_id: str, subject: Subject, policy_digest: str, waived: Mapping[str, Waived] | None = None
) -> str:
    """Thirty-two hex characters that are the same for the same run, model, data, binding, policy and metric meanings.

    Re-doing an audit therefore writes to the same place, and anything that changed writes to another one.

    Args:
        waived: the waivers that changed a finding, by control (`Verdict.waived`).
    """
    identity = {
        "store": store,
        "run": run_id,
        "subject": subject_digests(subject),
        "policy": policy_digest,
        "measurement": MEASUREMENT_VERSION,
    }
    if waived:
        identity["waived"] = {control: to_plain(Waived, waiver) for control, waiver in waived.items()}
    return sha256(canonical(identity)).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict with everything that it rests on; the durable outcome of evaluating. Evidence is a function of it.

    Attributes:
        run_facts: what the store said of the run: id, name, experiment, status, start and end.
        decided_at: RFC 3339 UTC; the only time of ours in the evidence.
        environment: package versions of the agent, and the model's own.
        sandbox: tier and profile in which the model ran; empty when no model ran.
        notes: sentences about data and predictions that a reader should know.
        waivers: SHA-256 of the file of waivers, when a finding is waived; else empty.
    """

    audit_id: str
    audit: str
    store: str
    run_facts: Mapping[str, str | int | None]
    subject: Subject
    verdict: Verdict
    decided_at: str
    environment: Mapping[str, str] = field(default_factory=dict)
    sandbox: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    waivers: str = ""


@dataclass(frozen=True, slots=True)
class EvidenceBundle:
    """The files of one audit.

    Attributes:
        folder: artifact path of the audit: `venturalitica/<policy id>/<audit id>`.
        files: artifact path -> bytes; everything in `folder`, and the snapshot at the place the guide promises.
        evidence: artifact path of `evidence.json`; digest: its SHA-256.
    """

    folder: str
    files: Mapping[str, bytes]
    evidence: str
    digest: str


@dataclass(frozen=True, slots=True)
class Published:
    """What one audit wrote on the run and read back.

    Attributes:
        tagged_at: seconds since the epoch at which the status tag was read back.
    """

    status: str
    tags: Mapping[str, str]
    link: str
    tagged_at: float
