"""The schema that editors use says what the loader says, wherever a schema can say it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from jsonschema import Draft7Validator, FormatChecker
from policy_documents import Document, as_bytes, damaged, documents, usual_keys
from test_native import BAD, FULL

from venturalitica_agent.domain.metric import ALIASES, METRICS, Form, Need
from venturalitica_agent.policy import json_schema, load_policies, parse_policy
from venturalitica_agent.policy.json_schema import policy_schema, schema_text
from venturalitica_agent.strict_yaml import InvalidDocument, Mistakes, parse, plain

SHIPPED = Path(__file__).parents[3] / "policies"
SCHEMA = Draft7Validator(policy_schema(), format_checker=FormatChecker(["date"]))
# What only the loader can say: it knows the metric's range, the other controls, every kind of character and number.
BEYOND_A_SCHEMA = re.compile(
    "ranges from|always true|can never be true|is on line|that only looks like one|not '>= 1e999'"
    "|add up to 1|can't be sensitive"
)


def mistakes_of(content: bytes) -> list[str]:
    try:
        parse_policy(content, "p.yaml")
    except InvalidDocument as error:
        return [mistake.message for mistake in error.mistakes]
    return []


def agree(document: Any, content: bytes) -> None:
    refused = [error.message for error in SCHEMA.iter_errors(document)]
    mistakes = mistakes_of(content)
    if not mistakes:
        assert not refused, "the schema refuses what the loader takes"
    elif not all(BEYOND_A_SCHEMA.search(mistake) for mistake in mistakes):
        assert refused, f"the schema takes what the loader refuses: {mistakes}"


def test_the_shipped_schema_is_the_one_that_the_model_gives() -> None:
    """If this fails, run scripts/refresh_docs.py."""
    shipped = Path(json_schema.__file__).with_name("policy.schema.json").read_text(encoding="utf-8")
    assert shipped == schema_text()
    Draft7Validator.check_schema(json.loads(shipped))


@settings(max_examples=40, deadline=None)
@given(documents())
def test_what_is_right_is_right_to_both(document: Document) -> None:
    assert mistakes_of(as_bytes(document)) == []
    assert [error.message for error in SCHEMA.iter_errors(document)] == []


@settings(max_examples=50, deadline=None)
@given(damaged())
def test_what_is_damaged_is_judged_alike(document: Document) -> None:
    agree(document, as_bytes(document))


def test_the_table_of_wrong_policies_is_judged_alike() -> None:
    compared = 0
    for text, *_ in BAD:
        found = Mistakes("p.yaml")
        try:
            document = plain(parse(text.encode(), found))
            found.raise_if_any()
        except InvalidDocument:
            continue  # not even YAML: there is nothing that a schema could judge
        agree(document, text.encode())
        compared += 1
    assert compared > 0.8 * len(BAD)


@pytest.mark.parametrize("name", sorted([*METRICS, *ALIASES]))
def test_the_direction_and_the_groups_of_every_metric_are_in_the_schema(name: str) -> None:
    spec = METRICS[ALIASES.get(name, name)]
    right, wrong = (">=", "<=") if spec.better == "higher" else ("<=", ">=")
    grouped = Need.GROUPS in spec.needs
    control = {"id": "a", "metric": name, "require": f"{right} 0.5"} | ({"role": "g"} if grouped else {})
    control |= usual_keys(spec.name)

    def valid(**keys: str) -> bool:
        kept = {key: value for key, value in (control | keys).items() if value}
        return SCHEMA.is_valid({"policy": "p", "version": "1", "controls": [kept]})

    assert valid()
    assert not valid(require=f"{wrong} 0.5")
    assert valid(role="" if grouped else "g") is False
    assert valid(reference="x") is valid(reference="largest") is (spec.form in (Form.DIFFERENCE, Form.RATIO))


def test_shipped_policies_are_valid_to_the_schema() -> None:
    native = [policy for policy in load_policies(SHIPPED) if policy.shape == "native"]
    assert native
    for content in (*(policy.content for policy in native), FULL.encode()):
        SCHEMA.validate(plain(parse(content, Mistakes("p.yaml"))))


def test_a_document_may_say_where_its_schema_lies() -> None:
    text = '{"$schema": "../policy.schema.json", "policy": "p", "version": "1",'
    text += '"controls": [{"id": "a", "metric": "f1", "require": ">= 0.5"}]}'
    assert mistakes_of(text.encode()) == []
    assert SCHEMA.is_valid(json.loads(text))


def test_the_schema_may_lie_among_the_policies(tmp_path: Path) -> None:
    (tmp_path / "policy.schema.json").write_text(schema_text(), encoding="utf-8")
    (tmp_path / "p.yaml").write_text(FULL, encoding="utf-8")
    assert [policy.id for policy in load_policies(tmp_path)] == ["credit-scoring"]
