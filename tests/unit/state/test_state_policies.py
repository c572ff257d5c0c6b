"""The record of policies: terms that follow on each other, bytes that stay, and states of the first release."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from support.verdicts import policy

from venturalitica_agent.domain.policy import EvaluateWith, Policy
from venturalitica_agent.state.opening import open_state
from venturalitica_agent.state.policies import PolicyRecord

A = policy("credit")
B = replace(A, version="1.1.0", digest="b" * 64, content=b"b")

# The table of version 0.1.0, as SQLite kept it.
FIRST_RELEASE = """
CREATE TABLE policies (
    digest VARCHAR(64) NOT NULL, id VARCHAR(64) NOT NULL, version VARCHAR(64) NOT NULL, file_name TEXT NOT NULL,
    content BLOB NOT NULL, first_seen FLOAT NOT NULL, PRIMARY KEY (digest)
);
INSERT INTO policies VALUES ('d2', 'credit', '1.1', 'credit.yaml', X'74776f', 200.5);
INSERT INTO policies VALUES ('d1', 'credit', '1.0', 'credit.yaml', X'6f6e65', 100.5);
INSERT INTO policies VALUES ('e1', 'hiring', '1.0', 'hiring.yaml', X'68', 150.5);
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/state.db"


def put(record: PolicyRecord, *policies: Policy, now: float, gone: tuple[str, ...] = ()) -> None:
    record.put_in_force([(p, "c" * 40, False) for p in policies], folder="/policies", now=now, gone=gone)


def spans(record: PolicyRecord, policy_id: str = "credit") -> list[tuple[str, float, float | None]]:
    return [(term.version, term.since, term.until) for term in record.history()[policy_id]]


def test_each_version_is_in_force_until_the_next_and_may_come_back(url: str) -> None:
    record = PolicyRecord(open_state(url))
    put(record, A, now=100)
    put(record, A, now=110)
    assert spans(record) == [("1.0.0", 100, None)]
    put(record, B, now=200)
    put(record, A, now=300)
    put(record, now=400, gone=("credit",))
    assert spans(record) == [("1.0.0", 100, 200), ("1.1.0", 200, 300), ("1.0.0", 300, 400)]
    assert record.source(B.digest) == ("credit.yaml", b"b")


def test_what_a_version_says_of_versions_comes_back_with_its_origin(url: str) -> None:
    record = PolicyRecord(open_state(url))
    told = replace(B, evaluate_with=EvaluateWith.LATEST, reaches_back=float("inf"))
    record.put_in_force([(told, "c" * 40, True), (policy("fair"), "", None)], folder="/p", now=5)
    (term,) = record.history()["credit"]
    assert (term.evaluate_with, term.reaches_back) == (EvaluateWith.LATEST, float("inf"))
    assert (term.folder, term.commit, term.dirty) == ("/p", "c" * 40, True)
    assert record.history()["fair"][0].dirty is None


def test_the_same_version_with_other_bytes_is_seen_also_when_it_is_no_longer_in_force(url: str) -> None:
    record = PolicyRecord(open_state(url))
    put(record, A, now=1)
    put(record, B, now=2)
    assert record.other_bytes(replace(A, digest="f" * 64)) == A.digest
    assert record.other_bytes(A) is None
    assert record.other_bytes(replace(A, version="9", digest="f" * 64)) is None


def test_two_processes_that_see_the_same_change_note_it_once(url: str) -> None:
    first, second = PolicyRecord(open_state(url)), PolicyRecord(open_state(url))
    put(first, A, now=1)
    for record in (first, second):
        put(record, B, now=2)
    assert spans(second) == [("1.0.0", 1, 2), ("1.1.0", 2, None)]


def test_a_state_of_the_first_release_opens_with_the_terms_that_follow_from_it(url: str, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "state.db") as db:
        db.executescript(FIRST_RELEASE)
    for _ in range(2):
        record = PolicyRecord(open_state(url))
        assert spans(record) == [("1.0", 100.5, 200.5), ("1.1", 200.5, None)]
        assert spans(record, "hiring") == [("1.0", 150.5, None)]
    assert record.source("d1") == ("credit.yaml", b"one")
    put(record, replace(A, version="1.2", digest="d3"), now=300)
    assert spans(record)[1:] == [("1.1", 200.5, 300), ("1.2", 300, None)]


def test_a_mistake_stands_until_it_is_cleared(url: str) -> None:
    record = PolicyRecord(open_state(url))
    record.note_mistake("/p", "first", now=1)
    record.note_mistake("/p", "second", now=2)
    assert [(m["words"], m["since"]) for m in record.mistakes()] == [("second", 2)]
    record.clear_mistake("/p")
    assert record.mistakes() == []
