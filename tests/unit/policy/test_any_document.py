"""Whatever the shape of a document: a policy with controls, or a list of mistakes; never another error."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from venturalitica_agent.domain.policy import Policy
from venturalitica_agent.policy import parse_policy
from venturalitica_agent.strict_yaml import InvalidDocument

KEYS = [
    "policy", "version", "title", "law", "applies_to", "controls", "id", "metric", "require", "role", "source", "tags",
    "status", "experiment", "kind", "catalog", "component-definition", "assessment-plan", "profile", "components",
    "control-implementations", "implemented-requirements", "control-id", "props", "name", "value", "groups", "metadata",
    "uuid", "metric_key", "threshold", "operator", "input", "reviewed-controls", "control-selections",
    "include-controls", "capabilities", "min_group", "level", "statements", "ns",
    "class", "policy_id", "x",
]  # fmt: skip
WORDS = [
    "urn:venturalitica:policy",
    "json",
    "policy_id",
    "applies_to",
    '{"tags":{"a":[1]}}',
    "accuracy",
    "disparate_impact",
    ">= 0.8",
    "gt",
    "p",
    "1.0",
    "metric_key",
    "threshold",
    "operator",
    "0.5",
    "",
]
scalars = st.sampled_from(WORDS) | st.none() | st.booleans() | st.integers(-3, 40) | st.floats(0, 1)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=25,
)


@settings(max_examples=100, deadline=None)
@given(documents | st.dictionaries(st.sampled_from(KEYS), documents, min_size=1, max_size=5))
def test_any_document_is_a_policy_or_a_list_of_mistakes(document: Any) -> None:
    found: Policy | InvalidDocument
    try:
        found = parse_policy(json.dumps(document).encode(), "p.json")
    except InvalidDocument as error:
        found = error
    assert found.controls if isinstance(found, Policy) else found.mistakes
