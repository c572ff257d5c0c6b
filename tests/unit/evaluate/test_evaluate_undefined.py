"""What can't be measured is not measured: never 0, never 1, always with a reason and a remedy."""

from __future__ import annotations

import pandas as pd
import pytest
from evaluate_tables import LABELS, answered, bound, control_of, rates, reason_of, sample_of, value_of

from venturalitica_agent.domain.metric import METRICS
from venturalitica_agent.domain.policy import Outcome
from venturalitica_agent.domain.verdict import Measurement, Unmeasured
from venturalitica_agent.evaluate.measure import measure
from venturalitica_agent.evaluate.metrics import REGISTRY

GAPS = (
    "disparate_impact",
    "demographic_parity_diff",
    "equal_opportunity_diff",
    "equalized_odds_diff",
    "equalized_odds_ratio",
    "predictive_parity",
)


def table(y: list, p: list | None = None, g: list | None = None, s: list | None = None) -> pd.DataFrame:
    return pd.DataFrame({k: v for k, v in {"y": y, "p": p, "g": g, "s": s}.items() if v is not None})


def test_every_declared_metric_is_implemented() -> None:
    assert set(REGISTRY) == set(METRICS)


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_nothing_is_measured_on_an_empty_table(metric: str) -> None:
    empty = table([0, 1], [0, 1], ["a", "b"], [0.1, 0.9]).iloc[:0]
    result = measure(control_of(metric), sample_of(empty))
    assert isinstance(result, Unmeasured)
    assert "no rows" in result.reason
    assert result.remedy


@pytest.mark.parametrize("metric", GAPS)
def test_one_group_is_no_comparison(metric: str) -> None:
    sample = sample_of(table([0, 1, 1, 0], [0, 1, 0, 1], ["a"] * 4))
    assert "fewer than two groups" in reason_of(metric, sample)


@pytest.mark.parametrize("metric", GAPS)
def test_a_typo_in_the_role_is_not_measured(metric: str) -> None:
    sample = sample_of(table([0, 1, 1, 0], [0, 1, 0, 1], list("aabb")))
    assert "no column is bound to the role 'gruop'" in reason_of(metric, sample, role="gruop")
    assert "names no group role" in reason_of(metric, sample, role=None)


@pytest.mark.parametrize("metric", GAPS)
def test_string_labels_without_a_positive_class_are_not_equal_groups(metric: str) -> None:
    words = ["good", "bad", "good", "good"]
    assert "positive class not declared" in reason_of(metric, sample_of(table(words, words, list("aabb"))))


def test_a_model_that_rejects_everyone_has_no_ratio_but_has_a_difference() -> None:
    sample = sample_of(table([1, 2, 1, 2], [2, 2, 2, 2], list("aabb")), positive=1)
    assert "selection rate is 0 in every compared group" in reason_of("disparate_impact", sample)
    assert "is 0 in every compared group" in reason_of("equalized_odds_ratio", sample)
    assert "no rows predicted positive" in reason_of("predictive_parity", sample)
    assert "no rows predicted positive" in reason_of("precision", sample)
    assert value_of("demographic_parity_diff", sample) == 0.0
    assert value_of("recall", sample) == 0.0


def test_a_model_that_rejects_all_of_one_group_has_the_worst_ratio() -> None:
    """Labels coded 1/2; the rejected class is 2, which must not read as a selection."""
    sample = sample_of(table([1, 2, 1, 2], [2, 2, 1, 2], list("ffmm")), positive=1)
    assert value_of("disparate_impact", sample) == 0.0
    assert value_of("equal_opportunity_diff", sample) == 1.0


def test_one_class_has_no_auc_and_no_imbalance() -> None:
    sample = sample_of(table([1, 1, 1], [1, 1, 1], s=[0.1, 0.2, 0.3]), positive=1)
    assert "only one class" in reason_of("roc_auc", sample)
    assert "one class only (1)" in reason_of("class_imbalance", sample, of=LABELS)


def test_a_class_that_is_never_predicted_is_the_rarest() -> None:
    sample = sample_of(table([0, 1, 1], [1, 1, 1]))
    assert value_of("class_imbalance", sample, of=Outcome.PREDICTIONS) == 0.0


def test_no_scores_no_auc() -> None:
    assert "role 'score'" in reason_of("roc_auc", sample_of(table([0, 1], [0, 1])))
    without = sample_of(table([0, 1]), predictions=answered([0, 1], [0, 1]))
    assert "no class probabilities" in reason_of("roc_auc", without)


def test_a_group_without_positive_labels_is_listed_and_not_compared() -> None:
    frame = table([0, 0, 1, 0, 1, 1], [0, 1, 1, 0, 1, 0], list("aabbcc"))
    result = measure(control_of("equal_opportunity_diff"), sample_of(frame))
    assert isinstance(result, Measurement)
    (a, b, c) = result.groups
    assert (a.compared, a.reason, a.value) == (False, "no rows with a positive label", None)
    assert b.compared
    assert c.compared
    assert result.value == 0.5
    only_two = sample_of(frame[frame.g != "c"])
    assert "a: no rows with a positive label" in reason_of("equal_opportunity_diff", only_two)


def test_groups_under_the_minimum_leave_nothing_to_compare() -> None:
    sample = sample_of(rates(("a", 20, 40), ("b", 3, 7)))
    assert "b: n=7 < 30" in reason_of("disparate_impact", sample, of=LABELS, min_group=30)


def test_a_declared_reference_must_exist_and_be_large_enough() -> None:
    sample = sample_of(rates(("a", 20, 40), ("b", 20, 40), ("c", 3, 7)))
    options = {"of": LABELS, "min_group": 30}
    assert "'z' does not exist; the groups are 'a', 'b' and 'c'" in reason_of(
        "disparate_impact", sample, reference="z", **options
    )
    assert "n=7 < 30" in reason_of("disparate_impact", sample, reference="c", **options)


def test_a_reference_that_selects_nobody_has_no_ratio() -> None:
    sample = sample_of(rates(("a", 20, 40), ("b", 0, 40)))
    assert "0 in the reference group b" in reason_of("disparate_impact", sample, of=LABELS, reference="b")


def test_an_unknown_metric_is_not_measured() -> None:
    assert "no metric 'fairness'" in reason_of("fairness", sample_of(table([0, 1])))


def test_missing_groups_are_a_group_and_count_like_any() -> None:
    frame = rates(("a", 5, 10), (None, 1, 10))
    result = measure(control_of("disparate_impact", of=LABELS), sample_of(frame))
    assert isinstance(result, Measurement)
    assert result.extremes == ("(missing)", "a")
    assert result.value == pytest.approx(0.2)


def test_a_misbound_role_never_borrows_another_column() -> None:
    """A control on `race` where only `gender` is bound has no number."""
    frame = rates(("a", 5, 10), ("b", 5, 10)).rename(columns={"g": "gender"})
    sample = sample_of(frame, more=[bound("gender")])
    assert "'race'" in reason_of("disparate_impact", sample, role="race", of=LABELS)
