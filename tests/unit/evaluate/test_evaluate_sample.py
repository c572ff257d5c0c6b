"""What becomes of labels, predictions and groups that people wrote in different ways."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from evaluate_tables import LABELS, answered, bound, control_of, reason_of, sample_of, value_of

from venturalitica_agent.domain.subject import Predictions, Problem
from venturalitica_agent.domain.verdict import Measurement
from venturalitica_agent.evaluate.coding import encode, find
from venturalitica_agent.evaluate.grouping import Grouping, group
from venturalitica_agent.evaluate.measure import measure


def grouped(values: object, **how: object) -> Grouping:
    found = group(pd.Series(values), bound("r", "c", **how))
    assert isinstance(found, Grouping), found
    return found


def sizes(grouping: Grouping) -> dict[str, int]:
    return dict(zip(grouping.names, np.bincount(grouping.codes, minlength=len(grouping.names)).tolist(), strict=True))


# -- values ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "values", "found"),
    [
        (1, [1, 2], (0, False)),
        (1.0, [2, 1], (1, False)),
        (np.int64(1), [False, True], (1, False)),
        (True, [0, 1], (1, False)),
        (True, [1, 2], (None, False)),  # true is not the class 1 of a 1/2 coding
        ("1", [1, 2], (0, True)),
        (1, ["1", "2"], (0, True)),
        (1, ["1", "1.0"], (None, False)),  # two texts could be meant
        ("1", [1, "1"], (1, False)),
        ("good", ["bad", "good"], (1, False)),
        ("Good", ["bad", "good"], (None, False)),
        ("True", [False, True], (1, True)),
        ("9007199254740993", [9007199254740992], (None, False)),
    ],
)
def test_two_values_are_the_same_only_when_that_is_certain(wanted, values, found) -> None:
    assert find(wanted, values) == found


@pytest.mark.parametrize(
    ("series", "values", "codes"),
    [
        (pd.Series([2, 1, 2]), (1, 2), [1, 0, 1]),
        (pd.Series([1.0, np.nan, 0.0]), (0.0, 1.0), [1, -1, 0]),
        (pd.Series([1, pd.NA, 2], dtype="Int64"), (1, 2), [0, -1, 1]),
        (pd.Series([True, False, None], dtype="boolean"), (False, True), [1, 0, -1]),
        (pd.Series(["b", None, "a"], dtype="string"), ("a", "b"), [1, -1, 0]),
        (pd.Series(pd.Categorical(["b", "a", None], ["z", "b", "a"])), ("a", "b"), [1, 0, -1]),
        (pd.Series([1, "1", None], dtype=object), (1, "1"), [0, 1, -1]),
        (pd.Series([], dtype=object), (), []),
    ],
)
def test_encode_reads_every_kind_of_column(series, values, codes) -> None:
    coded = encode(series)
    assert coded.values == values
    assert coded.codes.tolist() == codes
    assert all(not isinstance(v, np.generic) for v in coded.values)


# -- groups ---------------------------------------------------------------------------------------------------


def test_no_row_vanishes_from_declared_groups() -> None:
    found = grouped(["m", "f", "x", None], groups={"male": ("m",), "female": ("f",)})
    assert sizes(found) == {"male": 1, "female": 1, "(other)": 1, "(missing)": 1}
    assert "'x'" in found.notes[0]


def test_a_declared_value_that_occurs_nowhere_is_noted_and_its_group_stays_with_no_rows() -> None:
    found = grouped(["m", "m"], groups={"male": ("m",), "female": ("f", "w")})
    assert sizes(found) == {"male": 2, "female": 0}
    assert len(found.notes) == 2


def test_declared_numbers_match_text_columns_with_a_note() -> None:
    found = grouped(["1", "2"], groups={"one": (1,), "two": (2,)})
    assert sizes(found) == {"one": 1, "two": 1}
    assert "read as '1'" in found.notes[0]


@pytest.mark.parametrize(
    ("values", "how", "word"),
    [
        (["m", "f"], {"groups": {"male": ("M",)}}, "no row of column"),
        (["m", "f"], {"groups": {"a": ("m",), "b": ("m",)}}, "two groups"),
        (["m", "f"], {"groups": {"(missing)": ("m",)}}, "reserved"),
        (["m", "f"], {"bins": (25,)}, "not numbers"),
        ([1, 2], {"bins": (60, 25)}, "not ascending"),
        (list(range(300)), {}, "too many"),
        ([[1], [2]], {}, "lists"),
    ],
)
def test_groups_that_make_no_sense_are_a_problem(values, how, word) -> None:
    found = group(pd.Series(values), bound("r", "c", **how))
    assert isinstance(found, Problem)
    assert word in found.what


def test_an_edge_belongs_to_the_lower_band() -> None:
    assert sizes(grouped([24, 25, 26, None], bins=(25,))) == {"≤ 25": 2, "> 25": 1, "(missing)": 1}
    assert sizes(grouped([25, 25.5, 60, 61], bins=(25, 60))) == {"≤ 25": 1, "25–60": 2, "> 60": 1}
    assert sizes(grouped(["19", "70"], bins=(25,))) == {"≤ 25": 1, "> 25": 1}


def test_text_that_poses_as_our_own_group_names_is_told_apart() -> None:
    found = grouped(["(missing)", None, "a"])
    assert sizes(found) == {"'(missing)'": 1, "a": 1, "(missing)": 1}
    assert sizes(grouped(pd.Series([1, "1", 1], dtype=object))) == {"1": 2, "'1'": 1}
    assert len(set(grouped(pd.Series([1, "1", "'1'"], dtype=object)).names)) == 3


# -- positive class and coding ----------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [[0, 1], [False, True], ["0", "1"], [0.0, 1.0]])
def test_only_zero_and_one_need_no_declared_positive_class(values) -> None:
    sample = sample_of(pd.DataFrame({"y": values}))
    assert sample.positive == values[1]
    assert "positive" not in sample.problems


@pytest.mark.parametrize("values", [[1, 2], ["good", "bad"], [-1, 1], [1, 1], [0, 1, 2]])
def test_any_other_coding_needs_a_declared_positive_class(values) -> None:
    frame = pd.DataFrame({"y": values, "p": values, "g": list("aabb")[: len(values)]})
    for metric in ("disparate_impact", "f1", "equal_opportunity_diff"):
        reason = reason_of(metric, sample_of(frame))
        assert "positive class not declared; the labels are" in reason
        assert "add `positive:` to columns.target" in reason
    assert value_of("accuracy", sample_of(frame)) == 1.0


def test_a_declared_positive_class_that_does_not_occur_names_those_that_do() -> None:
    reason = reason_of("recall", sample_of(pd.DataFrame({"y": ["bad", "good"], "p": ["bad", "good"]}), positive="Good"))
    assert "'Good' does not occur; the labels are 'bad' and 'good'" in reason


def test_predictions_in_another_coding_name_both_sets() -> None:
    frame = pd.DataFrame({"y": [1, 2, 1, 2], "p": [1, 0, 1, 0]})
    reason = reason_of("accuracy", sample_of(frame, positive=1))
    assert "classes of the predictions are 0 and 1" in reason
    assert "those of the labels are 1 and 2" in reason


def test_a_model_that_approves_all_in_another_coding_is_caught_by_the_classes_it_knows() -> None:
    """Its answers are all 1, which is also a label; only its classes tell that 1 may mean something else."""
    sample = sample_of(pd.DataFrame({"y": [1, 2, 1]}), positive=1, predictions=answered([1, 1, 1], [0, 1]))
    assert "0 and 1" in reason_of("accuracy", sample)


def test_a_class_that_the_table_happens_not_to_hold_is_no_other_coding() -> None:
    frame = pd.DataFrame({"y": ["a", "b", "a", "b"]})
    sample = sample_of(frame, predictions=answered(["a", "b", "c", "b"], ["a", "b", "c"]))
    assert value_of("accuracy", sample) == 0.75


def test_numeric_predictions_of_text_labels_are_read_with_a_note() -> None:
    sample = sample_of(pd.DataFrame({"y": ["1", "2", "1"], "p": [1.0, 2.0, 2.0]}), positive=1)
    assert value_of("accuracy", sample) == pytest.approx(2 / 3)
    assert "were read as '1' and '2'" in sample.notes["predictions"][0]


def test_predictions_in_their_own_coding_need_their_own_positive_class() -> None:
    frame = pd.DataFrame({"y": ["good", "bad", "good"], "q": [1, 0, 0]})
    own = sample_of(frame, positive="good", more=[bound("prediction", "q", positive=1)])
    assert value_of("recall", own) == 0.5
    silent = sample_of(frame, positive="good", more=[bound("prediction", "q")])
    assert "classes of the predictions" in reason_of("recall", silent)
    contrary = sample_of(frame.assign(q=["good"] * 3), positive="good", more=[bound("prediction", "q", positive="bad")])
    assert "the positive one is declared" in reason_of("recall", contrary)


def test_rows_without_label_or_prediction_are_left_out_and_noted() -> None:
    frame = pd.DataFrame({"y": [1, 0, None, 1], "p": [1, 0, 1, None]})
    sample = sample_of(frame)
    assert value_of("accuracy", sample) == 1.0
    result = measure(control_of("recall"), sample)
    assert isinstance(result, Measurement)
    assert result.n == 2
    assert "2 of 4 rows have no label or no prediction and were left out" in result.notes


def test_a_wrong_number_of_predictions_is_a_problem() -> None:
    sample = sample_of(pd.DataFrame({"y": [0, 1, 1]}), predictions=answered([0, 1], [0, 1]))
    assert "answered 2 rows, the data has 3" in reason_of("accuracy", sample)


def test_a_model_that_answers_with_quantities_has_no_classes() -> None:
    numbers = np.linspace(0, 1, 2000)
    answer = Predictions(2000, None, None, numbers=numbers)
    sample = sample_of(pd.DataFrame({"y": [0, 1] * 1000}), predictions=answer)
    assert "quantities, not classes" in reason_of("accuracy", sample)


def test_labels_that_are_a_quantity_are_not_classes() -> None:
    assert "a quantity, not a class" in reason_of(
        "class_imbalance", sample_of(pd.DataFrame({"y": np.arange(1500) / 7})), of=LABELS
    )


def test_a_column_that_is_there_twice_or_not_at_all_is_a_problem() -> None:
    frame = pd.DataFrame([[0, 1, 1]], columns=["y", "g", "g"])
    assert "more than one column 'g'" in reason_of("min_group_n", sample_of(frame))
    absent = sample_of(pd.DataFrame({"y": [0, 1]}), more=[bound("group", "gendre")])
    assert "no column 'gendre'" in reason_of("min_group_n", absent)


def test_problems_of_the_subject_are_the_reason() -> None:
    problems = {"role:group": Problem("no column Gendr", "the nearest is Gender"), "model": Problem("refused", "x")}
    sample = sample_of(pd.DataFrame({"y": [0, 1]}), problems=problems)
    assert reason_of("disparate_impact", sample, of=LABELS) == "no column Gendr | the nearest is Gender"
    for metric in ("accuracy", "roc_auc", "roc_auc_ovr", "average_precision", "brier", "log_loss", "ece", "mae"):
        assert reason_of(metric, sample) == "refused | x", metric
    assert "bound to the role 'score'" in reason_of("roc_auc", sample_of(pd.DataFrame({"y": [0, 1], "p": [0, 1]})))


def test_one_class_of_labels_does_not_show_that_the_model_speaks_their_coding() -> None:
    """Labels that are all 1 may be a 1/2 coding; a model of 0 and 1 can't be checked against them."""
    sample = sample_of(pd.DataFrame({"y": [1, 1]}), positive=1, predictions=answered([0, 1], [0, 1]))
    assert "those of the labels are 1" in reason_of("accuracy", sample)
