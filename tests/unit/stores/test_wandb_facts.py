"""What W&B says of a run, in our words: whatever it says."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from venturalitica_agent.domain.run import RunStatus
from venturalitica_agent.stores import wandb_facts as facts
from venturalitica_agent.stores.wandb_names import Reference, is_name, split_path


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("finished", RunStatus.FINISHED),
        ("failed", RunStatus.FAILED),
        ("crashed", RunStatus.FAILED),
        ("killed", RunStatus.KILLED),
        ("preempted", RunStatus.KILLED),
        ("running", RunStatus.RUNNING),
        ("preempting", RunStatus.RUNNING),
        ("pending", RunStatus.SCHEDULED),
    ],
)
def test_each_state_has_one_meaning(state: str, status: RunStatus) -> None:
    assert facts.STATES[state] is status


@settings(max_examples=50)
@given(st.datetimes(datetime(1970, 1, 2), datetime(9990, 1, 1)))
def test_times_are_utc_with_and_without_their_z(when: datetime) -> None:
    expected = int(when.replace(tzinfo=UTC).timestamp() * 1000)
    assert facts.milliseconds(when.isoformat() + "Z") == facts.milliseconds(when.isoformat()) == expected


@pytest.mark.parametrize("time", [None, 5, "", "yesterday", "2026-13-01T00:00:00Z", "99999-01-01", []])
def test_what_is_no_time_is_none(time: Any) -> None:
    assert facts.milliseconds(time) is None


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**400), 10**400), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=5,
)


@settings(max_examples=50)
@given(st.dictionaries(st.text(max_size=6), json_values, max_size=5))
def test_numbers_of_a_summary_are_its_finite_ones(summary: dict[str, Any]) -> None:
    found = facts.numbers(facts.decoded(json.dumps(summary)))
    assert all(math.isfinite(value) and not name.startswith("_") for name, value in found.items())
    plain = {n: v for n, v in summary.items() if type(v) in (int, float) and abs(v) < 1e300 and not n.startswith("_")}
    assert {n: float(v) for n, v in plain.items()}.items() <= found.items()


def test_numbers_that_no_float_holds_hide_no_other() -> None:
    document = '{"huge": %s, "longer": %s, "nan": NaN, "inf": -Infinity, "yes": true, "accuracy": 0.75}'
    summary = facts.decoded(document % ("9" * 400, "9" * 5000))
    assert facts.numbers(summary) == {"accuracy": 0.75}


@pytest.mark.parametrize("document", [None, 3, "", "[1]", "{", '{"a":' * 100_000, '"text"'])
def test_what_is_no_map_is_an_empty_one(document: Any) -> None:
    assert facts.decoded(document) == {}


def test_params_are_text_with_and_without_wandbs_wrapping() -> None:
    config = {
        "lr": {"value": 0.1},
        "opt": {"value": {"name": "adam"}},
        "plain": "x",
        "_wandb": {"value": {}},
        "n": None,
    }
    assert facts.params(config) == {"lr": "0.1", "opt": '{"name": "adam"}', "plain": "x", "n": "null"}


def test_flat_tags_become_pairs() -> None:
    assert facts.flat_tags(["baseline", "team:risk", "a=b:c", "d:e=f", ""], "loans", "train") == {
        "baseline": "",
        "team": "risk",
        "a": "b:c",
        "d": "e=f",
        "": "",
        "group": "loans",
        "job_type": "train",
    }


@pytest.mark.parametrize(
    ("names", "word"),
    [
        (["test", "evalset"], "test"),
        (["rows", "evalset"], ""),
        (["rows", "eval-set"], "eval"),
        (["train_test_split", "x"], ""),
        (["data", "training-set"], "training"),
        (["TEST.2024"], "test"),
        (["latest"], ""),
    ],
)
def test_split_words(names: list[str], word: str) -> None:
    assert facts.split_word(names) == word


# -- names ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name", ["abc123", "run 1", "50%", "back\\slash", "größe", "a.b", "..a", "x" * 128, "vl-audit-x"]
)
def test_what_the_sdk_takes_as_a_name_is_one(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "a:b",
        "a?b",
        "a#b",
        "a\nb",
        "a\x00",
        "\x7f",
        "a\u202eb",
        "\ud800",
        "x" * 10_000,
        None,
        3,
    ],
)
def test_what_could_be_part_of_a_path_or_a_line_is_none(name: Any) -> None:
    assert not is_name(name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("evalset:latest", ("e", "p", "evalset", "latest", "")),
        ("evalset:v3/a/test.csv", ("e", "p", "evalset", "v3", "a/test.csv")),
        ("other/evalset:v3", ("e", "other", "evalset", "v3", "")),
        ("team/other/evalset:best/x:y.csv", ("team", "other", "evalset", "best", "x:y.csv")),
    ],
)
def test_references_in_all_spellings(text: str, expected: tuple[str, ...]) -> None:
    found = Reference.of(text, "e", "p")
    assert (found.entity, found.project, found.name, found.alias, found.path) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("evalset:v3/test.csv", ("evalset:v3", "test.csv")),
        ("team/p/evalset:v12/a/b.csv", ("team/p/evalset:v12", "a/b.csv")),
        ("media/table/x.table.json", ("", "media/table/x.table.json")),
        ("evalset:latest/test.csv", ("", "evalset:latest/test.csv")),
        ("evalset:v03/test.csv", ("", "evalset:v03/test.csv")),
        ("p/evalset:v3/test.csv", ("", "p/evalset:v3/test.csv")),
    ],
)
def test_paths_below_a_version_of_an_artifact(path: str, expected: tuple[str, str]) -> None:
    assert split_path(path) == expected
