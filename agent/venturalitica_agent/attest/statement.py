"""What is signed: an in-toto statement over every file of the evidence, the model, the data and the policy."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from venturalitica_agent import __version__
from venturalitica_agent.domain.evidence import Decision, EvidenceBundle, canonical
from venturalitica_agent.domain.policy import Policy
from venturalitica_agent.domain.verdict import Status

PREDICATE = "https://slsa.dev/verification_summary/v1"
VERDICT = "urn:venturalitica:verdict:1"
MEANING = (
    "Signed by the key of an automated service: it says that this service wrote these files. It is not a declaration "
    "or a signature of a person."
)
_PASSED = (Status.PASS, Status.WARN)


def statement(decision: Decision, policy: Policy, bundle: EvidenceBundle, *, since: str | None) -> bytes:
    """The in-toto statement v1 of an audit, as canonical JSON; the same audit makes the same bytes.

    Subjects are the files of the audit's folder by their names in it, each file of the model as `model/<name>`, and
    each split as `data/<split>`. The predicate is SLSA's verification summary, which knows PASSED and FAILED only: what
    is neither pass nor warn is FAILED, and our own entry, named by a URN, has the whole vocabulary.

    Args:
        since: when the policy came into force at this service, RFC 3339; None when that isn't known.
    """
    inside = f"{bundle.folder}/"
    digests = {p.removeprefix(inside): sha256(c).hexdigest() for p, c in bundle.files.items() if p.startswith(inside)}
    subject = decision.subject
    digests |= {f"model/{file.name}": file.sha256 for file in (subject.model.files if subject.model else ())}
    digests |= {f"data/{split}": data.file.sha256 for split, data in subject.data.items()}
    return canonical(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in sorted(digests.items())],
            "predicateType": PREDICATE,
            "predicate": _predicate(decision, policy, bundle, since),
        }
    )


def _predicate(decision: Decision, policy: Policy, bundle: EvidenceBundle, since: str | None) -> dict[str, Any]:
    verdict = decision.verdict
    passed = verdict.status in _PASSED
    run_id = decision.run_facts.get("run_id")
    return {
        "verifier": {"id": "urn:venturalitica:agent", "version": {"venturalitica-agent": __version__}},
        "timeVerified": decision.decided_at,
        "resourceUri": f"urn:venturalitica:run:{decision.store}:{run_id}",
        "policy": {"uri": f"policy_snapshot/{policy.file_name}", "digest": {"sha256": policy.digest}},
        "verificationResult": "PASSED" if passed else "FAILED",
        "verifiedLevels": [f"VENTURALITICA_{verdict.status.value.upper()}" if passed else "FAILED"],
        VERDICT: {
            "meaning": MEANING,
            "audit_id": decision.audit_id,
            "store": decision.store,
            "run_id": run_id,
            "policy": policy.ref,
            "policy_in_force_since": since,
            "status": verdict.status.value,
            "counts": {status.value: n for status, n in verdict.counts.items()},
            "evidence": bundle.digest,
            "sandbox": dict(decision.sandbox),
        },
    }
