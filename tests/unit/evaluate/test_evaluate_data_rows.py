"""Rows that repeat and rows that identify, against pandas and against brute force."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from evaluate_tables import control_of, sample_of, value_of
from hypothesis import given, settings
from hypothesis import strategies as st

from venturalitica_agent.domain.policy import Control
from venturalitica_agent.domain.subject import ColumnBinding, Problem
from venturalitica_agent.domain.verdict import Measurement, Status, Unmeasured
from venturalitica_agent.evaluate.judge import decide
from venturalitica_agent.evaluate.measure import measure
from venturalitica_agent.evaluate.rows import Rows, row_hashes
from venturalitica_agent.evaluate.sample import Sample

FEW = settings(max_examples=40, deadline=None)
CELLS = st.sampled_from([0, 1, 2, 1.5, -0.0, True, None, float("nan"), "1", "a", "", 2**53, 2**53 + 1, float("inf")])
SMALL = st.lists(st.tuples(*[st.integers(0, 2)] * 3), min_size=1, max_size=40)


def table_of(frame: pd.DataFrame, training: pd.DataFrame | Problem | None = None) -> Sample:
    """A sample in which every column is bound to the role of its name."""
    bindings = [ColumnBinding(str(name), str(name), "name") for name in frame.columns]
    sample = sample_of(frame, more=bindings)
    if training is None:
        return sample
    behind = training if isinstance(training, Problem) else Rows.of(training)
    return replace(sample, background=replace(sample.background, training=behind))


def found_of(metric: str, sample: Sample, require: str = "<= 0", **fields: Any) -> Measurement:
    found = measure(control_of(metric, require, role=None, **fields), sample)
    assert isinstance(found, Measurement), found
    assert found.interval.low == found.value == found.interval.high
    assert found.interval.method == "exact count of this table"
    return found


def reason_of(metric: str, sample: Sample, **fields: Any) -> str:
    found = measure(control_of(metric, "<= 0", role=None, **fields), sample)
    assert isinstance(found, Unmeasured), found
    assert found.remedy
    return found.reason


def same(one: Any, other: Any) -> bool:
    """What equal cells are, said again: both missing, or equal to Python, where text is no number."""
    missing = [v is None or v != v for v in (one, other)]
    return all(missing) if any(missing) else bool(one == other)


# -- hashes -----------------------------------------------------------------------------------------------------
@FEW
@given(st.lists(CELLS, min_size=1, max_size=12))
def test_cells_have_one_hash_exactly_when_they_are_equal(cells: list[Any]) -> None:
    hashes = row_hashes(pd.DataFrame({"c": pd.Series(cells, dtype=object)}))
    for i, one in enumerate(cells):
        for j, other in enumerate(cells):
            assert (hashes[i] == hashes[j]) == same(one, other), (one, other)


@pytest.mark.parametrize(
    ("values", "dtypes"),
    [
        ([0, 1, 2**53 + 1], ["int64", "uint64", "Int64", "object"]),
        ([0, 1, 2**60], ["int64", "float64", "Float64", "object"]),
        ([True, False, True], ["bool", "boolean", "int8", "float32", "object"]),
        (["a", "", "ñ"], ["object", "string", "category"]),
        ([1.5, None, -0.0], ["float64", "Float64", "object"]),
    ],
)
def test_the_type_of_a_column_changes_no_hash(values: list[Any], dtypes: list[str]) -> None:
    hashes = [row_hashes(pd.DataFrame({"c": pd.Series(values, dtype=object).astype(t)})) for t in dtypes]
    assert all((h == hashes[0]).all() for h in hashes)


def test_the_place_of_a_cell_counts_and_a_table_may_come_in_pieces() -> None:
    frame = pd.DataFrame({"a": [1, 2, None, 3], "b": [2, 1, 3, None]})
    hashes = row_hashes(frame)
    assert len(set(hashes)) == 4
    assert (np.concatenate([row_hashes(frame[:1]), row_hashes(frame[1:])]) == hashes).all()


def test_a_million_different_rows_have_different_hashes() -> None:
    n = 1_000_000
    assert len(np.unique(row_hashes(pd.DataFrame({"a": np.arange(n) // 1000, "b": np.arange(n) % 1000})))) == n


# -- repeated rows ----------------------------------------------------------------------------------------------
@FEW
@given(SMALL)
def test_repeated_rows_as_pandas_counts_them(rows: list[tuple[int, ...]]) -> None:
    frame = pd.DataFrame(rows, columns=list("abc"))
    assert found_of("duplicate_rows", table_of(frame)).value == frame.duplicated().mean()
    by_two = found_of("duplicate_rows", table_of(frame), columns=("a", "b"))
    assert by_two.value == frame.duplicated(["a", "b"]).mean()


def test_a_row_number_is_told_for_it_makes_every_row_another_one() -> None:
    frame = pd.DataFrame({"row": range(6), "x": [0.5] * 6, "y": [1] * 6})
    whole = found_of("duplicate_rows", table_of(frame))
    assert whole.value == 0
    assert any("'row' alone differs in every row" in note for note in whole.notes)
    without = found_of("duplicate_rows", table_of(frame), columns=("x", "y"))
    assert without.value == 5 / 6
    assert without.notes == ("5 of 6 rows repeat an earlier one", "rows are compared by 2 columns")


@FEW
@given(SMALL, SMALL)
def test_overlap_is_what_a_set_of_the_training_rows_holds(ours: list[Any], theirs: list[Any]) -> None:
    evaluation, training = pd.DataFrame(ours, columns=list("abc")), pd.DataFrame(theirs, columns=list("bad"))
    expected = np.mean([(a, b) in {(a, b) for b, a, _ in theirs} for a, b, _ in ours])
    found = found_of("split_overlap", table_of(evaluation, training))
    assert found.value == expected
    assert f"are among the {len(training)} training rows" in found.notes[0]
    assert "rows are compared by 2 columns, without 'c'" in found.notes[1]


def test_overlap_is_seen_whatever_a_file_makes_of_a_column() -> None:
    """A number that is missing somewhere, or text somewhere, is another type there, and still the same number."""
    evaluation = pd.DataFrame({"zip": [28001, 28002], "x": [1, 2]})
    training = pd.DataFrame({"zip": ["28001", "n/a", "028002"], "x": [1.0, np.nan, 2.0]})
    assert found_of("split_overlap", table_of(evaluation, training)).value == 1.0
    assert found_of("split_overlap", table_of(training, evaluation)).value == 2 / 3


def test_overlap_without_both_tables_is_not_measured() -> None:
    frame = pd.DataFrame({"a": [1, 2]})
    assert reason_of("split_overlap", table_of(frame)) == "there are no training data"
    assert reason_of("split_overlap", table_of(frame, Problem("gone", "log it"))) == "gone"
    assert "no column to compare rows by" in reason_of(
        "split_overlap", table_of(frame, frame.rename(columns=str.upper))
    )
    other = table_of(frame.assign(b=1), frame)
    assert "no column 'b' to compare" in reason_of("split_overlap", other, columns=("b",))
    assert "bound to the role 'z'" in reason_of("split_overlap", other, columns=("z",))
    lists = pd.DataFrame({"a": [[1], [2]]})
    assert "such as lists" in reason_of("duplicate_rows", table_of(lists))


# -- rows that identify -----------------------------------------------------------------------------------------
PRIVATE = st.lists(
    st.tuples(st.sampled_from(["a", "b", None]), st.integers(0, 2), st.sampled_from(["x", "y", "z", None])),
    min_size=1, max_size=40,
).filter(lambda rows: any(r[0] for r in rows) and any(r[2] for r in rows))  # fmt: skip
COLUMNS = ("place", "age")


@FEW
@given(PRIVATE)
def test_privacy_as_grouping_with_pandas_says(rows: list[Any]) -> None:
    frame = pd.DataFrame(rows, columns=["place", "age", "illness"])
    sample = table_of(frame)
    classes = frame.groupby(list(COLUMNS), dropna=False)
    assert found_of("k_anonymity", sample, ">= 5", columns=COLUMNS).value == classes.size().min()
    l_found = found_of("l_diversity", sample, ">= 2", columns=COLUMNS, sensitive="illness")
    assert l_found.value == classes["illness"].nunique().min()
    overall = frame["illness"].fillna("?").value_counts(normalize=True)
    shares = (part["illness"].fillna("?").value_counts(normalize=True) for _, part in classes)
    t = max(float(share.sub(overall, fill_value=0).abs().sum()) / 2 for share in shares)
    t_found = found_of("t_closeness", sample, "<= 0.2", columns=COLUMNS, sensitive="illness")
    assert t_found.value == pytest.approx(t, abs=1e-12)


def test_privacy_looks_at_the_values_and_not_at_declared_groups() -> None:
    """Bands make no table safer than it is."""
    frame = pd.DataFrame({"g": [20, 21, 22, 50, 51, 52]})
    banded = sample_of(frame, bins=(30,))
    assert value_of("min_group_n", banded) == 3
    assert value_of("k_anonymity", banded, role=None, columns=("group",)) == 1


def test_privacy_is_decided_on_the_count_and_names_nobody() -> None:
    frame = pd.DataFrame({"place": ["Ávila"] * 5 + ["Teruel"], "illness": list("xyxyxx")})
    sample = table_of(frame)
    control = control_of("k_anonymity", ">= 5", role=None, columns=("place",))
    found = measure(control, sample)
    assert isinstance(found, Measurement)
    assert decide(control, found) is Status.FAIL
    assert found.notes == ("1 of 2 classes of rows are not >= 5",)
    enough = replace(control, require=replace(control.require, threshold=1.0))
    assert decide(enough, found) is Status.PASS
    assert "Teruel" not in repr(found)


@pytest.mark.parametrize("metric", ["k_anonymity", "l_diversity", "t_closeness"])
def test_privacy_without_its_columns_is_not_measured(metric: str) -> None:
    frame = pd.DataFrame({"a": [1, 2], "empty": [None, None], "s": [1, 2]})

    def reason(columns: tuple[str, ...], sensitive: str | None = "s") -> str:
        return reason_of(metric, table_of(frame), columns=columns, sensitive=sensitive)

    assert "names no quasi-identifiers" in reason(())
    assert "no column is bound to the role 'b'" in reason(("a", "b"))
    assert "column 'empty' holds no value" in reason(("a", "empty"))
    if metric != "k_anonymity":
        assert "names no sensitive column" in reason(("a",), None)
        assert "column 'empty' holds no value" in reason(("a",), "empty")


def test_a_class_without_a_known_sensitive_value_is_not_diverse() -> None:
    frame = pd.DataFrame({"place": list("aabb"), "illness": ["x", "y", None, None]})
    assert found_of("l_diversity", table_of(frame), columns=("place",), sensitive="illness").value == 0


def test_the_controls_are_plain_data() -> None:
    """What a control says of columns is part of what makes two controls equal."""
    one = Control("a", "k_anonymity", control_of("k_anonymity").require, columns=("x",))
    assert one != replace(one, columns=("y",))
