"""OSCAL from our own shape: valid to an independent reader, and the same policy when it is read back."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from policy_documents import as_bytes, documents
from support.oscal import leaves
from trestle.oscal.component import ComponentDefinition

from venturalitica_agent.domain.policy import (
    Control,
    DecideOn,
    Enforcement,
    EvaluateWith,
    Op,
    Outcome,
    Policy,
    Requirement,
    Selector,
    Source,
    Split,
)
from venturalitica_agent.policy import load_policies, parse_policy
from venturalitica_agent.policy.oscal_export import to_oscal
from venturalitica_agent.policy.props import Phase
from venturalitica_agent.strict_yaml import InvalidDocument

SHIPPED = Path(__file__).parents[3] / "policies"
NOON = datetime(2026, 11, 3, 12, tzinfo=UTC)
EVERYTHING = Control(
    id="10(2)(f) sex".replace(" ", "/"), metric="disparate_impact", require=Requirement(Op.GE, 0.8), article="10(2)(f)",
    title="  By sex ", role=" gender", crossed_with=("age ", "null"), on=Split.TRAINING, of=Outcome.LABELS,
    target="class", prediction="answer", decide_on=DecideOn.POINT, enforcement=Enforcement.REPORT, severity="critical",
    min_group=7, level=0.99, reference="~", source=Source("convention", "29 CFR 1607.4(D)"), risk="R-7",
    skip=Phase.INCIDENT.skip, line=3,
)  # fmt: skip
# Controls with the keys that only their metrics know.
OWN = (
    Control("l", "l_diversity", Requirement(Op.GE, 2), of=Outcome.LABELS, columns=(" age", "zip, code"), sensitive="~"),
    Control("share", "representation_gap", Requirement(Op.LE, 0.1), of=Outcome.LABELS, role="g",
            shares={"female ": 1e-05, "null": 0.99999}),
    Control("noise", "flip_rate_noise", Requirement(Op.LE, 0.05), noise=0.01, tolerance=0.3),
    Control("gaps", "flip_rate_missing", Requirement(Op.LE, 0.05), missing=0.2, tolerance=0.0),
    Control("large", "demographic_parity_diff", Requirement(Op.LE, 0.1), role="g", reference="largest"),
    Control("less", "declared_shortfall", Requirement(Op.LE, 0.02), logged="test/accuracy", of_metric="accuracy"),
    Control("told", "declared_difference", Requirement(Op.LE, 0.02), logged="test/accuracy", of_metric="accuracy"),
)  # fmt: skip
POLICY = Policy(
    "credit", "1.10", "0" * 64, "p.yaml", b"", (EVERYTHING, *OWN), "Credit: “scoring”",
    {"text": "Regulation (EU) 2024/1689", "consolidated": "2026-07-27"},
    Selector("loan *", {"team": "risk\n", "": ""}, ("FAILED", "FINISHED")),
    evaluate_with=EvaluateWith.LATEST, reaches_back=30 * 86_400.0, retain="10 years",
)  # fmt: skip


def rules(policy: Policy) -> Policy:
    """A policy without what belongs to its file: name, bytes, digest, shape, lines."""
    controls = tuple(replace(control, line=0) for control in policy.controls)
    return replace(policy, digest="", file_name="", content=b"", shape="", controls=controls)


def read_back(document: Any) -> Policy:
    return parse_policy(json.dumps(document, ensure_ascii=False).encode(), "exported.json")


def assert_valid(document: Any) -> None:
    """To trestle's models, and by what they don't look at: references lead somewhere, UUIDs are there once."""
    ComponentDefinition.model_validate(document["component-definition"])
    values = list(leaves(document))
    uuids = [value for key, value in values if key == "uuid"]
    assert max(Counter(uuids).values()) == 1
    assert all(value.removeprefix("#") in uuids for key, value in values if key in ("source", "href"))


def test_every_field_of_a_policy_and_of_a_control_survives() -> None:
    usual = Policy("p", "1", "", "", b"x", (Control("a", "f1", Requirement(Op.GE, 0.5)),))
    for wholes, plain in ((POLICY.controls, usual.controls[0]), ((POLICY,), usual)):
        names = [field.name for field in fields(plain)]
        same = [name for name in names if all(getattr(whole, name) == getattr(plain, name) for whole in wholes)]
        assert set(same) <= {"shape"}, "give these fields another value here, or nothing shows that they survive"
    document = to_oscal(POLICY, NOON)
    assert_valid(document)
    assert rules(read_back(document)) == rules(POLICY)


@settings(max_examples=50, deadline=None)
@given(documents())
def test_whatever_the_native_policy_it_is_valid_oscal_and_comes_back_the_same(native: Any) -> None:
    policy = parse_policy(as_bytes(native), "p.json")
    document = to_oscal(policy, NOON)
    assert_valid(document)
    again = read_back(document)
    assert rules(again) == rules(policy)
    assert to_oscal(again, NOON) == document


@pytest.mark.parametrize("policy", load_policies(SHIPPED), ids=lambda policy: policy.id)
def test_shipped_policies_of_either_shape_export_without_loss(policy: Policy) -> None:
    document = to_oscal(policy, NOON)
    assert_valid(document)
    assert rules(read_back(document)) == rules(policy)


def test_the_same_rules_have_the_same_uuids_and_other_rules_have_others() -> None:
    def uuids(policy: Policy) -> set[str]:
        return {value for key, value in leaves(to_oscal(policy, NOON)) if key == "uuid"}

    looser = replace(POLICY, controls=(replace(EVERYTHING, require=Requirement(Op.GE, 0.7)),))
    assert uuids(POLICY) == uuids(replace(POLICY, content=b"# another comment", digest="1" * 64))
    assert not uuids(POLICY) & uuids(looser)
    assert not uuids(POLICY) & uuids(replace(POLICY, version="1.11"))


def test_ids_that_look_alike_as_tokens_stay_apart() -> None:
    controls = tuple(replace(EVERYTHING, id=name) for name in ("a(b", "a)b", "a-b"))
    document = to_oscal(replace(POLICY, controls=controls), NOON)
    assert_valid(document)
    tokens = [value for key, value in leaves(document) if key == "control-id"]
    assert len(set(tokens)) == 3
    assert [control.id for control in read_back(document).controls] == ["a(b", "a)b", "a-b"]


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("applies_to", '{"experimnt":"x"}', "unknown key 'experimnt'"),
        ("applies_to", '{"status":"DONE"}', "must be FINISHED"),
        ("applies_to", "{", "must be JSON text"),
        ("applies_to", "[" * 100_000, "must be JSON text"),
        ("on_change", '{"re-audit-since":"30"}', "must be a time such as 30d"),
        ("evaluate_with", "run-end", "must be run-start or latest"),
        ("law.consolidated", "2026-02-31", "must be a date of the calendar"),
        ("policy_id", "Credit Scoring", "must be 1 to 64 of"),
    ],
    ids=["key", "status", "json", "depth", "time", "word", "date", "id"],
)
def test_a_damaged_export_is_refused(name: str, value: str, what: str) -> None:
    document = to_oscal(POLICY, NOON)
    (prop,) = [p for p in document["component-definition"]["metadata"]["props"] if p["name"] == name]
    prop["value"] = value
    with pytest.raises(InvalidDocument, match=what):
        read_back(document)
