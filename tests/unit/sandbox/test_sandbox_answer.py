"""Answers from the sandbox are read as data: what is valid comes through exactly, all else is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from venturalitica_agent.domain.subject import Predictions
from venturalitica_agent.errors import SandboxError
from venturalitica_agent.sandbox import answer


def encode(header: Any, *arrays: np.ndarray) -> bytes:
    return json.dumps(header).encode() + b"\n" + b"".join(a.tobytes() for a in arrays)


def header(rows: Any = 2, values: Any = ("a", "b"), score_classes: Any = None, notes: Any = ()) -> dict[str, Any]:
    return {"rows": rows, "values": values, "score_classes": score_classes, "notes": notes}


def only(raw: bytes, rows: int = 2) -> Any:
    """The answer about the only table."""
    (found,) = answer.read(raw, rows=[rows])
    return found


CODES = np.array([0, 1], "<i4")
SCORES = np.array([[0.25, 0.75], [1, 0]], "<f8")

texts = st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"]), max_size=256)
label_lists = st.one_of(
    st.lists(texts, min_size=1, max_size=8, unique=True),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=8, unique=True),
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=8, unique=True),
    st.just([True, False]),
)


@settings(max_examples=80)
@given(st.data(), label_lists, st.integers(1, 30))
def test_valid_classes_come_through_exactly(data, values, rows) -> None:
    codes = data.draw(st.lists(st.integers(0, len(values) - 1), min_size=rows, max_size=rows))
    scores = np.random.default_rng(rows).dirichlet(np.ones(len(values)), rows)
    raw = encode(header(rows, values, values, ["n"]), np.array(codes, "<i4"), scores.astype("<f8"))
    read = only(raw, rows)
    assert read.values == read.score_classes == tuple(values)
    assert [type(v) for v in read.values] == [type(v) for v in values]
    assert read.codes.tolist() == codes
    np.testing.assert_array_equal(read.scores, scores)
    assert (read.n, read.numbers, read.notes) == (rows, None, ("n",))


def test_valid_numbers_come_through_exactly() -> None:
    numbers = np.array([1.5, -2e300], "<f8")
    read = only(encode(header(values=None), numbers))
    assert read.numbers.tolist() == numbers.tolist()
    assert (read.values, read.codes, read.scores) == (None, None, None)


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"", "no header"),
        (b"x" * (1 << 21), "no header"),
        (b"x" * (1 << 20) + b"\n", "no header"),
        (b"{\n", "can't be read"),
        (b"\xff\xfe\n", "can't be read"),
        (b"[" * 200_000 + b"\n", "can't be read"),
        (b'{"rows": ' + b"9" * 5000 + b"}\n", "can't be read"),
        (b'{"rows": NaN}\n', "can't be read"),
        (b"[]\n", "not an object"),
        (b'{"rows": 2}\n', "other fields"),
        (encode(header() | {"verdict": "pass"}, CODES), "other fields"),
        (encode(header(rows=3), CODES), "predictions have 3 rows, 2 expected"),
        (encode(header(rows=True), CODES), "predictions have True rows"),
        (encode(header(rows="2"), CODES), "predictions have '2' rows"),
        (encode(header()), "0 bytes of predictions, 8 expected"),
        (encode(header(), CODES, CODES), "16 bytes of predictions, 8 expected"),
        (encode(header(score_classes=["a", "b"]), CODES), "8 bytes of predictions, 40 expected"),
        (encode(header(), np.array([0, 2], "<i4")), "does not name"),
        (encode(header(), np.array([0, -1], "<i4")), "does not name"),
        (encode(header(values=[]), CODES), "list of 1 to 1000"),
        (encode(header(values=list(range(1001))), CODES), "list of 1 to 1000"),
        (encode(header(values="ab"), CODES), "list of 1 to 1000"),
        (encode(header(values=["a", "a"]), CODES), "not distinct"),
        (encode(header(values=[1, True]), CODES), "not distinct"),
        (encode(header(values=["a", None]), CODES), "neither text, a number nor a boolean"),
        (encode(header(values=["a", ["b"]]), CODES), "neither text, a number nor a boolean"),
        (encode(header(values=["a", 2**63]), CODES), "more than 64 bits"),
        (
            b'{"rows": 2, "values": ["a", 1e999], "score_classes": null, "notes": []}\n' + bytes(8),
            "not a finite number",
        ),
        (encode(header(values=["a", "b" * 257]), CODES), "a name of 257 characters"),
        (encode(header(values=["a", "\x1b[2J"]), CODES), "control characters"),
        (encode(header(values=["a", "\u202eb"]), CODES), "control characters"),
        (encode(header(values=["a", "\ud800"]), CODES), "control characters"),
        (encode(header(values=None), np.array([1, np.nan], "<f8")), "1 of 2 predicted numbers are not finite"),
        (encode(header(values=None), np.array([1, np.inf], "<f8")), "1 of 2 predicted numbers are not finite"),
        (encode(header(values=None, score_classes=["a"]), CODES), "beside numbers"),
        (encode(header(score_classes=["a", "b"]), CODES, SCORES * np.nan), "2 of 2 rows are not finite"),
        (encode(header(score_classes=["a", "b"]), CODES, SCORES * 2), "of 2 of 2 rows are outside 0 to 1"),
        (encode(header(score_classes=["a", "b"]), CODES, SCORES - 0.5), "of 2 of 2 rows are outside 0 to 1"),
        (encode(header(notes=["x"] * 11), CODES), "notes"),
        (encode(header(notes=[1]), CODES), "notes"),
        (encode({"failed": "judge", "type": "", "message": ""}), "in a form"),
        (encode({"failed": "load", "type": "", "message": ["x"]}), "in a form"),
        (encode({"failed": "load", "type": "", "message": "x"}, CODES), "in a form"),
        (encode({"failed": ["load"], "type": "", "message": "x"}), "in a form"),
    ],
)
def test_everything_else_is_refused_with_its_reason(raw: bytes, sentence: str) -> None:
    with pytest.raises(SandboxError) as caught:
        only(raw)
    assert sentence in caught.value.what
    assert caught.value.remedy
    assert caught.value.what.isprintable()


@settings(max_examples=100)
@given(st.binary(max_size=200), st.integers(0, 60), st.integers(0, 60))
def test_damaged_answers_never_do_anything_but_parse_or_refuse(junk: bytes, start: int, length: int) -> None:
    whole = encode(header(score_classes=["a", "b"]), CODES, SCORES)
    try:
        read = only(whole[:start] + junk + whole[start + length :])
    except SandboxError:
        return
    assert read.n == 2
    assert len(read.codes if read.values is not None else read.numbers) == 2


def test_failure_is_reported_clean_and_short() -> None:
    raw = encode({"failed": "predict", "type": "ValueError", "message": "a\x1b[2J\r\nb\u202e" + "c" * 9999})
    failure = only(raw)
    assert failure.stage == "predict"
    assert failure.message.startswith("ValueError: a [2J b ccc")
    assert len(failure.message) == 400


FAILED = encode({"failed": "predict", "type": "", "message": "no"})
LABELS = encode(header(score_classes=["a", "b"]), CODES, SCORES)
NUMBERS = encode(header(3, values=None), np.array([1.0, 2.0, 3.0], "<f8"))


def test_answers_about_several_tables_are_each_their_own() -> None:
    labels, failure, numbers = answer.read(LABELS + FAILED + NUMBERS, rows=[2, 2, 3])
    assert labels.codes.tolist() == [0, 1]
    assert labels.scores.tolist() == SCORES.tolist()
    assert failure.message == "no"
    assert numbers.numbers.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("raw", "rows"),
    [
        (LABELS + NUMBERS[:-1], [2, 3]),
        (LABELS + NUMBERS + b"x", [2, 3]),
        (LABELS + NUMBERS, [2, 2]),
        (LABELS, [2, 3]),
        (LABELS + FAILED + b"x", [2, 3]),
        (LABELS + b"x" + NUMBERS, [2, 3]),
    ],
)
def test_damage_behind_an_answer_is_refused_and_leaves_that_answer_alone(raw: bytes, rows: list[int]) -> None:
    read = answer.read(raw, rows=rows)
    first = next(read)
    assert isinstance(first, Predictions)
    assert first.codes is not None
    assert first.codes.tolist() == [0, 1]
    with pytest.raises(SandboxError):
        list(read)
