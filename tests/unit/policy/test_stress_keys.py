"""`noise`, `missing` and `tolerance`: what they mean where they are not written, and where they mean nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from jsonschema import Draft7Validator

from venturalitica_agent.domain.policy import Control
from venturalitica_agent.policy import parse_policy
from venturalitica_agent.policy.diff import diff
from venturalitica_agent.policy.json_schema import policy_schema
from venturalitica_agent.policy.oscal_export import to_oscal
from venturalitica_agent.strict_yaml import InvalidDocument

SCHEMA = Draft7Validator(policy_schema())


def document(metric: str, **keys: object) -> dict[str, object]:
    return {"policy": "p", "version": "1", "controls": [{"id": "a", "metric": metric, "require": "<= 0.05"} | keys]}


def control(metric: str, **keys: object) -> Control:
    return parse_policy(json.dumps(document(metric, **keys)).encode(), "p.json").controls[0]


def sizes(found: Control) -> tuple[float | None, float | None, float | None]:
    return found.noise, found.missing, found.tolerance


def test_each_metric_has_its_own_sizes_and_usual_values() -> None:
    assert sizes(control("flip_rate_noise")) == (0.05, None, 0.1)
    assert sizes(control("flip_rate_missing")) == (None, 0.05, 0.1)
    assert sizes(control("brier")) == (None, None, None)
    assert sizes(control("flip_rate_noise", noise=0.01, tolerance=0)) == (0.01, None, 0.0)
    assert sizes(control("flip_rate_missing", missing=0.5, tolerance=1)) == (None, 0.5, 1.0)


@pytest.mark.parametrize(
    ("metric", "keys", "what"),
    [
        ("flip_rate_noise", {"noise": 0}, "'noise'"),
        ("flip_rate_noise", {"noise": 11}, "'noise'"),
        ("flip_rate_noise", {"missing": 0.1}, "flip_rate_noise doesn't look at 'missing': remove it"),
        ("flip_rate_missing", {"missing": 1}, "'missing'"),
        ("flip_rate_missing", {"missing": "5 %"}, "'missing'"),
        ("flip_rate_missing", {"noise": 0.1}, "look at 'noise'"),
        ("flip_rate_missing", {"tolerance": -1}, "'tolerance'"),
        ("brier", {"tolerance": 0.1}, "brier doesn't look at 'tolerance': remove it"),
        ("flip_rate_noise", {"role": "gender"}, "remove the role"),
        ("flip_rate_noise", {"of": "labels"}, "needs predictions: remove 'of'"),
    ],
)
def test_loader_and_schema_refuse_what_means_nothing(metric: str, keys: dict[str, object], what: str) -> None:
    with pytest.raises(InvalidDocument, match=what):
        control(metric, **keys)
    assert not SCHEMA.is_valid(document(metric, **keys))


@pytest.mark.parametrize("metric", ["flip_rate_noise", "flip_rate_missing"])
def test_they_are_written_out_in_oscal_and_come_back(metric: str) -> None:
    policy = parse_policy(json.dumps(document(metric, tolerance=0.25)).encode(), "p.json")
    assert SCHEMA.is_valid(document(metric, tolerance=0.25))
    exported = to_oscal(policy, datetime(2026, 11, 3, tzinfo=UTC))
    again = parse_policy(json.dumps(exported).encode(), "p.json")
    assert sizes(again.controls[0]) == sizes(policy.controls[0])
    assert '"0.25"' in json.dumps(exported)


def test_another_size_is_another_question() -> None:
    old, new = (
        parse_policy(json.dumps(document("flip_rate_noise", noise=size)).encode(), "p.json") for size in (0.05, 0.1)
    )
    assert [str(change) for change in diff(old, new)] == ["changed: a: the noise on numbers is 0.1 (was 0.05)"]
