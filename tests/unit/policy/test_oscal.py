"""The SDK's policy files: every shape in YAML and JSON gives the same controls; nothing is skipped silently."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import yaml

from venturalitica_agent.domain.policy import Control, DecideOn, Enforcement, Op, Outcome, Policy, Requirement, Split
from venturalitica_agent.policy import parse_policy
from venturalitica_agent.strict_yaml import InvalidDocument

Props = dict[str, Any]
IMBALANCE: Props = {"metric_key": "class_imbalance", "operator": "gt", "threshold": "0.2", "input.target": "class"}
IMPACT: Props = {
    "metric": "disparate_impact", "operator": ">", "threshold": 0.8, "severity": "high", "input:target": "class",
    "input:dimension": "Attribute9",
}  # fmt: skip
METADATA = {"title": "Loan Policy", "version": "1.2"}


def props(values: Props) -> list[Props]:
    return [{"name": name, "value": value} for name, value in values.items()]


def requirement(name: str, values: Props) -> Props:
    return {"control-id": name, "description": "What it  checks.", "props": props(values)}


def catalog_control(name: str, values: Props) -> Props:
    return {"id": name, "title": "What it checks.", "props": props(values)}


def implementation(*requirements: Props) -> list[Props]:
    return [{"description": "x", "implemented-requirements": list(requirements)}]


def shapes(first: Props, second: Props) -> dict[str, Any]:
    """Every shape found in the wild that holds two controls."""
    requirements = implementation(requirement("a", first), requirement("b", second))
    controls = [catalog_control("a", first), catalog_control("b", second)]
    selections = {"control-selections": [{"include-controls": [requirement("a", first), requirement("b", second)]}]}
    return {
        "component-definition": {
            "component-definition": {"metadata": METADATA, "components": [{"control-implementations": requirements}]}
        },
        "capabilities": {
            "component-definition": {"metadata": METADATA, "capabilities": [{"control-implementations": requirements}]}
        },
        "catalog": {"catalog": {"metadata": METADATA, "controls": controls}},
        "catalog groups": {"catalog": {"metadata": METADATA, "groups": [{"id": "g", "controls": controls}]}},
        "catalog nested": {
            "catalog": {
                "metadata": METADATA,
                "groups": [{"groups": [{"controls": [{"id": "g", "controls": controls}]}]}],
            }
        },
        "plan of the guides": {"assessment-plan": {"metadata": METADATA, "control-implementations": requirements}},
        "plan of the README": {"assessment-plan": {"metadata": METADATA, "reviewed-controls": selections}},
        "flat list": [
            {"id": "a", "description": "What it checks.", **first},
            {"id": "b", "title": "What it checks.", **second},
        ],
    }


def seen(control: Control) -> tuple[Any, ...]:
    """A control without its line, which differs between shapes."""
    return (
        control.id, control.metric, control.require, control.role, control.target, control.of, control.severity,
        control.title,
    )  # fmt: skip


EXPECTED = [
    ("a", "class_imbalance", Requirement(Op.GT, 0.2), None, "class", Outcome.LABELS, "medium", "What it checks."),
    (
        "b",
        "disparate_impact",
        Requirement(Op.GT, 0.8),
        "Attribute9",
        "class",
        Outcome.LABELS,
        "high",
        "What it checks.",
    ),
]


@pytest.mark.parametrize("dump", [yaml.safe_dump, json.dumps, lambda value: json.dumps(value, indent="\t")])
@pytest.mark.parametrize("shape", shapes({}, {}))
def test_every_shape_gives_the_same_controls(shape: str, dump: Any) -> None:
    policy = parse_policy(dump(shapes(IMBALANCE, IMPACT)[shape]).encode(), "loan-policy.yaml")
    assert [seen(control) for control in policy.controls] == EXPECTED
    assert policy.id == "loan-policy"
    assert policy.version == ("0" if shape == "flat list" else "1.2")


NATIVE = """
policy: loan-policy
version: 1.2
title: Loan Policy
controls:
- {id: a, title: What it checks., metric: class_imbalance, of: labels, target: class, require: "> 0.2"}
- {id: b, title: What it checks., metric: disparate_impact, of: labels, target: class, role: Attribute9,
   require: "> 0.8", severity: high}
