"""OSCAL that its schema and trestle find nothing wrong with, and that isn't true: each is told by our verifier."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.attested import attested, decision, inside, notary, policy
from trestle.oscal.assessment_results import AssessmentResults
from trestle.oscal.poam import PlanOfActionAndMilestones

from venturalitica_agent.attest.oscal_results import oscal_files
from venturalitica_verify import verify_bundle

RESULTS, PLAN = "assessment-results.oscal.json", "poam.oscal.json"
ANOTHER = "11111111-2222-4333-8444-555555555555"
Documents = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    return inside(attested(notary(tmp_path_factory.mktemp("attested"))))


def result(of: Documents) -> dict[str, Any]:
    found: dict[str, Any] = of[RESULTS]["assessment-results"]["results"][0]
    return found


def named(nodes: list[dict[str, Any]], control: str) -> dict[str, Any]:
    return next(node for node in nodes if node["title"].endswith(f": {control}"))


def prop(node: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in node["props"] if one["name"] == name)


def finding(of: Documents, control: str) -> dict[str, Any]:
    return named(result(of)["findings"], control)


def items(of: Documents) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = of[PLAN]["plan-of-action-and-milestones"]["poam-items"]
    return found


def resource(of: Documents, title: str) -> dict[str, Any]:
    return next(r for r in of[RESULTS]["assessment-results"]["back-matter"]["resources"] if r["title"] == title)


def turned(of: Documents) -> None:
    status = finding(of, "fails")["target"]["status"]
    status |= {"state": "satisfied", "reason": "pass"}


def swapped(of: Documents) -> None:
    one, other = finding(of, "fails"), finding(of, "passes")
    one["related-observations"], other["related-observations"] = (
        other["related-observations"],
        one["related-observations"],
    )


def reference(of: Documents) -> None:
    finding(of, "fails")["related-observations"][0]["observation-uuid"] = ANOTHER


def twice(of: Documents) -> None:
    observations = result(of)["observations"]
    observations[1]["uuid"] = observations[0]["uuid"]


def hashed(of: Documents) -> None:
    resource(of, "report.md")["rlinks"][0]["hashes"][0]["value"] = "0" * 64


MUTATIONS: Mapping[str, Callable[[Documents], Any]] = {
    "a failure is satisfied": turned,
    "a failure's word": lambda of: finding(of, "fails")["target"]["status"].update(reason="warn"),
    "a failure's property": lambda of: prop(finding(of, "fails"), "verdict").update(value="pass"),
    "a failure's title": lambda of: finding(of, "fails").update(title="pass: fails"),
    "a finding is left out": lambda of: result(of)["findings"].remove(finding(of, "fails")),
    "a finding is there twice": lambda of: result(of)["findings"].append(finding(of, "passes")),
    "a finding of nothing": lambda of: finding(of, "fails").update(uuid=ANOTHER),
    "an observation of another control": swapped,
    "an observation that is not there": reference,
    "an observation is left out": lambda of: result(of)["observations"].pop(0),
    "a UUID twice": twice,
    "another value": lambda of: prop(named(result(of)["observations"], "fails"), "value").update(value="0.9"),
    "a risk that is approved": lambda of: named(result(of)["risks"], "fails").update(status="deviation-approved"),
    "a waiver that is none": lambda of: named(result(of)["risks"], "waived").update(status="open"),
    "a risk is left out": lambda of: result(of)["risks"].remove(named(result(of)["risks"], "fails")),
    "a risk of another": lambda of: finding(of, "fails").update({"related-risks": [{"risk-uuid": ANOTHER}]}),
    "the status of it all": lambda of: prop(result(of), "status").update(value="pass"),
    "the title of it all": lambda of: result(of).update(title=result(of)["title"].replace("error", "pass")),
    "another policy": lambda of: prop(result(of), "policy-digest").update(value="0" * 64),
    "another audit": lambda of: prop(result(of), "audit-id").update(value="0" * 32),
    "another time": lambda of: result(of).update(end="2020-01-01T00:00:00Z"),
    "another document": lambda of: of[RESULTS]["assessment-results"].update(uuid=ANOTHER),
    "another file": lambda of: resource(of, "report.md")["rlinks"][0].update(href="report.txt"),
    "other bytes of a file": hashed,
    "a plan of nothing": lambda of: of[RESULTS]["assessment-results"]["import-ap"].update(href=f"#{ANOTHER}"),
    "an item is left out": lambda of: items(of).remove(named(items(of), "fails")),
    "an item for another risk": lambda of: named(items(of), "fails").update(
        {"related-risks": [{"risk-uuid": ANOTHER}]}
    ),
    "no plan of action": lambda of: of.pop(PLAN),
}


def changed(files: Mapping[str, bytes], change: Callable[[Documents], Any]) -> tuple[Documents, dict[str, bytes]]:
    documents = {name: json.loads(files[name]) for name in (RESULTS, PLAN)}
    change(documents)
    rest = {name: content for name, content in files.items() if name not in (RESULTS, PLAN)}
    return documents, rest | {name: json.dumps(document).encode() for name, document in documents.items()}


def told(files: Mapping[str, bytes]) -> dict[str, str]:
    """What is wrong with the documents themselves; that their hashes are other ones is another check's to say."""
    checks = {check.name: check for check in verify_bundle(files)}
    return {n: checks[n].words for n in ("references", "oscal") if checks[n].outcome.value != "ok"}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_what_trestle_finds_nothing_wrong_with_is_told(files: Mapping[str, bytes], mutation: str) -> None:
    documents, found = changed(files, MUTATIONS[mutation])
    AssessmentResults.model_validate(documents[RESULTS]["assessment-results"])
    if PLAN in documents:
        PlanOfActionAndMilestones.model_validate(documents[PLAN]["plan-of-action-and-milestones"])
    assert told(found)


def test_what_is_true_is_not_complained_of(files: Mapping[str, bytes], tmp_path: Path) -> None:
    assert told(changed(files, lambda _: None)[1]) == {}
    assert oscal_files(decision(), policy(), {"a": b""}).keys() == {RESULTS, PLAN}
    assert told(files | {PLAN: b"{}"})["oscal"]
