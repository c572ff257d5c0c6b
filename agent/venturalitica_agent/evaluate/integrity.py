"""What the data's digests say, as findings of their own: a file that is provably not the logged dataset."""

from __future__ import annotations

from venturalitica_agent.domain.subject import DataSubject, DigestCheck, Subject
from venturalitica_agent.domain.verdict import Finding, Status


def integrity_findings(subject: Subject) -> tuple[Finding, ...]:
    """One `warn` for each split whose digest is proven to differ from the tracker's; match and uncheckable give none.

    It warns and doesn't fail: what was measured is true of the file that was read, whose SHA-256 is in the evidence;
    but it is not the data that the run declared.
    """
    return tuple(
        _mismatch(split, data) for split, data in sorted(subject.data.items()) if data.check is DigestCheck.MISMATCH
    )


def _mismatch(split: str, data: DataSubject) -> Finding:
    return Finding(
        control=f"{split}-data-digest",
        status=Status.WARN,
        sentence=(
            f"The {split} data that were audited ({data.origin}) are not the dataset that the run logged under digest "
            f"{data.tracker_digest}: {data.check_reason}."
        ),
        metric="dataset_digest",
        article="11, Annex IV 2(d)",
        enforcement="warn",
        require="as logged",
        decided_on="digest",
        remedy="log the very file that the run used, or bind the right one in agent.yaml",
    )
