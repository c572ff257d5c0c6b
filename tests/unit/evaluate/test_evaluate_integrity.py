"""A file that is provably not the logged dataset is a finding; everything less than proof is not."""

import pytest

from venturalitica_agent.domain.policy import Policy
from venturalitica_agent.domain.subject import DataSubject, DigestCheck, FileDigest, Subject
from venturalitica_agent.domain.verdict import Status
from venturalitica_agent.evaluate.integrity import integrity_findings
from venturalitica_agent.evaluate.judge import judge

POLICY = Policy("p", "1", "0" * 64, "p.yaml", b"", ())


def subject(check: DigestCheck) -> Subject:
    data = DataSubject(
        name="test.csv",
        path="/cache/x",
        format="csv",
        origin="artifact data/test.csv of the run",
        file=FileDigest("test.csv", 1, "0" * 64),
        columns=("a",),
        rows=1,
        tracker_digest="1234abcd",
        check=check,
        check_reason="it has 1 row, 300 were logged",
    )
    return Subject(data={"evaluation": data})


def test_a_mismatch_warns_and_says_why() -> None:
    (finding,) = integrity_findings(subject(DigestCheck.MISMATCH))
    assert finding.status is Status.WARN
    assert finding.control == "evaluation-data-digest"
    assert "1234abcd: it has 1 row, 300 were logged" in finding.sentence
    assert judge(POLICY, [], [finding]).status is Status.WARN


@pytest.mark.parametrize("check", [DigestCheck.MATCH, DigestCheck.UNCHECKABLE])
def test_without_proof_there_is_no_finding(check: DigestCheck) -> None:
    assert integrity_findings(subject(check)) == ()
