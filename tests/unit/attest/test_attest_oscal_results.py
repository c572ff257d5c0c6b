"""The verdict as OSCAL: valid to an independent implementation, and sound where that one doesn't look."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.oscal import leaves
from support.verdicts import MODEL_FILES, decision, digest, finding, policy, renamed
from trestle.oscal.assessment_results import AssessmentResults
from trestle.oscal.poam import PlanOfActionAndMilestones

from venturalitica_agent.attest.oscal_results import oscal_files
from venturalitica_agent.domain.evidence import Decision
from venturalitica_agent.domain.verdict import Status, Verdict, Waived, worst

RESULTS, POAM = "assessment-results.oscal.json", "poam.oscal.json"
FILES = {
    "evidence.json": b"{}",
    "report.md": b"# fail",
    f"policy_snapshot/{policy().file_name}": policy().content,
}


def documents(given: Decision) -> dict[str, Any]:
    made = {name: json.loads(content) for name, content in oscal_files(given, policy(), FILES).items()}
    for document in made.values():
        assert_sound(document)
    AssessmentResults.model_validate(made[RESULTS]["assessment-results"])
    if POAM in made:
        PlanOfActionAndMilestones.model_validate(made[POAM]["plan-of-action-and-milestones"])
    return made


def assert_sound(document: Any) -> None:
    """References lead somewhere, UUIDs are there once and of version 5, hashes are those of the files."""
    values = list(leaves(document))
    uuids = [value for key, value in values if key == "uuid"]
    assert len(set(uuids)) == len(uuids)
    assert {UUID(value).version for value in uuids} == {5}
    assert {value for key, value in values if key.endswith("-uuid")} <= set(uuids)
    assert {value[1:] for key, value in values if key == "href" and value.startswith("#")} <= set(uuids)
    (body,) = document.values()
    known = {**FILES, **{f"model/{name}": content for name, content in MODEL_FILES.items()}}
    linked = {link["href"]: link["hashes"] for r in body["back-matter"]["resources"] for link in r["rlinks"]}
    assert linked.pop("data/evaluation") == [{"algorithm": "SHA-256", "value": digest(b"d")}]
    assert linked == {n: [{"algorithm": "SHA-256", "value": digest(c)}] for n, c in known.items()}


def result(given: Decision) -> dict[str, Any]:
    (only,) = documents(given)[RESULTS]["assessment-results"]["results"]
    return dict(only)


def test_only_a_pass_is_satisfied_and_our_own_word_is_the_reason() -> None:
    judged = [s for s in Status if s is not Status.SKIP]
    found = result(decision(policy(), *judged))["findings"]
    states = {f["target"]["status"]["reason"]: f["target"]["status"]["state"] for f in found}
    assert states == {s.value: "satisfied" if s is Status.PASS else "not-satisfied" for s in judged}


def test_a_skipped_control_is_excluded_in_words_and_has_no_finding() -> None:
    found = result(decision(policy(), Status.PASS, Status.SKIP))
    (selection,) = found["reviewed-controls"]["control-selections"]
    assert [c["control-id"] for c in selection["include-controls"]] == ["control-0"]
    assert [c["control-id"] for c in selection["exclude-controls"]] == ["control-1"]
    assert [f["target"]["target-id"] for f in found["findings"]] == ["control-0"]
    assert len(found["observations"]) == 2
    nothing = result(decision(policy(), Status.SKIP))
    assert "findings" not in nothing
    assert "None" in nothing["reviewed-controls"]["control-selections"][0]["description"]


@pytest.mark.parametrize("status", list(Status))
def test_a_plan_of_action_is_made_where_something_has_to_be_done(status: Status) -> None:
    made = documents(decision(policy(), Status.PASS, status))
    wanted = status in (Status.FAIL, Status.WARN, Status.ERROR)
    assert (POAM in made) == wanted
    if wanted:
        plan = made[POAM]["plan-of-action-and-milestones"]
        (item,) = plan["poam-items"]
        (risk,) = plan["risks"]
        assert item["related-risks"] == [{"risk-uuid": risk["uuid"]}]
        (same,) = made[RESULTS]["assessment-results"]["results"][0]["risks"]
        assert risk == same


def test_a_waived_finding_is_a_risk_that_somebody_accepted() -> None:
    waiver = Waived("seasonal data", "r.gil", "2026-12-31")
    found = replace(finding(Status.WAIVED), waived=waiver, would_be=Status.FAIL)
    given = decision(policy(), Status.PASS)
    verdict = Verdict("credit", "1.0.0", given.verdict.policy_digest, worst([Status.WAIVED]), (found,))
    (risk,) = result(replace(given, verdict=verdict))["risks"]
    assert risk["status"] == "deviation-approved"
    assert "r.gil" in risk["statement"]
    assert "2026-12-31" in risk["statement"]


def test_the_same_audit_makes_the_same_bytes_and_another_one_other_uuids() -> None:
    given = decision(policy(), Status.FAIL)
    assert oscal_files(given, policy(), FILES) == oscal_files(given, policy(), FILES)
    other = decision(policy(), Status.FAIL, run_id="another")
    ours, theirs = (documents(d)[RESULTS]["assessment-results"]["uuid"] for d in (given, other))
    assert ours != theirs


@settings(max_examples=40, deadline=None)
@given(st.text(), st.text(min_size=1), st.text())
def test_hostile_names_leave_it_valid(name: str, control: str, sentence: str) -> None:
    given = renamed(decision(policy(), Status.FAIL), name=name, experiment=name)
    found = replace(finding(Status.FAIL, control, sentence=sentence), remedy=name)
    documents(replace(given, verdict=replace(given.verdict, findings=(found,))))
