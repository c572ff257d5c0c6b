"""Metrics of classes, scores and quantities equal scikit-learn's, have honest intervals, or refuse."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pandas as pd
import pytest
from evaluate_tables import LABELS, answered, control_of, policy_of, reason_of, sample_of, value_of
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from venturalitica_agent.domain.policy import DecideOn
from venturalitica_agent.domain.subject import Predictions
from venturalitica_agent.domain.verdict import Measurement, Status
from venturalitica_agent.evaluate import intervals
from venturalitica_agent.evaluate.judge import judge
from venturalitica_agent.evaluate.measure import measure
from venturalitica_agent.evaluate.sample import Sample

modest = settings(max_examples=25, deadline=None)
OF_CLASSES = ("accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "mcc")
OF_SCORES = ("roc_auc", "average_precision", "brier", "log_loss", "ece", "roc_auc_ovr")
OF_QUANTITIES = ("mae", "rmse", "r2", "abs_mean_residual")


def measured(metric: str, sample: Sample, require: str = ">= 0.5", **fields: object) -> Measurement:
    result = measure(control_of(metric, require, **fields), sample)
    assert isinstance(result, Measurement), result
    assert result.interval.low <= result.value <= result.interval.high
    return result


def classes(n: int = 300, k: int = 3, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    return pd.DataFrame({"y": y, "p": np.where(rng.random(n) < 0.7, y, rng.integers(0, k, n))})


def chances(n: int, k: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of probabilities, all of them fortieths: with ties, and a few are exactly 0."""
    return rng.multinomial(40, rng.dirichlet(np.full(k, 0.7), n)) / 40


# -- classes ------------------------------------------------------------------------------------------------------
@given(rows=st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from("xyz"), st.booleans()), min_size=2, max_size=60))
@modest
def test_metrics_of_two_classes_or_three_equal_scikit_learn(rows: list[tuple[str, str, bool]]) -> None:
    """With text labels; rows without a label don't count."""
    frame = pd.DataFrame(rows, columns=["y", "p", "kept"])
    known = frame[frame["kept"]]
    y, p = known["y"], known["p"]
    assume(y.nunique() > 1 and p.nunique() > 1 and set(p) <= set(y))
    sample = sample_of(frame.assign(y=frame["y"].where(frame["kept"])))
    for metric, expected in (
        ("accuracy", sklearn.accuracy_score(y, p)),
        ("balanced_accuracy", sklearn.balanced_accuracy_score(y, p)),
        ("f1_macro", sklearn.f1_score(y, p, average="macro")),
        ("f1_weighted", sklearn.f1_score(y, p, average="weighted")),
        ("mcc", sklearn.matthews_corrcoef(y, p)),
    ):
        assert value_of(metric, sample) == pytest.approx(expected, abs=1e-12), metric


def test_what_classes_leave_undefined_is_refused() -> None:
    constant = sample_of(pd.DataFrame({"y": [0, 1, 1], "p": [1, 1, 1]}))
    assert "predictions hold one class only" in reason_of("mcc", constant)
    assert value_of("balanced_accuracy", constant) == 0.5
    alone = sample_of(pd.DataFrame({"y": [1, 1, 1], "p": [1, 1, 1]}), positive=1)
    assert "one class" in reason_of("balanced_accuracy", alone)
    assert "one class" in reason_of("f1_macro", alone)
    blank = sample_of(pd.DataFrame({"y": [0, 1, None, None], "p": [None, None, 0, 1]}))
    for metric in OF_CLASSES:
        assert "no row has both" in reason_of(metric, blank)
    many = sample_of(classes(5000, 120))
    assert "more than 100" in reason_of("f1_macro", many)
    assert measured("balanced_accuracy", many).n == 5000


def test_no_mistake_on_few_rows_is_no_proof_of_none() -> None:
    few = sample_of(pd.DataFrame({"y": [0, 1] * 6, "p": [0, 1] * 6}))
    for metric in OF_CLASSES:
        found = measured(metric, few)
        assert found.value == found.interval.high == 1.0
        assert -0.1 < found.interval.low < 0.9, metric


