"""Disturbed rows are what the policy asked for, and flips are counted as anybody would count them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from evaluate_tables import answered, control_of, reason_of, sample_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from venturalitica_agent.domain.policy import Control
from venturalitica_agent.domain.subject import Predictions, Problem
from venturalitica_agent.domain.verdict import Measurement
from venturalitica_agent.evaluate.measure import measure
from venturalitica_agent.evaluate.sample import Sample
from venturalitica_agent.evaluate.stress import MOST_ROWS, AskedAgain, Kind, Stress, Stressed, disturb, taken
from venturalitica_agent.evaluate.undefined import Undefined

NOISE, GAPS = Stress(Kind.NOISE, 0.05), Stress(Kind.MISSING, 0.05)


def table(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "amount": rng.normal(3000, 900, n),
            "age": rng.integers(18, 80, n),
            "rooms": rng.integers(1, 5, n),
            "phone": rng.integers(0, 2, n),
            "foreign": rng.random(n) < 0.5,
            "housing": rng.choice(["own", "rent"], n),
            "level": pd.Categorical.from_codes(rng.integers(0, 3, n), categories=[1, 2, 3]),
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 99, n), "D"),
            "score": np.where(rng.random(n) < 0.2, np.nan, rng.random(n)),
            "children": pd.array(rng.integers(0, 7, n), dtype="Int64"),
        }
    )


@pytest.mark.parametrize(
    ("stress", "disturbed"),
    [(NOISE, "amount age rooms score children"), (GAPS, "amount age rooms phone score children")],
)
def test_only_numbers_are_disturbed(stress: Stress, disturbed: str) -> None:
    """Text, booleans, categories and dates stay; so does a column of two values under noise, which would be a third."""
    frame = table(4000)
    found = disturb(frame, stress)
    assert list(found.columns) == disturbed.split()
    changed = [c for c in frame if not found.features[c].equals(frame[c])]
    assert changed == disturbed.split()


def test_noise_has_the_asked_size_and_stays_in_the_range_of_the_column() -> None:
    frame = table(MOST_ROWS)
    found = disturb(frame, replace(NOISE, size=0.2)).features
    moves = (found["amount"] - frame["amount"]) / frame["amount"].std(ddof=0)
    assert moves.std() == pytest.approx(0.2, rel=0.05)
    assert abs(moves.mean()) < 0.01
    for name in ("amount", "age", "rooms", "score", "children"):
        assert found[name].min() >= frame[name].min()
        assert found[name].max() <= frame[name].max()
    assert found["score"].isna().equals(frame["score"].isna())


def test_whole_numbers_stay_whole_and_small_ones_still_move() -> None:
    """Rounding 0.05 standard deviations away would leave `rooms` as it is, and prove nothing about the model."""
    frame = table(MOST_ROWS).assign(floor=lambda f: f["rooms"].astype(float))
    found = disturb(frame, NOISE)
    for name in ("age", "rooms", "children"):
        assert found.features[name].dtype == frame[name].dtype
    assert (found.features["floor"] % 1 == 0).all()
    inside = frame["rooms"].between(2, 3)
    moves = (found.features["rooms"] - frame["rooms"])[inside]
    mean_size = 0.05 * frame["rooms"].std(ddof=0) * (2 / np.pi) ** 0.5
    assert moves.abs().mean() == pytest.approx(mean_size, rel=0.15)
    assert set(moves) == {-1, 0, 1}


def test_numbers_go_missing_with_the_asked_chance_in_every_column_of_numbers() -> None:
    frame = table(MOST_ROWS)
    found = disturb(frame, replace(GAPS, size=0.3))
    for name in ("amount", "age", "phone", "children"):
        assert found.features[name].isna().mean() == pytest.approx(0.3, abs=0.02)
    kept = found.features["age"].notna()
    assert (found.features["age"][kept] == frame["age"][kept]).all()


def test_a_large_table_is_sampled_and_every_repetition_is_the_same() -> None:
    frame = table(MOST_ROWS + 500)
    one, two, other = (disturb(frame, NOISE, digest=digest) for digest in ("a", "a", "b"))
    assert (len(one.rows), one.of) == (MOST_ROWS, MOST_ROWS + 500)
    assert (np.diff(one.rows) > 0).all()
    assert (one.features["phone"].to_numpy() == frame["phone"].to_numpy()[one.rows]).all()
    pd.testing.assert_frame_equal(one.features, two.features)
    assert one.seed == two.seed != other.seed


def test_only_what_the_model_takes_is_disturbed() -> None:
    assert disturb(table(200), NOISE, inputs=("housing", "age")).columns == ("age",)


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"a": ["x", "y"], "b": [True, False]}),
        pd.DataFrame({"a": [1.5] * 40}),
        pd.DataFrame({"a": [0, 1] * 40}),
        pd.DataFrame({"a": np.arange(40) + 2**60}),
        pd.DataFrame({"a": [np.nan] * 40}),
    ],
    ids=["no numbers", "constant", "two values", "identifiers", "missing"],
)
def test_a_table_that_noise_leaves_as_it_is_proves_nothing(frame: pd.DataFrame) -> None:
    with pytest.raises(Undefined, match="could be disturbed"):
        disturb(frame, NOISE)


columns = st.sampled_from(["int8", "uint8", "int64", "float32", "float64", "Int64", "Float64", "object", "bool"])


@settings(max_examples=40, deadline=None)
@given(st.data(), st.lists(columns, min_size=1, max_size=4), st.sampled_from(Kind), st.floats(0.001, 0.99))
def test_whatever_the_columns_the_kinds_of_values_stay(data: Any, kinds: list[str], kind: Kind, size: float) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    n = data.draw(st.integers(1, 60))
    frame = pd.DataFrame({f"c{i}": pd.Series(rng.integers(0, 100, n)).astype(k) for i, k in enumerate(kinds)})
    try:
        found = disturb(frame, Stress(kind, size))
    except Undefined:
        return
    for name in frame:
        old, new = frame[name], found.features[name]
        still = new.notna()
        assert len(new) == n
        if kind is Kind.NOISE:
            assert new.dtype == old.dtype
            assert still.all()
        else:
            assert (new[still] == old[still]).all()
    same = sum(int((found.features[c].isna() | (found.features[c] != frame[c])).sum()) for c in found.columns)
    assert found.changed == pytest.approx(same / (n * len(found.columns)))


# -- flips ----------------------------------------------------------------------------------------------------------
def asked(before: Predictions, after: Predictions, metric: str = "flip_rate_noise", **fields: Any) -> Any:
    """What is measured where a model gave these two answers."""
    n = before.n
    keys = {"noise": 0.05, "missing": 0.05, "tolerance": 0.1} | fields
    frame = pd.DataFrame({"x": np.arange(n, dtype=float)})
    disturbed = Stressed(frame + 1, np.arange(n), n, ("x",), 1.0, 7)
    return measure(control(metric, **keys), sample(AskedAgain(disturbed, before, after)))


def control(metric: str, **keys: Any) -> Control:
    return control_of(metric, "<= 0.1", role=None, **keys)


def sample(answer: AskedAgain | Problem) -> Sample:
    return replace(sample_of(pd.DataFrame({"y": [0, 1]})), asked_again={NOISE: answer, GAPS: answer})


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("cab")), min_size=1, max_size=80))
def test_flips_are_rows_whose_class_is_another_one(pairs: list[tuple[str, str]]) -> None:
    """Oracle: a loop, and SciPy's Wilson interval. The two answers name their classes in different orders."""
    before, after = ([pair[i] for pair in pairs] for i in (0, 1))
    found = asked(answered(before, "abc"), answered(after, "bca"))
    flips = sum(a != b for a, b in pairs)
    assert found.value == flips / len(pairs)
    ends = binomtest(flips, len(pairs)).proportion_ci(0.95, "wilson")
    assert (found.interval.low, found.interval.high) == pytest.approx(ends, abs=1e-12)
    assert (found.n, found.interval.method) == (len(pairs), "Wilson score")


