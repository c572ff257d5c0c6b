"""Versions on record as people name and read them."""

from __future__ import annotations

import pytest

from venturalitica_agent.domain.history import Term
from venturalitica_agent.errors import ConfigError
from venturalitica_agent.policy.history import find, line, row


def term(policy: str, version: str, since: float, until: float | None = None, **more: object) -> Term:
    return Term(policy, version, f"{version}{policy}" * 8, f"{policy}.yaml", since, until, **more)  # type: ignore[arg-type]


HISTORY = {
    "credit": (
        term("credit", "1.0", 0, 10),
        term("credit", "1.1", 10, 20),
        term("credit", "1.0", 20, commit="c" * 40, dirty=True),
        term("credit", "v2", 30),
    ),
    "fair": (term("fair", "1.1", 5),),
}


@pytest.mark.parametrize(
    ("ref", "policy", "since"),
    [
        ("credit@1.1", "credit", 10),
        ("credit@v1.1", "credit", 10),
        ("fair@1.1", "fair", 5),
        ("1.0", "credit", 20),
        ("v1.0", "credit", 20),
        ("v2", "credit", 30),
    ],
)
def test_a_version_is_found_by_its_name_and_of_several_terms_the_last(ref: str, policy: str, since: float) -> None:
    found = find(HISTORY, ref)
    assert (found.policy, found.since) == (policy, since)


@pytest.mark.parametrize(
    ("ref", "what", "remedy"),
    [
        ("1.1", "several policies have a version 1.1: credit, fair", "such as credit@1.1"),
        ("3", "neither a file nor a version", "credit@1.0, credit@1.1, credit@v2, fair@1.1"),
        ("fair@1.0", "neither a file nor a version", "on record: fair@1.1"),
        ("other@1.0", "neither a file nor a version", "none"),
    ],
)
def test_what_is_not_there_or_not_clear_is_told_with_what_there_is(ref: str, what: str, remedy: str) -> None:
    with pytest.raises(ConfigError, match=what) as refused:
        find(HISTORY, ref)
    assert remedy in refused.value.remedy


def test_a_term_in_one_line_and_as_json() -> None:
    assert line(HISTORY["credit"][0]) == (
        "credit@1.0  from 1970-01-01T00:00:00Z  until 1970-01-01T00:00:10Z  sha256:1.0credit1.0cred…"
    )
    assert line(HISTORY["credit"][2]).endswith(
        "still in force  sha256:1.0credit1.0cred…  commit cccccccccccc with changes"
    )
    assert row(HISTORY["fair"][0]) == {
        "policy": "fair", "version": "1.1", "digest": "1.1fair" * 8, "file": "fair.yaml",
        "from": "1970-01-01T00:00:05Z", "until": None, "commit": "", "dirty": None,
    }  # fmt: skip