def test_intervals_of_tables_are_the_same_every_time() -> None:
    sample = sample_of(classes())
    first, again = measured("mcc", sample, id="one"), measured("mcc", sample, id="two")
    assert first.interval == again.interval
    assert (first.interval.method, first.interval.seed) == ("delta method, Student on the logit scale", None)


@pytest.mark.parametrize(("metric", "prevalence"), [("mcc", 0.5), ("f1_macro", 0.2), ("balanced_accuracy", 0.2)])
def test_intervals_of_tables_cover_what_they_promise(metric: str, prevalence: float) -> None:
    """300 tables of 150 rows from a known one: the true value lies inside in 95 %, give or take the simulation."""
    truth = np.array([[(1 - prevalence) * 0.85, (1 - prevalence) * 0.15], [prevalence * 0.2, prevalence * 0.8]])
    y, p = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    oracle = {"mcc": sklearn.matthews_corrcoef, "balanced_accuracy": sklearn.balanced_accuracy_score}.get(metric)
    weights = truth.ravel()
    value = (
        oracle(y, p, sample_weight=weights)
        if oracle
        else sklearn.f1_score(y, p, average="macro", sample_weight=weights)
    )
    inside = 0
    for counts in np.random.default_rng(5).multinomial(150, weights, 300):
        found = measured(metric, sample_of(pd.DataFrame({"y": np.repeat(y, counts), "p": np.repeat(p, counts)})))
        inside += found.interval.low <= value <= found.interval.high
    assert 0.92 <= inside / 300 <= 0.98