def numbers(values: Any) -> Predictions:
    array = np.asarray(values, dtype=float)
    return Predictions(len(array), None, None, numbers=array)


def test_a_predicted_quantity_flips_when_it_moves_by_more_than_the_tolerance() -> None:
    before = np.array([0.0, 0.0, 10.0, 10.0])  # standard deviation 5
    after = before + np.array([0.4, -0.6, 0.5, 3.0])
    assert asked(numbers(before), numbers(after), tolerance=0.1).value == 0.5
    assert asked(numbers(before), numbers(after), tolerance=0.0).value == 1.0
    assert "over 0.1 standard deviations" in " ".join(asked(numbers(before), numbers(after)).notes)


def test_the_evidence_says_what_was_done() -> None:
    ones = answered([1] * 50, [0, 1])
    (note,) = asked(ones, ones, "flip_rate_missing").notes
    assert note == (
        "the numbers of 1 columns ('x') went missing with a chance of 0.05: 100 % of these cells changed; seed 7"
    )


def test_a_model_that_can_not_answer_gets_no_flip_rate() -> None:
    refused = sample(Problem("the model could not predict: Input X contains NaN", "give it an imputer"))
    for metric in ("flip_rate_noise", "flip_rate_missing"):
        said = reason_of(metric, refused, role=None, noise=0.05, missing=0.05, tolerance=0.1)
        assert said == "the model could not predict: Input X contains NaN | give it an imputer"
    assert "there are no answers to disturbed rows" in reason_of(
        "flip_rate_noise", sample_of(pd.DataFrame({"y": [0, 1]})), role=None, noise=0.05
    )


def test_answers_of_two_kinds_are_not_compared() -> None:
    said = asked(answered([0, 1], [0, 1]), numbers([0, 1]))
    assert not isinstance(said, Measurement)
    assert "once with classes and once with quantities" in said.reason


def test_a_part_of_an_answer_keeps_its_rows() -> None:
    whole = replace(answered(list("abca"), "abc"), scores=np.arange(12.0).reshape(4, 3))
    part = taken(whole, np.array([1, 3]))
    assert part.values is not None
    assert part.codes is not None
    assert part.scores is not None
    assert (part.n, [part.values[c] for c in part.codes]) == (2, ["b", "a"])
    assert part.scores.tolist() == [[3, 4, 5], [9, 10, 11]]
