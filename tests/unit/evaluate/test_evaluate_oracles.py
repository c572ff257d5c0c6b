"""Every metric equals scikit-learn's or fairlearn's on generated data, whatever the data types."""

from __future__ import annotations

import warnings
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from evaluate_tables import LABELS, answered, control_of, sample_of, value_of
from fairlearn import metrics as fairlearn
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from venturalitica_agent.domain.verdict import Measurement
from venturalitica_agent.evaluate import intervals
from venturalitica_agent.evaluate.measure import measure

CODINGS: dict[str, tuple[Any, Any, str | None]] = {
    "0/1": (0, 1, None),
    "1/2": (2, 1, None),
    "bool": (False, True, None),
    "float": (0.0, 1.0, None),
    "text": ("bad", "good", None),
    "pandas text": ("bad", "good", "string"),
    "category": ("bad", "good", "category"),
    "nullable": (2, 1, "Int64"),
}
DECLARED = {name: coding[1] for name, coding in CODINGS.items()}

tables = st.integers(2, 60).flatmap(
    lambda n: st.tuples(
        st.lists(st.booleans(), min_size=n, max_size=n),
        st.lists(st.booleans(), min_size=n, max_size=n),
        st.lists(st.sampled_from(["a", "b", "c", None]), min_size=n, max_size=n),
        st.lists(st.integers(0, 6), min_size=n, max_size=n),
    )
)
modest = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])


def column(truths: list[bool], coding: str) -> pd.Series:
    negative, positive, dtype = CODINGS[coding]
    series = pd.Series([positive if t else negative for t in truths], dtype=dtype)
    if dtype == "category":
        series = series.cat.add_categories(["never seen"])
    return series


def frame_of(table: tuple[list[Any], ...], coding: str) -> pd.DataFrame:
    """With every row label the same: nothing may rest on the index."""
    y, p, g, _ = table
    frame = pd.DataFrame({"y": column(y, coding), "p": column(p, coding), "g": pd.Categorical(g, list("abcd"))})
    frame.index = pd.Index([7] * len(frame))
    return frame


@pytest.mark.parametrize("coding", CODINGS)
@given(table=tables)
@modest
def test_performance_metrics_equal_scikit_learn(coding: str, table: tuple[list[Any], ...]) -> None:
    """Accuracy, precision, recall, F1 on every coding of the classes."""
    y, p, _, _ = map(np.array, table)
    assume(len(set(y)) == 2 and p.any())
    sample = sample_of(frame_of(table, coding), positive=DECLARED[coding])
    for metric, oracle in (
        ("accuracy", sklearn.accuracy_score),
        ("precision", sklearn.precision_score),
        ("recall", sklearn.recall_score),
        ("f1", sklearn.f1_score),
    ):
        assert value_of(metric, sample) == pytest.approx(oracle(y, p), abs=1e-12)


@given(table=tables)
@modest
def test_roc_auc_equals_scikit_learn_with_ties(table: tuple[list[Any], ...]) -> None:
    """Scores of few distinct values, read from a bound column and from a model's probabilities."""
    y, p, _, s = table
    assume(len(set(y)) == 2)
    expected = sklearn.roc_auc_score(y, s)
    frame = frame_of(table, "1/2")
    model = answered([1 if v else 2 for v in p], [2, 1], np.column_stack([-np.array(s, float), np.array(s, float)]))
    assert value_of("roc_auc", sample_of(frame.assign(s=s), positive=1)) == pytest.approx(expected, abs=1e-12)
    assert value_of("roc_auc", sample_of(frame, positive=1, predictions=model)) == pytest.approx(expected, abs=1e-12)


@given(table=tables)
@modest
def test_gap_metrics_equal_fairlearn(table: tuple[list[Any], ...]) -> None:
    """All gap metrics on every coding, with missing group values as a group and an unused category as none."""
    y, p, g, _ = table
    groups = pd.Series(["(missing)" if v is None else v for v in g])
    y_true, y_pred = pd.Series(y).astype(int), pd.Series(p).astype(int)
    by_group = pd.DataFrame({"y": y_true, "p": y_pred}).groupby(groups)
    assume(len(by_group) > 1 and len(set(y)) == 2)
    samples = {coding: sample_of(frame_of(table, coding), positive=DECLARED[coding]) for coding in CODINGS}
    assert all(set(sample.groups["group"].names) == set(groups) for sample in samples.values())

    oracles: dict[str, Any] = {"demographic_parity_diff": fairlearn.demographic_parity_difference}
    if any(p):
        oracles["disparate_impact"] = fairlearn.demographic_parity_ratio
    if (by_group["y"].nunique() == 2).all():
        oracles["equal_opportunity_diff"] = fairlearn.equal_opportunity_difference
        oracles["equalized_odds_diff"] = fairlearn.equalized_odds_difference
        if (y_true & y_pred).any() and (~y_true.astype(bool) & y_pred.astype(bool)).any():
            oracles["equalized_odds_ratio"] = fairlearn.equalized_odds_ratio
    if by_group["p"].any().all():
        oracles["predictive_parity"] = lambda y_true, y_pred, sensitive_features: fairlearn.MetricFrame(
            metrics=sklearn.precision_score, y_true=y_true, y_pred=y_pred, sensitive_features=sensitive_features
        ).difference()
    for metric, oracle in oracles.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = oracle(y_true, y_pred, sensitive_features=groups)
        for coding, sample in samples.items():
            assert value_of(metric, sample) == pytest.approx(expected, abs=1e-12), (metric, coding)