# -- scores -------------------------------------------------------------------------------------------------------
@given(seed=st.integers(0, 10**6), n=st.integers(12, 80), k=st.integers(2, 4))
@modest
def test_metrics_of_scores_equal_scikit_learn(seed: int, n: int, k: int) -> None:
    """From the model's probabilities, in another order of the classes than the labels', with ties and zeros."""
    rng = np.random.default_rng(seed)
    names = list("dbca")[:k]
    y = np.array(names)[np.r_[np.arange(k), rng.integers(0, k, n - k)]]
    scores = chances(n, k, rng)
    sample = sample_of(pd.DataFrame({"y": y}), positive="b", predictions=answered(y, names, scores))
    order = np.argsort(names)
    ordered, own = scores[:, order], scores[:, names.index("b")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = {
            "log_loss": sklearn.log_loss(y, ordered),
            "brier": sklearn.brier_score_loss(y == "b", own),
            "average_precision": sklearn.average_precision_score(y == "b", own),
            "roc_auc": sklearn.roc_auc_score(y == "b", own),
            "roc_auc_ovr": np.mean([sklearn.roc_auc_score(y == name, scores[:, i]) for i, name in enumerate(names)]),
            "ece": slow_ece(y == "b", own),
        }
    for metric, value in expected.items():
        assert value_of(metric, sample) == pytest.approx(value, abs=1e-12), metric


def slow_ece(truth: np.ndarray, scores: np.ndarray) -> float:
    """By the definition, one bin after the other; the bins are closed above, as scikit-learn's calibration_curve."""
    total = 0.0
    for b in range(10):
        low, high = np.linspace(0, 1, 11)[b : b + 2]
        inside = (scores > low) & (scores <= high) if b else scores <= high
        if inside.any():
            total += abs(truth[inside].mean() - scores[inside].mean()) * inside.mean()
    return total


def test_a_score_column_has_the_probabilities_of_two_classes() -> None:
    rng = np.random.default_rng(4)
    y, s = rng.integers(0, 2, 80), rng.random(80)
    sample = sample_of(pd.DataFrame({"y": y, "s": s}))
    assert value_of("log_loss", sample) == pytest.approx(sklearn.log_loss(y, s), abs=1e-12)
    assert value_of("roc_auc_ovr", sample) == pytest.approx(sklearn.roc_auc_score(y, s), abs=1e-12)
    three = sample_of(pd.DataFrame({"y": [0, 1, 2], "s": [0.1, 0.2, 0.3]}), positive=1)
    assert "that of one class, and the labels are 0, 1 and 2" in reason_of("log_loss", three)


def test_for_two_classes_the_mean_of_curves_has_delong_s_interval() -> None:
    rng = np.random.default_rng(8)
    y = rng.integers(0, 2, 90)
    sample = sample_of(pd.DataFrame({"y": y, "s": np.clip(rng.normal(0.4 + 0.2 * y, 0.2), 0, 1)}))
    one, mean = measured("roc_auc", sample).interval, measured("roc_auc_ovr", sample).interval
    assert (mean.low, mean.high) == pytest.approx((one.low, one.high), abs=1e-12)


def test_perfect_or_constant_scores_on_few_rows_are_not_certain() -> None:
    y = np.array([0, 1] * 6)
    for scores in (y.astype(float), np.full(12, 0.5)):
        sample = sample_of(pd.DataFrame({"y": y, "s": scores}))
        for metric in OF_SCORES:
            found = measured(metric, sample)
            assert found.interval.high - found.interval.low > 0.1, metric


def test_scores_that_are_no_probabilities_are_refused() -> None:
    sample = sample_of(pd.DataFrame({"y": [0, 1, 1], "s": [-2.0, 3.0, 0.5]}))
    for metric in ("brier", "ece"):
        assert "run from -2 to 3: they are no probabilities" in reason_of(metric, sample)
    assert "no probabilities" in reason_of("log_loss", sample)
    assert value_of("roc_auc", sample) == 1.0
    short = answered([0, 1, 1], [0, 1], np.array([[0.5, 0.2], [0.5, 0.5], [0.5, 0.5]]))
    assert "don't add up to 1" in reason_of("log_loss", sample_of(pd.DataFrame({"y": [0, 1, 1]}), predictions=short))


def test_scores_without_both_classes_are_refused() -> None:
    alone = sample_of(pd.DataFrame({"y": [1, 1], "s": [0.1, 0.2]}), positive=1)
    for metric in ("average_precision", "brier", "ece"):
        assert "only one class" in reason_of(metric, alone)
    unseen = answered([0, 1, 1], [0, 1, 2], np.full((3, 3), 1 / 3))
    assert "no row with probabilities has the label 2" in reason_of(
        "roc_auc_ovr", sample_of(pd.DataFrame({"y": [0, 1, 1]}), predictions=unseen)
    )
    model = answered([0, 1, 1], [0, 1], np.full((3, 2), 0.5))
    other = sample_of(pd.DataFrame({"y": [0, 1, 2]}), predictions=model)
    assert "do not hold all of the labels" in reason_of("log_loss", other)


def test_the_interval_of_a_calibration_error_holds_zero_where_scores_are_calibrated() -> None:
    """The error found is over 0 by chance alone; the true one is 0, and the interval knows."""
    rng = np.random.default_rng(9)
    for n in (100, 2000):
        inside = 0
        for _ in range(60):
            s = rng.random(n)
            found = measured("ece", sample_of(pd.DataFrame({"y": (rng.random(n) < s).astype(int), "s": s})))
            inside += found.interval.low == 0.0
        assert inside >= 53


# -- quantities ---------------------------------------------------------------------------------------------------
@given(
    rows=st.lists(
        st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3), st.sampled_from(["a", "b", None])),
        min_size=3,
        max_size=50,
    )
)
@modest
def test_metrics_of_quantities_equal_scikit_learn(rows: list[tuple[float, float, str | None]]) -> None:
    """From a column, and from a regressor's answer; rows without a truth don't count."""
    y, p, g = (np.array(column) for column in zip(*rows, strict=True))
    assume(y.std() > 1e-3)
    expected = {
        "mae": sklearn.mean_absolute_error(y, p),
        "rmse": sklearn.root_mean_squared_error(y, p),
        "r2": sklearn.r2_score(y, p),
        "abs_mean_residual": abs((p - y).mean()),
    }
    frame = pd.DataFrame({"y": [*y, None], "p": [*p, 1.0]})
    model = Predictions(len(frame), None, None, numbers=np.r_[p, 1.0])
    for sample in (sample_of(frame), sample_of(frame[["y"]], predictions=model)):
        for metric, value in expected.items():
            assert value_of(metric, sample) == pytest.approx(value, rel=1e-9, abs=1e-9), metric
    names = pd.Series(["(missing)" if name is None else name for name in g])
    assume(names.nunique() > 1)
    by_group = pd.Series(np.abs(p - y)).groupby(names).mean()
    residual = pd.Series(p - y).groupby(names).mean()
    sample = sample_of(pd.DataFrame({"y": y, "p": p, "g": g}))
    assert value_of("mae_diff", sample) == pytest.approx(by_group.max() - by_group.min(), abs=1e-9)
    assert value_of("mean_residual_diff", sample) == pytest.approx(residual.max() - residual.min(), abs=1e-9)
    if by_group.max() > 0:
        assert value_of("mae_ratio", sample) == pytest.approx(by_group.min() / by_group.max(), abs=1e-9)