"""


@pytest.mark.parametrize("shape", shapes({}, {}))
def test_every_shape_is_the_policy_that_our_own_shape_would_be(shape: str) -> None:
    """In all that a policy says; a flat list has no place for title and version."""

    def said(policy: Policy) -> Policy:
        controls = tuple(replace(control, line=0) for control in policy.controls)
        return replace(policy, content=b"", digest="", shape="", controls=controls)

    native = said(parse_policy(NATIVE.encode(), "loan-policy.yaml"))
    found = said(parse_policy(json.dumps(shapes(IMBALANCE, IMPACT)[shape]).encode(), "loan-policy.yaml"))
    assert found == (replace(native, version="0", title="") if shape == "flat list" else native)


@pytest.mark.parametrize("shape", shapes({}, {}))
def test_no_shape_yields_a_policy_without_controls(shape: str) -> None:
    """Whatever container is emptied, all of it is an error and nothing an empty policy."""
    whole = shapes(IMBALANCE, IMPACT)[shape]
    emptied = list(without_one_list(whole))
    assert emptied
    for document in emptied:
        with pytest.raises(InvalidDocument):
            parse_policy(json.dumps(document).encode(), "p.yaml")


def without_one_list(node: Any) -> Iterator[Any]:
    """The document once for each of its lists, with that list empty."""
    if isinstance(node, list):
        yield []
    items = enumerate(node) if isinstance(node, list) else node.items() if isinstance(node, dict) else ()
    for key, value in items:
        for changed in without_one_list(value):
            copied = node.copy()
            copied[key] = changed
            yield copied


def load(**values: Any) -> Policy:
    """A policy of one control with the given props over a plain accuracy control; dots stand as `__`."""
    given = {"metric_key": "accuracy_score", "operator": ">=", "threshold": "0.8"}
    given |= {name.replace("__", "."): value for name, value in values.items()}
    kept = {name: value for name, value in given.items() if value is not None}
    document = {"catalog": {"metadata": METADATA, "controls": [catalog_control("a", kept)]}}
    return parse_policy(yaml.safe_dump(document, sort_keys=False).encode(), "p.yaml")


def refused(**values: Any) -> InvalidDocument:
    with pytest.raises(InvalidDocument) as caught:
        load(**values)
    return caught.value


@pytest.mark.parametrize(
    ("spelling", "op"),
    [
        ("<", Op.LT), ("lt", Op.LT), ("<=", Op.LE), ("le", Op.LE), ("lte", Op.LE), (">", Op.GT), ("gt", Op.GT),
        (">=", Op.GE), ("ge", Op.GE), ("gte", Op.GE), ("==", Op.EQ), ("eq", Op.EQ), ("!=", Op.NE), ("ne", Op.NE),
        ("GTE", Op.GE),
    ],
)  # fmt: skip
def test_every_spelling_of_an_operator(spelling: str, op: Op) -> None:
    falling = op in (Op.LT, Op.LE)
    metric = {"metric_key": "demographic_parity_diff", "input__dimension": "g"} if falling else {}
    assert load(operator=spelling, **metric).controls[0].require == Requirement(op, 0.8)


def test_all_props_are_read() -> None:
    control = load(
        metric_key="disparate_impact", input__target="class", input__prediction="pred", input__dimension="sex",
        severity="critical", lifecycle_phase="validation", enforcement_mode="monitor", risk_id="R-1",
        threshold_justification="four fifths", min_group="5", decide_on="point", level="0.9", reference="male",
        data="training", article="10(2)(f)", label="1.a",
    ).controls[0]  # fmt: skip
    assert (control.target, control.prediction, control.role) == ("class", "pred", "sex")
    assert (control.severity, control.enforcement, control.risk) == ("critical", Enforcement.REPORT, "R-1")
    assert (control.source.kind, control.source.ref, control.article) == ("house", "four fifths", "10(2)(f)")
    assert (control.min_group, control.decide_on, control.level) == (5, DecideOn.POINT, 0.9)
    assert (control.reference, control.on, control.of, control.skip) == (
        "male",
        Split.TRAINING,
        Outcome.PREDICTIONS,
        "",
    )


def test_a_control_that_names_no_prediction_looks_at_the_labels() -> None:
    assert load(metric_key="disparate_impact", input__dimension="g").controls[0].of is Outcome.LABELS
    assert load(metric_key="accuracy_score").controls[0].of is Outcome.PREDICTIONS


@pytest.mark.parametrize("before", ["", "input__"])
def test_the_columns_of_privacy_in_the_words_of_the_sdk(before: str) -> None:
    columns = {f"{before}quasi_identifiers": "age, gender,zip", f"{before}sensitive_attribute": "diagnosis"}
    (control,) = load(metric_key="l_diversity", threshold="2", **columns).controls
    assert (control.columns, control.sensitive) == (("age", "gender", "zip"), "diagnosis")
    assert control.of is Outcome.LABELS


@pytest.mark.parametrize("phase", ["monitoring", "incident"])
def test_phases_after_training_are_skipped_with_a_reason(phase: str) -> None:
    """They stay in the policy: a skip is counted, never silent."""
    (control,) = load(lifecycle_phase=phase).controls
    assert phase in control.skip


@pytest.mark.parametrize("phase", ["training", "validation", None])
def test_phases_of_training_are_evaluated(phase: str | None) -> None:
    assert load(lifecycle_phase=phase).controls[0].skip == ""


@pytest.mark.parametrize(
    ("values", "path", "what", "near"),
    [
        ({"lifecycle_phase": "trainning"}, "value", "must be training", "training"),
        ({"treshold": "0.9"}, "name", "unknown prop 'treshold'", "threshold"),
        ({"input__dimenson": "g"}, "name", "unknown prop 'input.dimenson'", "input.dimension"),
        ({"average": "macro"}, "name", "unknown prop 'average'", ""),
        ({"metric_key": "acuracy_score"}, "value", "not a metric that this version measures", "accuracy_score"),
        ({"metric_key": "k_anonymity", "quasi_identifiers": "a,,b"}, "value", "separated by commas, each once", ""),
        ({"metric_key": "k_anonymity"}, "", "k_anonymity needs 'columns'", ""),
        ({"metric_key": "l_diversity", "quasi_identifiers": "a"}, "", "l_diversity needs 'sensitive'", ""),
        ({"metric_key": "l_diversity", "quasi_identifiers": "a", "sensitive_attribute": "a"}, "value",
         "can't be sensitive and", ""),
        ({"quasi_identifiers": "a,b"}, "value", "doesn't look at 'columns'", ""),
        ({"metric_key": "equalized_odds_ratio", "input__dimension": "g", "operator": "<"}, "value",
         "no ratio in the SDK", "equalized_odds_diff"),
        ({"operator": "=>"}, "value", "must be one of", ">="),
        ({"operator": "<"}, "value", "wrong way round", ""),
        ({"threshold": "80"}, "value", "ranges from 0 to 1", ""),
        ({"threshold": "80%"}, "value", "must be a number", ""),
        ({"threshold": "nan"}, "value", "must be a number", ""),
        ({"threshold": None}, "", "'threshold' is missing", ""),
        ({"metric_key": None}, "", "'metric_key' is missing", ""),
        ({"operator": None}, "", "'operator' is missing", ""),
        ({"metric": "accuracy"}, "name", "given twice", ""),
        ({"input__target": "a", "input:target": "b"}, "name", "given twice", ""),
        ({"input__score": "p"}, "value", "has no meaning for accuracy", ""),
        ({"input__dimension": "g"}, "value", "doesn't compare groups", ""),
        ({"metric_key": "disparate_impact"}, "", "name the group role", ""),
        ({"metric_key": "data_completeness", "input__prediction": "p"}, "value", "neither", ""),
        ({"enforcement_mode": "blok"}, "value", "must be block", "block"),
        ({"severity": "severe"}, "value", "must be low", ""),
        ({"min_group": "few"}, "value", "whole number", ""),
        ({"decide_on": "points"}, "value", "interval or point", "point"),
        ({"input__protected_attributes": "sex"}, "value", "name the group role in 'input.dimension'",
         "input.dimension"),
        ({"of": "labels"}, "value", "accuracy can't look at labels", ""),
        ({"source_kind": "lwa"}, "value", "must be law", "law"),
        ({"metric_key": "disparate_impact", "input__dimension": "g", "input__dimension__2": "g"}, "value",
         "is named twice", ""),
        ({"metric_key": "disparate_impact", "input__dimension": "g", "input__dimension__3": "h"}, "name",
         "unknown prop", "input.dimension.2"),
        ({"threshold": ""}, "value", "must be a number", ""),
    ],
)  # fmt: skip
def test_bad_props_are_refused_with_their_line(values: Props, path: str, what: str, near: str) -> None:
    error = refused(**values)
    (mistake,) = [m for m in error.mistakes if what in m.message]
    assert mistake.nearest == near
    assert mistake.path.endswith(path)
    assert f"p.yaml:{mistake.line}:{mistake.column}: " in str(error)


BAD_SHAPES: list[tuple[str, int, int, str, str]] = [
    ("profile: {uuid: x, imports: []}\n", 1, 10, "a profile holds no controls of its own", ""),
    ("catalog: {metadata: {title: t}}\n", 1, 1, "without controls", ""),
    ("catalog: {metadata: {title: t}, controls: []}\n", 1, 1, "without controls", ""),
    ("catalog: {groups: [{id: g}]}\n", 1, 1, "without controls", ""),
    ("component-definition: {components: []}\n", 1, 1, "without controls", ""),
    ("assessment-plan: {reviewed-controls: {control-selections: [{include-all: {}}]}}\n", 1, 1, "without controls", ""),
    ("[]\n", 1, 1, "without controls", ""),
    ("catalog:\n  contrls: []\n", 2, 3, "unknown key 'contrls'", "controls"),
    ("component-definition:\n  components:\n  - control-implementation: []\n", 3, 5, "unknown key",
     "control-implementations"),
    ("component-definition:\n  import-component-definitions: [{href: x}]\n", 2, 3, "unknown key", ""),
    ("catalog:\n  controls:\n  - {id: a, prop: []}\n", 3, 13, "unknown key 'prop'", "props"),
    ("catalog:\n  controls:\n  - {id: a}\n", 3, 5, "has no props", ""),
    ("catalog:\n  controls:\n  - {id: a, props: []}\n", 3, 20, "'metric_key' is missing", ""),
    ("catalog:\n  controls:\n  - {id: a, props: [{name: metric_key}]}\n", 3, 21, "'value' is missing", ""),
    ("assessment-plan:\n  reviewed-controls:\n    control-selections: [{include-controls: [{control-id: a}]}]\n", 3, 46,
     "has no props", ""),
    ("- {metric_key: accuracy, operator: gt, threshold: 0.8}\n", 1, 3, "'id' is missing", ""),
    ("- {id: a, metric_key: accuracy, operator: gt, treshold: 0.8}\n", 1, 47, "unknown prop 'treshold'", "threshold"),
    ("- {id: a, metric_key: accuracy, operator: gt, threshold: 0.8}\n" * 2, 2, 1, "is on line 1 already", ""),
    ("- accuracy\n", 1, 3, "must be a map", ""),
    ("catalog: {}\nprofile: {}\n", 1, 1, "two documents in one file", ""),
    ("catalog: {}\ncontrols: []\n", 2, 1, "unknown key 'controls'", ""),
    ("catalog:\n  metadata: {titel: t}\n  controls: []\n", 2, 14, "unknown key 'titel'", "title"),
    ("catalog:\n  metadata: {title: t, verison: 2}\n  controls: []\n", 2, 24, "unknown key 'verison'", "version"),
    ("catalog:\n  controls:\n  - {id: a, props: [{name: threshold, value: ~}]}\n", 3, 46, "'threshold' is empty", ""),
    ("catalog:\n  controls:\n  - {id: a, parts: [{props: [{name: metric_key, value: f1}]}]}\n", 3, 37,
     "belongs to no control", ""),
    ("assessment-plan:\n  local-definitions: {controls: [{props: [{name: metric_key, value: f1}]}]}\n", 2, 50,
     "belongs to no control", ""),
    ("component-definition:\n  components:\n  - {props: [{name: metric, value: f1}]}\n", 3, 21,
     "belongs to no control", ""),
    ("catalog:\n  metadata: {title: t, version: 1 beta}\n  controls: []\n", 2, 33, "must be 1 to 64", ""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "column", "what", "near"), BAD_SHAPES)
def test_bad_documents_are_refused_with_line_and_column(
    text: str, line: int, column: int, what: str, near: str
) -> None:
    with pytest.raises(InvalidDocument) as caught:
        parse_policy(text.encode(), "p.yaml")
    there = [m for m in caught.value.mistakes if (m.line, m.column) == (line, column)]
    assert [m.nearest for m in there if what in m.message] == [near], str(caught.value)


def test_a_statement_that_hides_a_metric_beside_a_control_is_told() -> None:
    """The control itself is fine: without the complaint, one of two checks would never happen."""
    control = requirement("a", IMBALANCE) | {"statements": [{"statement-id": "s", "props": props(IMPACT)}]}
    document = {"component-definition": {"components": [{"control-implementations": implementation(control)}]}}
    with pytest.raises(InvalidDocument) as caught:
        parse_policy(json.dumps(document).encode(), "p.json")
    assert ["belongs to no control" in mistake.message for mistake in caught.value.mistakes] == [True]


def test_remarks_of_the_sdk_templates_and_names_that_look_like_nothing_are_kept_apart() -> None:
    control = load(metric_key="disparate_impact", input__dimension="null", note="Rate ratio").controls[0]
    assert control.role == "null"


def test_a_plan_may_repeat_the_ids_of_its_controls_for_review() -> None:
    document = {
        "assessment-plan": {
            "metadata": METADATA,
            "control-implementations": implementation(requirement("a", IMBALANCE)),
            "reviewed-controls": {"control-selections": [{"include-controls": [{"control-id": "a"}]}]},
        }
    }
    policy = parse_policy(json.dumps(document).encode(), "p.json")
    assert [control.id for control in policy.controls] == ["a"]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"metadata": {"title": "  Política de Crédito (2026) "}, "uuid": "1b"}, "pol-tica-de-cr-dito-2026"),
        ({"metadata": {"title": "信用"}, "uuid": "1B-2c"}, "1b-2c"),
        ({"uuid": "1b-2c"}, "1b-2c"),
        ({}, "my-loan-policy"),
    ],
)
def test_the_policy_id_comes_from_title_uuid_or_file_name(document: Props, expected: str) -> None:
    catalog = {"catalog": {**document, "controls": [catalog_control("a", IMBALANCE)]}}
    assert parse_policy(json.dumps(catalog).encode(), "My loan_policy.json").id == expected


def test_flat_items_may_hold_their_inputs_in_a_map() -> None:
    text = "- {id: a, metric: disparate_impact, operator: gt, threshold: 0.8, input: {target: class, dimension: sex}}\n"
    (control,) = parse_policy(text.encode(), "flat.yaml").controls
    assert (control.target, control.role) == ("class", "sex")
