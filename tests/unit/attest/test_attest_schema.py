"""The schema of evidence.json describes what is written, all of it, and nothing else."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from support.attested import decision, policy
from support.verdicts import decision as plain_decision
from support.verdicts import policy as plain_policy

import venturalitica_verify
from venturalitica_agent.attest.bundle import build_bundle, evidence_document
from venturalitica_agent.domain.subject import Subject
from venturalitica_agent.domain.verdict import Status
from venturalitica_verify.strict import number

SCHEMA = json.loads((Path(venturalitica_verify.__file__).parent / "evidence.schema.json").read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)
BY_NAME = {"data", "binding", "missing", "law", "environment", "sandbox", "groups", "needed"}
OPTIONAL = {"rule", "name", "experiment", "experiment_id", "status", "start_time", "end_time"}


def objects(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every object whose keys the schema names."""
    if isinstance(node, dict):
        if not (path and path[-1] in BY_NAME):
            yield path
        for key, value in node.items():
            yield from objects(value, (*path, key))
    elif isinstance(node, list):
        for at, value in enumerate(node):
            yield from objects(value, (*path, at))


def at(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_what_is_written_is_as_the_schema_says() -> None:
    VALIDATOR.validate(evidence_document(decision(), policy()))
    for status in Status:
        given = plain_decision(plain_policy(), status)
        bundle = build_bundle(given, plain_policy())
        VALIDATOR.validate(json.loads(bundle.files[bundle.evidence]))
    VALIDATOR.validate(evidence_document(plain_decision(plain_policy(), Status.ERROR, about=Subject()), plain_policy()))


def test_no_object_may_have_more_or_less_than_the_schema_names() -> None:
    document = evidence_document(decision(), policy())
    ways = list(objects(document))
    assert len(ways) > 60
    for path in ways:
        more = copy.deepcopy(document)
        at(more, path)["unheard-of"] = 1
        assert not VALIDATOR.is_valid(more), path
    seen: set[tuple[str, ...]] = set()
    for path in ways:
        shape = tuple(str(key) for key in path if not isinstance(key, int))
        if shape in seen:
            continue
        seen.add(shape)
        for key in set(at(document, path)) - OPTIONAL:
            less = copy.deepcopy(document)
            del at(less, path)[key]
            assert not VALIDATOR.is_valid(less), (path, key)


@pytest.mark.parametrize(("word", "meant"), [("NaN", math.nan), ("Infinity", math.inf), ("-Infinity", -math.inf)])
def test_what_is_not_finite_is_a_word_that_is_read_back(word: str, meant: float) -> None:
    found = next(
        f for f in evidence_document(decision(), policy())["verdict"]["findings"] if f["control"] == "infinite"
    )
    found["measurement"]["value"] = word
    assert repr(number(found["measurement"]["value"])) == repr(meant)


def test_the_same_audit_at_another_time_differs_in_its_times_only() -> None:
    one, other = (evidence_document(d, policy()) for d in (decision(), decision()))
    assert one == other
    later = evidence_document(replace(decision(), decided_at="2027-01-01T00:00:00Z"), policy())
    assert {key for key in one if one[key] != later[key]} == {"times"}