def test_the_interval_of_a_mean_is_student_s() -> None:
    from scipy import stats

    residuals = np.random.default_rng(2).gamma(2.0, size=40)
    frame = pd.DataFrame({"y": np.zeros(40), "p": residuals})
    expected = stats.ttest_1samp(residuals, 0).confidence_interval(0.95)
    for metric in ("mae", "abs_mean_residual"):
        found = measured(metric, sample_of(frame)).interval
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert intervals.mean(1.0, 0.0, 50, 0.95) == (-math.inf, math.inf)


def test_intervals_of_quantities_cover_what_they_promise() -> None:
    rng = np.random.default_rng(6)
    truth = {"mae": math.sqrt(2 / math.pi), "rmse": 1.0, "r2": 1 - 1 / 4, "abs_mean_residual": 0.0}
    inside = dict.fromkeys(truth, 0)
    for _ in range(300):
        y = rng.normal(0, 2, 150)
        sample = sample_of(pd.DataFrame({"y": y, "p": y + rng.normal(0, 1, 150)}))
        for metric, value in truth.items():
            found = measured(metric, sample)
            inside[metric] += found.interval.low <= value <= found.interval.high
    assert all(0.92 <= n / 300 <= 0.98 for n in inside.values()), inside


def test_the_gap_of_groups_errors_covers_the_true_one() -> None:
    rng = np.random.default_rng(7)
    spread = np.repeat([1.0, 1.0, 1.5], 120)
    g = np.repeat(list("abc"), 120)
    truth = {"mae_diff": 0.5 * math.sqrt(2 / math.pi), "mae_ratio": 1 / 1.5}
    inside = dict.fromkeys(truth, 0)
    for _ in range(100):
        sample = sample_of(pd.DataFrame({"y": np.zeros(360), "p": rng.normal(0, spread), "g": g}))
        for metric, value in truth.items():
            found = measured(metric, sample)
            inside[metric] += found.interval.low <= value <= found.interval.high
    assert min(inside.values()) / 100 >= 0.93


def test_a_regression_without_a_mistake_is_not_believed() -> None:
    """It proves nothing about the next row, and it mostly means that the target is among the inputs."""
    y = np.arange(40.0)
    sample = sample_of(pd.DataFrame({"y": y, "p": y}))
    for metric in OF_QUANTITIES:
        found = measured(metric, sample, ">= 0.9" if metric == "r2" else "<= 0.1")
        control = control_of(metric, ">= 0.9" if metric == "r2" else "<= 0.1")
        assert judge(policy_of(control), [found]).status is Status.INCONCLUSIVE
    assert "is the target among the model's inputs?" in measured("mae", sample).notes[-1]