@given(table=tables, threshold=st.integers(1, 12))
@modest
def test_small_groups_are_dropped_before_the_extremes_are_sought(table: Any, threshold: int) -> None:
    """What is compared equals fairlearn on the rows of the groups that are large enough."""
    y, _, g, _ = table
    assume(len(set(y)) == 2)
    groups = pd.Series(["(missing)" if v is None else v for v in g])
    large = groups.map(groups.value_counts()) >= threshold
    labels = pd.Series(y).astype(int)
    assume(groups[large].nunique() > 1 and labels[large].any())
    sample = sample_of(frame_of(table, "0/1"))
    result = measure(control_of("disparate_impact", of=LABELS, min_group=threshold), sample)
    assert isinstance(result, Measurement)
    expected = fairlearn.demographic_parity_ratio(labels[large], labels[large], sensitive_features=groups[large])
    assert result.value == pytest.approx(expected, abs=1e-12)
    assert set(result.small_groups) == set(groups[~large])
    assert {s.group for s in result.groups if not s.compared} == set(groups[~large])
    assert result.reference not in result.small_groups
    assert not set(result.extremes or ()) & set(result.small_groups)


@given(table=tables)
@modest
def test_group_statistics_equal_metricframe(table: tuple[list[Any], ...]) -> None:
    """Each group's own rate, n and interval: the rate lies in its interval."""
    y, _, g, _ = table
    assume(len(set(y)) == 2)
    groups = pd.Series(["(missing)" if v is None else v for v in g])
    assume(groups.nunique() > 1)
    result = measure(
        control_of("demographic_parity_diff", of=LABELS), sample_of(frame_of(table, "text"), positive="good")
    )
    assert isinstance(result, Measurement)
    expected = pd.Series(y).groupby(groups).agg(["mean", "size"])
    for stat in result.groups:
        assert stat.value == pytest.approx(expected.loc[stat.group, "mean"], abs=1e-12)
        assert stat.n == expected.loc[stat.group, "size"]
        assert stat.interval is not None
        assert stat.interval.low <= stat.value <= stat.interval.high
    assert result.interval.low <= result.value <= result.interval.high


@given(values=st.lists(st.sampled_from(["x", "y", "z"]), min_size=2, max_size=60))
@modest
def test_class_imbalance_is_rarest_over_commonest(values: list[str]) -> None:
    """By pandas' own counting, for two classes and more."""
    counts = pd.Series(values).value_counts()
    assume(len(counts) > 1)
    value = value_of("class_imbalance", sample_of(pd.DataFrame({"y": values})), of=LABELS)
    assert value == pytest.approx(counts.min() / counts.max(), abs=1e-12)


@given(cells=st.lists(st.lists(st.one_of(st.none(), st.just(1.0)), min_size=3, max_size=3), min_size=1, max_size=30))
@modest
def test_data_completeness_is_the_share_of_filled_cells(cells: list[list[float | None]]) -> None:
    """Over all the columns of the table."""
    frame = pd.DataFrame(cells, columns=["y", "f", "h"], dtype=float)
    expected = frame.notna().to_numpy().mean()
    assert value_of("data_completeness", sample_of(frame)) == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=60), st.lists(st.integers(-5, 5), min_size=1, max_size=60))
@settings(max_examples=50, deadline=None)
def test_placements_are_those_of_scipy_s_ranks(positives: list[int], negatives: list[int]) -> None:
    """Ties and all, whatever the size of the blocks: a row's rank among all less its rank among its own class."""
    from scipy.stats import rankdata

    m, n, both = len(positives), len(negatives), rankdata([*positives, *negatives])
    with mock.patch.object(intervals, "_BLOCK", 7):
        area, over_negatives, over_positives = intervals.placements(
            np.array(positives, float), np.array(negatives, float)
        )
    np.testing.assert_array_equal(over_negatives, (both[:m] - rankdata(positives)) / n)
    np.testing.assert_array_equal(over_positives, 1 - (both[m:] - rankdata(negatives)) / m)
    assert area == pytest.approx(over_negatives.mean(), abs=1e-12)
