"""Domain values through JSON and back: the same value, and JSON that any parser takes."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from venturalitica_agent.domain.codec import from_plain, to_json, to_plain
from venturalitica_agent.domain.subject import ColumnBinding, DataPlan, DataRef
from venturalitica_agent.domain.verdict import Interval, Status

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
finite = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.one_of(words, st.integers(-(2**53), 2**53), finite, st.booleans())
bindings = st.builds(
    ColumnBinding,
    words,
    words,
    st.sampled_from(["declared", "name"]),
    st.none() | scalars,
    st.dictionaries(words, st.lists(scalars, max_size=3).map(tuple), max_size=3),
    st.lists(finite, max_size=3).map(tuple),
)
plans = st.builds(
    DataPlan,
    st.dictionaries(words, st.builds(DataRef, words, words), max_size=2),
    st.dictionaries(words, bindings, max_size=2),
    st.booleans(),
)


def typed(value: Any) -> Any:
    """The value with its types spelled out: 1, 1.0 and True are three things here."""
    if isinstance(value, dict):
        return {k: typed(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [typed(v) for v in value]
    return type(value).__name__, value


@settings(max_examples=100, deadline=None)
@given(plan=plans)
def test_a_plan_comes_back_with_every_type(plan: DataPlan) -> None:
    text = to_json(DataPlan, plan)
    back = from_plain(DataPlan, json.loads(text))
    assert back == plan
    assert typed(to_plain(DataPlan, back)) == typed(to_plain(DataPlan, plan))
    assert to_json(DataPlan, back) == text


@pytest.mark.parametrize(("number", "word"), [(math.inf, "Infinity"), (-math.inf, "-Infinity"), (math.nan, "NaN")])
def test_numbers_that_json_has_not_are_words(number: float, word: str) -> None:
    plain = to_plain(Interval, Interval(number, 0.5, 0.95, "wilson"))
    assert plain["low"] == word
    assert repr(from_plain(Interval, plain).low) == repr(number)


def test_words_of_ours_are_plain_words() -> None:
    assert type(to_plain(Status, Status.FAIL)) is str


@pytest.mark.parametrize("wrong", [{}, {"low": "x"}, [], None, {"low": 1, "high": 1, "level": 1}])
def test_anything_else_is_refused(wrong: Any) -> None:
    with pytest.raises(ValidationError):
        from_plain(Interval, wrong)