def test_what_quantities_leave_undefined_is_refused() -> None:
    flat = sample_of(pd.DataFrame({"y": [2.0, 2.0, 2.0], "p": [1.0, 2.0, 3.0]}))
    assert "no variance to explain" in reason_of("r2", flat)
    words = sample_of(pd.DataFrame({"y": ["good", "bad"], "p": ["good", "bad"]}))
    assert "not numbers" in reason_of("mae", words)
    endless = sample_of(pd.DataFrame({"y": [1.0, math.inf], "p": [1.0, 2.0]}))
    assert "infinite" in reason_of("mae", endless)
    times = pd.date_range("2020-01-01", periods=1200)  # too many to be classes
    frame = pd.DataFrame({"y": times, "p": np.arange(1200.0)})
    assert "times, not numbers" in reason_of("rmse", sample_of(frame))
    assert "not numbers" in reason_of("rmse", sample_of(frame[:2]))
    model = sample_of(pd.DataFrame({"y": [1.0, 2.5]}), predictions=answered(["lo", "hi"], ["lo", "hi"]))
    assert "classes, not with quantities" in reason_of("mae", model)
    empty = sample_of(pd.DataFrame({"y": [1.0, None], "p": [None, 2.0]}))
    for metric in OF_QUANTITIES:
        assert "no row has both" in reason_of(metric, empty)
    even = sample_of(pd.DataFrame({"y": [1.0, 2.0, 3.0, 4.0], "p": [1.0, 2.0, 3.0, 4.0], "g": list("aabb")}))
    assert "division by 0" in reason_of("mae_ratio", even)


def test_whole_numbers_that_a_model_answers_are_quantities() -> None:
    model = answered([3, 1, 3], [1, 3])
    sample = sample_of(pd.DataFrame({"y": [1.0, 1.5, 2.0]}), predictions=model)
    assert value_of("mae", sample) == pytest.approx((2 + 0.5 + 1) / 3)
    categories = pd.DataFrame({"y": pd.Categorical([1, 2, 2]), "p": [1, 2, 4]})
    assert value_of("mae", sample_of(categories)) == pytest.approx(2 / 3)


@pytest.mark.parametrize("metric", [*OF_CLASSES, *OF_SCORES, *OF_QUANTITIES, "minority_share"])
def test_a_point_decision_knows_its_flip_rate_and_an_open_one_what_it_needs(metric: str) -> None:
    """With the threshold beside the value: half of all samples fall on its other side; more rows would decide."""
    rng = np.random.default_rng(3)
    y = rng.integers(0, 2, 300)
    s = np.clip(rng.normal(0.35 + 0.3 * y, 0.2), 0, 1)
    frame = pd.DataFrame({"y": y, "p": (s > 0.55).astype(int), "s": s})
    if metric in OF_QUANTITIES:
        frame["p"] = s
    sample = sample_of(frame)
    value = measured(metric, sample).value
    on_point = measured(metric, sample, f">= {value * 0.999 - 1e-6}", decide_on=DecideOn.POINT)
    assert on_point.flip_rate is not None
    assert 0.02 < on_point.flip_rate < 0.98
    threshold = value * 0.99 - 0.0005
    open_ = measured(metric, sample, f">= {threshold}")
    assert open_.interval.low < threshold
    assert set(open_.needed) == {""}


def test_the_rarest_class_s_share_is_its_count_over_the_rows() -> None:
    sample = sample_of(pd.DataFrame({"y": [*"aaaaabbbcc", None]}))
    found = measured("minority_share", sample, of=LABELS)
    assert found.value == 0.2
    assert found.interval.method == "Wilson score, Bonferroni over 3 classes"
    assert found.notes[0] == "the rarest class is c"
    assert "1 of 11 rows have no label" in found.notes[1]
    assert "one class only" in reason_of("minority_share", sample_of(pd.DataFrame({"y": [1, 1]})), of=LABELS)
