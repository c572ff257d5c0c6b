"""Which version decides: the rules of `deciding`, as tables, and what must hold whatever the history."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from venturalitica_agent.domain.history import Term, deciding, on_record, superseded
from venturalitica_agent.domain.policy import EvaluateWith

ALL = float("inf")
LATEST = EvaluateWith.LATEST


def term(version: str, since: float, until: float | None = None, **more: object) -> Term:
    return replace(Term("p", version, f"digest of {version}", "p.yaml", since, until), **more)


ONE, TWO, THREE = term("1", 100, 200), term("2", 200, 300), term("3", 300)


@pytest.mark.parametrize(
    ("terms", "started", "version", "why"),
    [
        ([ONE, TWO, THREE], 100, "1", "was in force when the run started"),
        ([ONE, TWO, THREE], 199.9, "1", "was in force"),
        ([ONE, TWO, THREE], 200, "2", "was in force"),
        ([ONE, TWO, THREE], 1e18, "3", "was in force"),
        ([ONE, TWO, THREE], 99, "1", "started before any version was on record: p@1, the oldest one"),
        ([ONE, TWO, THREE], None, "3", "doesn't know when the run started"),
        ([ONE, term("2", 250)], 220, "1", "no version was in force when the run started"),
        ([ONE, TWO, replace(THREE, evaluate_with=LATEST)], 150, "3", "its latest version does"),
        ([ONE, replace(TWO, evaluate_with=LATEST), THREE], 150, "1", "was in force"),
        ([ONE, replace(TWO, reaches_back=ALL), THREE], 150, "2", "asks for runs from before it"),
        ([ONE, replace(TWO, reaches_back=ALL), THREE], 1, "2", "asks for runs from before it"),
        ([ONE, replace(TWO, reaches_back=60), THREE], 150, "2", "asks for runs from before it"),
        ([ONE, replace(TWO, reaches_back=60), THREE], 139, "1", "was in force"),
        ([ONE, TWO, replace(THREE, reaches_back=150)], 150, "3", "asks for runs from before it"),
        ([ONE, TWO, term("1", 300)], 250, "2", "was in force"),
        ([ONE, TWO, term("1", 300, reaches_back=ALL)], 250, "1", "asks for runs from before it"),
        ([ONE, TWO, term("1", 300, reaches_back=ALL)], 150, "1", "was in force"),
    ],
)
def test_the_version_that_decides_and_why(terms: list[Term], started: float | None, version: str, why: str) -> None:
    found = deciding(terms, started)
    assert found.term.version == version
    assert why in found.note


histories = st.lists(
    st.tuples(st.sampled_from("abc"), st.floats(1, 50), st.sampled_from([0.0, 10.0, ALL])), min_size=1, max_size=5
)


@settings(max_examples=50, deadline=None)
@given(histories, st.floats(0, 300))
def test_a_version_decides_about_what_it_covers_only_and_a_later_one_changes_no_run_unless_it_says_so(
    steps: list[tuple[str, float, float]], started: float
) -> None:
    terms: list[Term] = []
    now = 0.0
    for version, pause, reach in steps:
        now += pause
        if terms:
            terms[-1] = replace(terms[-1], until=now)
        terms.append(term(version, now, reaches_back=reach))
        found = deciding(terms, started).term
        assert found in terms
        if found.since > started and found.digest != terms[0].digest:
            assert found.covers(started)
        if len(terms) > 1 and not terms[-1].covers(started):
            assert found.digest == deciding(terms[:-1], started).term.digest


@pytest.mark.parametrize(
    ("terms", "given", "started", "expected"),
    [
        ([ONE, TWO], "1", 150, False),
        ([ONE, replace(TWO, reaches_back=ALL)], "1", 150, True),
        ([ONE, replace(TWO, reaches_back=ALL)], "2", 150, False),
        ([ONE, replace(TWO, reaches_back=60)], "1", 139, False),
        ([ONE, replace(TWO, evaluate_with=LATEST)], "1", 150, False),
        ([ONE, replace(TWO, evaluate_with=LATEST, reaches_back=ALL)], "1", 150, True),
        ([ONE, TWO], "1", 250, True),
        ([ONE, TWO], "2", 150, False),
        ([ONE, replace(TWO, reaches_back=ALL)], "1", None, True),
    ],
    ids=[
        "new runs only", "re-audit", "already", "too long ago", "latest for new audits", "latest, and re-audit",
        "an agent that did not know yet", "a verdict under a later version", "a start that is not known",
    ],
)  # fmt: skip
def test_a_verdict_gives_way_to_a_later_version_that_asks_for_its_run(
    terms: list[Term], given: str, started: float | None, expected: bool
) -> None:
    assert superseded(terms, f"digest of {given}", started) is expected


def test_on_record_is_the_first_time_that_the_bytes_were_in_force() -> None:
    assert on_record([ONE, TWO, term("1", 300)], "digest of 1") == 100
