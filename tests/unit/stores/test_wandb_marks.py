"""A verdict as tags and summary entry, there and back, beside what others have in both."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from venturalitica_agent.policy.rules import POLICY_ID, VERSION
from venturalitica_agent.stores import wandb_marks as marks

policies = st.from_regex(POLICY_ID, fullmatch=True)
versions = st.from_regex(VERSION, fullmatch=True)
statuses = st.sampled_from(["pass", "fail", "inconclusive", "error"])


@st.composite
def verdicts(draw: Any) -> dict[str, str]:
    """Tags as the pipeline writes them: one policy's, or the deciding one's with each below its id."""
    each = draw(st.dictionaries(policies, st.tuples(versions, statuses), min_size=1, max_size=4))
    first = next(iter(each))
    tags = {"venturalitica.policy": f"{first}@{each[first][0]}", "venturalitica.failed": draw(st.text(max_size=20))}
    if len(each) > 1:
        for policy, (version, status) in each.items():
            tags |= {
                f"venturalitica.{policy}.policy": f"{policy}@{version}",
                f"venturalitica.{policy}.status": status,
            }
    return tags | {"venturalitica.status": draw(statuses)}


@settings(max_examples=50)
@given(verdicts())
def test_an_entry_gives_back_the_verdict(verdict: dict[str, str]) -> None:
    entry = json.loads(json.dumps(marks.to_entry(verdict)))
    assert marks.from_entry(entry) == verdict


@settings(max_examples=50)
@given(verdicts())
def test_tags_are_as_long_as_wandb_allows_and_no_two_the_same(verdict: dict[str, str]) -> None:
    tags = marks.to_tags(verdict)
    assert all(1 <= len(tag.encode()) <= 64 and tag.startswith("vl:") for tag in tags)
    assert len(set(tags)) == len(tags)
    assert tags[-1] == f"vl:{verdict['venturalitica.status']}"


@settings(max_examples=50)
@given(
    st.lists(st.sampled_from(["baseline", "vl", "vl=x", "team:vl:", "vl:pass", "vl:fail", "vl:p@1"]), unique=True),
    st.lists(st.sampled_from(["vl:pass", "vl:fail", "vl:p@2"]), unique=True),
)
def test_changes_leave_exactly_the_wanted_ones_and_every_other_tag(present: list[str], wanted: list[str]) -> None:
    add, drop = marks.changes(present, wanted)
    after = [t for t in present if t not in drop] + add
    assert sorted(t for t in after if t.startswith("vl:")) == sorted(wanted)
    assert [t for t in after if not t.startswith("vl:")] == [t for t in present if not t.startswith("vl:")]
    assert not set(add) & set(present)
    assert set(drop) <= set(present)


@pytest.mark.parametrize(
    "entry",
    [None, [], "pass", 3, {"status": 3}, {"policies": []}, {"policies": {"p": "pass"}}, {"policies": {"p": {"x": 1}}}],
)
def test_an_entry_that_somebody_else_wrote_says_nothing(entry: Any) -> None:
    assert marks.from_entry(entry) == {}


def test_tags_that_look_like_ours_are_not_taken_for_a_verdict() -> None:
    shown = {"venturalitica.status": "pass", "vl": "pass", "team": "risk", "venturalitica": "x", "vlx": ""}
    assert marks.theirs(shown) == {"team": "risk", "venturalitica": "x", "vlx": ""}


# -- the summary is changed to the letter -------------------------------------------------------------------------
numbers = st.one_of(
    st.integers(-(10**30), 10**30).map(str),
    st.from_regex(r"-?(0|[1-9][0-9]{0,30})\.[0-9]{1,40}([eE][+-]?[0-9]{1,4})?", fullmatch=True),
    st.sampled_from(["NaN", "Infinity", "-Infinity", "-0.0", "1E400", "9" * 5000]),
)
values = st.recursive(
    st.one_of(numbers, st.text(max_size=8).map(json.dumps), st.sampled_from(["true", "false", "null", '"\\ud800"'])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{' , '.join(items)}]"),
        st.lists(st.tuples(st.text(max_size=4).map(json.dumps), inner), max_size=3).map(
            lambda items: "{" + ",".join(f"{name} : {value}" for name, value in items) + "}"
        ),
    ),
    max_leaves=6,
)
names = st.one_of(st.sampled_from(["venturalitica", "a", "a.b", 'q"uote', "}", ","]), st.text(max_size=5))


def pairs(document: str) -> Any:
    """An independent reading that loses nothing: names in order, also twice, and numbers as text or decimals."""
    return json.loads(
        document,
        object_pairs_hook=lambda found: ("map", found),
        parse_int=str,
        parse_float=lambda written: (written, Decimal(written)),
        parse_constant=lambda name: f"<{name}>",
    )


@settings(max_examples=50)
@given(st.lists(st.tuples(names, values), max_size=5), st.sampled_from(["", " ", "\n\t "]))
def test_our_entry_is_set_and_every_other_one_stays_to_the_letter(found: list[tuple[str, str]], space: str) -> None:
    body = f"{space},{space}".join(f"{json.dumps(name)}{space}:{space}{value}" for name, value in found)
    summary = f"{space}{{{space}{body}{space}}}{space}"
    after = marks.with_entry(summary, {"status": "pass"})
    kind, kept = pairs(after)
    assert kind == "map"
    assert kept[-1] == ("venturalitica", ("map", [("status", "pass")]))
    assert kept[:-1] == [(n, v) for n, v in pairs(summary)[1] if n != "venturalitica"]
    assert marks.names_in(after) == {name for name, _ in found} | {"venturalitica"}


@pytest.mark.parametrize("summary", ["", "null", "[]", '"x"', '{"a": 1', '{"a": 1} x', "{'a': 1}", '{"a":' * 100_000])
def test_a_summary_that_cant_be_read_is_not_rewritten(summary: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any is a refusal
        marks.with_entry(summary, {"status": "pass"})
