"""Reading YAML strictly: what is kept, what is refused, and where a mistake is said to be."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from venturalitica_agent.errors import ConfigError
from venturalitica_agent.strict_yaml import (
    MAX_BYTES,
    Fields,
    InvalidDocument,
    MapNode,
    Mistake,
    Mistakes,
    Scalar,
    nearest,
    parse,
    plain,
    read_file,
    redacted,
    shown,
)


def read(content: bytes) -> Any:
    mistakes = Mistakes("f.yaml")
    node = parse(content, mistakes)
    mistakes.raise_if_any()
    return plain(node)


def refused(content: bytes) -> InvalidDocument:
    with pytest.raises(InvalidDocument) as caught:
        read(content)
    return caught.value


def test_plain_values_keep_their_types_and_dates_stay_text() -> None:
    document = b"a: 1\nb: 0.80\nc: true\nd: text\ne: 2026-07-27\nf: ~\ng: '010'\nh: [1e3, -2]\ni: 127.0.0.1:8321\n"
    assert read(document) == {
        "a": 1, "b": 0.8, "c": True, "d": "text", "e": "2026-07-27", "f": None, "g": "010", "h": [1000.0, -2],
        "i": "127.0.0.1:8321",
    }  # fmt: skip


def test_a_float_keeps_its_source_text() -> None:
    """`version: 1.10` must be readable as the text 1.10."""
    node = parse(b"version: 1.10", Mistakes("f.yaml"))
    assert isinstance(node, MapNode)
    value = node.pairs[0][1]
    assert isinstance(value, Scalar)
    assert (value.text, value.value, value.line, value.column, value.path) == ("1.10", 1.1, 1, 10, "version")


def test_keys_are_text_even_where_yaml_1_1_sees_booleans() -> None:
    """`on:` is a key of policies, and `NO` a fine name of a group."""
    assert read(b"on: evaluation\ngroups: {NO: [1], 010: [2]}") == {
        "on": "evaluation",
        "groups": {"NO": [1], "010": [2]},
    }


TRAPS = ["NO", "no", "yes", "Yes", "on", "OFF", "010", "0o17", "0x1F", "0b11", "-012", "12:30:45", "1:30", "1_000",
         ".nan", ".NaN", ".inf", "-.Inf", "1e999", "12345678901234567890"]  # fmt: skip


@pytest.mark.parametrize("text", TRAPS)
def test_ambiguous_values_are_refused_with_their_place(text: str) -> None:
    error = refused(f"a:\n  - ok\n  - {text}\n".encode())
    (mistake,) = error.mistakes
    assert (mistake.line, mistake.column, mistake.path, mistake.text) == (3, 5, "a[1]", text)
    assert "f.yaml:3:5: " in str(error)
    assert text in str(error)


@pytest.mark.parametrize("text", TRAPS)
def test_quoted_they_are_text(text: str) -> None:
    assert read(f"a: '{text}'".encode()) == {"a": text}


BROKEN: list[tuple[bytes, int, int, str]] = [
    (b"", 1, 1, "empty"),
    (b"# only a comment\n", 1, 1, "empty"),
    (b"a: 0.9\nb: 1\na: 0.1\n", 3, 1, "given twice (first on line 1)"),
    (b"a: {b: 1, b: 2}", 1, 11, "given twice"),
    (b"a: 1\n---\nb: 2\n", 2, 1, "second document"),
    (b"a: [1, 2\nb: 3\n", 2, 2, "not YAML"),
    (b"a: b: c\n", 1, 5, "not YAML"),
    (b"a: !!python/object/apply:os.system [ls]\n", 1, 4, "tag"),
    (b"a: !!str 1\n", 1, 4, "tag"),
    (b"require: != 3\n", 1, 10, "quote the requirement"),
    (b"require: >= 0.80\n", 1, 11, 'require: ">= 0.80"'),
    (b"a: *nowhere\n", 1, 4, "names nothing"),
    (b"a: &x [*x]\n", 1, 8, "names nothing"),
    (b"<<: {a: 1}\n", 1, 1, "merge keys"),
    (b"? [1, 2]\n: 3\n", 1, 3, "a key must be text"),
    (b"a: ok\nb: \x1b[31m\n", 2, 4, "not allowed"),
    (b"a: ok\nb: \xff\n", 2, 4, "not UTF-8"),
    (b"a: " + b"[" * 5000, 1, 53, "50 levels"),
    (b"a: 1\n" * 2, 2, 1, "given twice"),
]


@pytest.mark.parametrize(("content", "line", "column", "what"), BROKEN)
def test_broken_documents_name_line_and_column(content: bytes, line: int, column: int, what: str) -> None:
    error = refused(content)
    assert [(m.line, m.column) for m in error.mistakes] == [(line, column)]
    assert what in str(error)
    assert f"f.yaml:{line}:{column}: " in str(error)


def test_an_alias_bomb_is_refused_before_it_expands() -> None:
    """Nine levels of ten aliases: some 400 bytes for a billion values."""
    lines = ["a0: &a0 [1,1,1,1,1,1,1,1,1,1]"]
    lines += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    started = time.monotonic()
    error = refused("\n".join(lines).encode())
    assert "values once aliases are expanded" in str(error)
    assert time.monotonic() - started < 1.0


def test_aliases_cannot_nest_deeper_than_the_limit() -> None:
    lines = ["a0: &a0 [1]"] + [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 80)]
    assert "50 levels" in str(refused("\n".join(lines).encode()))


def test_a_modest_alias_is_fine() -> None:
    assert read(b"a: &x {b: 1}\nc: [*x, *x]") == {"a": {"b": 1}, "c": [{"b": 1}, {"b": 1}]}


def test_too_many_bytes_and_too_many_values_are_refused() -> None:
    assert "larger than" in str(refused(b"a" * (MAX_BYTES + 1)))
    assert "values once" in str(refused(b"[" + b"1," * 60_000 + b"1]"))


def test_long_runs_of_underscores_cost_nothing() -> None:
    """The patterns for ambiguous numbers must not backtrack over a megabyte."""
    started = time.monotonic()
    read(b"a: 1" + b"_" * 1_000_000 + b"x")
    assert time.monotonic() - started < 2.0


def test_all_mistakes_are_told_at_once_in_order() -> None:
    error = refused(b"c: .nan\na: NO\nb: 010\na: 2\n")
    assert [(m.line, m.column) for m in error.mistakes] == [(1, 4), (2, 4), (3, 4), (4, 1)]
    assert str(error).startswith("f.yaml: 4 mistakes\n  f.yaml:1:4: ")
    assert isinstance(error, ConfigError)


def test_thousands_of_mistakes_stay_readable() -> None:
    error = refused(b"- NO\n" * 5000)
    assert len(error.mistakes) == 5000
    assert "and 4950 more" in str(error)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**17), 10**17)
    | st.text(st.characters(min_codepoint=32, max_codepoint=126)),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.sampled_from("abcNO0:#-"), max_size=6), inner)
    ),
    max_leaves=20,
)


@settings(max_examples=80, deadline=None)
@given(json_values)
def test_json_is_read_as_json(value: Any) -> None:
    """Any JSON text (of printable ASCII) means what the json module says."""
    assert read(json.dumps(value).encode()) == value


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_give_values_or_a_mistake(content: bytes) -> None:
    """Nothing but InvalidDocument ever comes out of hostile bytes, and never without a mistake."""
    found: tuple[Mistake, ...] | None = None
    try:
        read(content)
    except InvalidDocument as error:
        found = error.mistakes
    assert found is None or len(found) > 0


def test_messages_carry_no_control_characters_and_no_credentials() -> None:
    assert shown("\x1b[31mred") == r"'\x1b[31mred'"
    assert "hunter2" not in shown("https://me:hunter2@host/x")
    assert redacted("postgresql://u:p@ss@db/x?password=s3cret&a=1") == "postgresql://***@db/x?password=***&a=1"
    error = refused(b'"a\\e[31m": 1\n"a\\e[31m": 2')
    assert "\x1b" not in str(error)


def test_nearest_finds_the_word_that_was_meant() -> None:
    assert nearest("polcy", ["policy", "version"]) == "policy"
    assert nearest("ACCURACY", ["accuracy"]) == "accuracy"
    assert nearest("eval", ["evaluation", "training"]) == "evaluation"
    assert nearest("zzz", ["policy"]) == ""


def test_fields_note_unknown_missing_and_wrong_values_together() -> None:
    mistakes = Mistakes("f.yaml")
    node = parse(b"nmae: x\ncount: many\nflag: 1\nempty:\nlist: {a: 1}\n", mistakes)
    assert isinstance(node, MapNode)
    fields = Fields(node.pairs, node, mistakes)
    fields.require("name")
    assert fields.text("name", "default") == "default"
    assert fields.whole("count", 3, 0, 9) == 3
    assert fields.flag("flag", True) is True
    assert fields.text("empty", "x") == "x"
    assert fields.maps("list") == []
    fields.close()
    with pytest.raises(InvalidDocument) as caught:
        mistakes.raise_if_any()
    told = [(m.line, m.path, m.nearest) for m in caught.value.mistakes]
    assert told == [
        (1, "name", ""),
        (1, "", "name"),
        (2, "count", ""),
        (3, "flag", ""),
        (4, "empty", ""),
        (5, "list", ""),
    ]


def test_two_missing_keys_of_one_map_are_both_told() -> None:
    mistakes = Mistakes("f.yaml")
    node = parse(b"{}", mistakes)
    assert isinstance(node, MapNode)
    Fields(node.pairs, node, mistakes).require("a", "b")
    with pytest.raises(InvalidDocument, match=r"(?s)'a' is missing.*'b' is missing"):
        mistakes.raise_if_any()


def test_files_that_are_missing_or_not_files_say_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_file(tmp_path / "gone.yaml")
    with pytest.raises(ConfigError, match="not a regular file"):
        read_file(tmp_path)
