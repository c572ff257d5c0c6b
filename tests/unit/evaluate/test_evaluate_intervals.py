"""Intervals: equal to published values, cover what they promise, and shrink as they should."""

from __future__ import annotations

import math

import numpy as np
import pytest
from evaluate_tables import LABELS, control_of, rates, sample_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from venturalitica_agent.domain.policy import DecideOn
from venturalitica_agent.domain.verdict import Measurement
from venturalitica_agent.evaluate import intervals
from venturalitica_agent.evaluate.gaps import Gap
from venturalitica_agent.evaluate.measure import measure

SIMULATIONS = 400


def measured(metric: str, require: str, *groups: tuple[str, int, int], **fields: object) -> Measurement:
    result = measure(control_of(metric, require, of=LABELS, **fields), sample_of(rates(*groups)))
    assert isinstance(result, Measurement)
    return result


@given(n=st.integers(1, 5000), share=st.floats(0, 1), level=st.sampled_from([0.9, 0.95, 0.999]))
@settings(max_examples=60, deadline=None)
def test_wilson_equals_scipy(n: int, share: float, level: float) -> None:
    k = round(n * share)
    expected = stats.binomtest(k, n).proportion_ci(level, "wilson")
    assert intervals.wilson(k, n, level) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_newcombe_gives_the_values_of_its_paper() -> None:
    """Newcombe 1998, table II, method 10: 56/70 - 48/80, 9/10 - 3/10, 10/10 - 0/20."""
    for counts, low, high in (
        ((56, 70, 48, 80), 0.0524, 0.3339),
        ((9, 10, 3, 10), 0.1705, 0.8090),
        ((10, 10, 0, 20), 0.6791, 1.0),
    ):
        assert intervals.newcombe(*counts, 0.95) == pytest.approx((low, high), abs=5e-5)


def test_katz_equals_scipy_relative_risk() -> None:
    expected = stats.contingency.relative_risk(27, 122, 44, 487).confidence_interval(0.95)
    assert intervals.katz(27, 122, 44, 487, 0.95) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_ratio_of_small_counts_is_sound_at_the_borders() -> None:
    low, high = intervals.ratio(0, 20, 10, 20, 0.95)
    assert low == 0
    assert 0 < high < 1
    low, high = intervals.ratio(10, 20, 0, 20, 0.95)
    assert low > 1
    assert high == math.inf
    assert [float(end) for end in intervals.ratio(0, 20, 0, 20, 0.95)] == [0.0, math.inf]


@given(k1=st.integers(0, 30), k2=st.integers(1, 40), level=st.sampled_from([0.9, 0.95, 0.99999]))
@settings(max_examples=60, deadline=None)
def test_a_ratio_turned_around_has_the_interval_turned_around(k1: int, k2: int, level: float) -> None:
    """So it doesn't matter which group is named first; and the estimate is always inside."""
    low, high = intervals.ratio(k1, 30, k2, 40, level)
    assert low <= (k1 / 30) / (k2 / 40) <= high
    there, back = intervals.ratio(k2, 40, k1, 30, level)
    assert float(low) == pytest.approx(1 / float(back), abs=1e-12) if math.isfinite(back) else low == 0
    assert float(high) == pytest.approx(1 / float(there), rel=1e-9) if there > 0 else high == math.inf


def coverage(low: np.ndarray, high: np.ndarray, truth: float) -> float:
    return float(((low <= truth) & (truth <= high)).mean())


@pytest.mark.parametrize(("n1", "n2", "p1", "p2"), [(100, 100, 0.3, 0.3), (100, 200, 0.5, 0.7), (300, 100, 0.2, 0.3)])
def test_coverage_is_what_the_level_says(n1: int, n2: int, p1: float, p2: float) -> None:
    """Wilson, Newcombe and the log ratio at 95 %, by simulation."""
    rng = np.random.default_rng(11)
    k1, k2 = rng.binomial(n1, p1, SIMULATIONS), rng.binomial(n2, p2, SIMULATIONS)
    assert 0.92 <= coverage(*intervals.wilson(k1, n1, 0.95), p1) <= 0.98
    assert 0.92 <= coverage(*intervals.newcombe(k1, n1, k2, n2, 0.95), p1 - p2) <= 0.98
    assert 0.92 <= coverage(*intervals.ratio(k1, n1, k2, n2, 0.95), p1 / p2) <= 0.98


@pytest.mark.parametrize(("n1", "n2", "p1", "p2"), [(30, 30, 0.05, 0.1), (10, 10, 0.2, 0.3), (30, 300, 0.9, 0.95)])
def test_small_counts_do_not_promise_too_much(n1: int, n2: int, p1: float, p2: float) -> None:
    rng = np.random.default_rng(12)
    k1, k2 = rng.binomial(n1, p1, SIMULATIONS), rng.binomial(n2, p2, SIMULATIONS)
    assert coverage(*intervals.ratio(k1, n1, k2, n2, 0.95), p1 / p2) >= 0.93


@pytest.mark.parametrize("is_ratio", [True, False])
@pytest.mark.parametrize("reference", [None, 0])
def test_the_interval_of_the_widest_gap_of_five_groups_covers_it(is_ratio: bool, reference: int | None) -> None:
    """Although the extreme pair is picked by looking."""
    rng = np.random.default_rng(13)
    rate, n = np.array([0.5, 0.5, 0.5, 0.5, 0.45]), np.full((1, 5), 120.0)
    gap = Gap(is_ratio, reference)
    truth = float(gap.value(rate[None]))
    ends = [gap.interval(rng.binomial(120, rate)[None].astype(float), n, 0.95) for _ in range(SIMULATIONS)]
    low, high = np.array(ends).T
    assert coverage(low, high, truth) >= 0.95


def test_with_two_groups_the_gap_has_the_plain_interval_folded() -> None:
    ratio = measured("disparate_impact", ">= 0.8", ("a", 40, 100), ("b", 60, 100))
    assert ratio.interval.method == "Katz log ratio"
    assert (ratio.interval.low, ratio.interval.high) == pytest.approx(intervals.katz(40, 100, 60, 100, 0.95))
    difference = measured("demographic_parity_diff", "<= 0.1", ("a", 40, 100), ("b", 60, 100))
    assert difference.interval.method == "Newcombe score difference"
    assert (difference.interval.low, difference.interval.high) == pytest.approx(
        intervals.newcombe(60, 100, 40, 100, 0.95)
    )
    equal = measured("demographic_parity_diff", "<= 0.1", ("a", 50, 100), ("b", 50, 100))
    assert equal.interval.low == 0.0
    assert measured("disparate_impact", ">= 0.8", ("a", 50, 100), ("b", 50, 100)).interval.high == 1.0


def test_auc_has_the_variance_of_the_definition() -> None:
    """DeLong's placement values by all pairs, the slow way."""
    rng = np.random.default_rng(3)
    x, y = rng.integers(0, 8, 40).astype(float) + 1, rng.integers(0, 8, 60).astype(float)
    wins = (x[:, None] > y).astype(float) + 0.5 * (x[:, None] == y)
    value, over_y, over_x = intervals.placements(x, y)
    expected = wins.mean(axis=1).var(ddof=1) / len(x) + wins.mean(axis=0).var(ddof=1) / len(y)
    assert value == pytest.approx(wins.mean(), abs=1e-12)
    variance, _ = intervals.together([(r.var(ddof=1) / len(r), len(r) - 1) for r in (over_y, over_x)])
    assert variance == pytest.approx(expected, abs=1e-12)


@given(selected=st.integers(1, 29), factor=st.integers(2, 20))
@settings(max_examples=40, deadline=None)
def test_more_rows_of_the_same_kind_make_a_narrower_interval(selected: int, factor: int) -> None:
    for metric in ("disparate_impact", "demographic_parity_diff", "class_imbalance"):
        small = measured(metric, ">= 0.8", ("a", selected, 30), ("b", 20, 40)).interval
        large = measured(
            metric, ">= 0.8", ("a", selected * factor, 30 * factor), ("b", 20 * factor, 40 * factor)
        ).interval
        assert large.high - large.low < small.high - small.low


def test_rows_needed_are_about_what_decides() -> None:
    """With as many more rows, at the same rates, the interval decides; with half of them it doesn't."""
    before = measured("disparate_impact", ">= 0.8", ("a", 30, 50), ("b", 460, 690))
    assert before.interval.low < 0.8 < before.interval.high
    assert set(before.needed) == {"a"}

    def after(share: float) -> Measurement:
        n = 50 + round(before.needed["a"] * share)
        return measured("disparate_impact", ">= 0.8", ("a", round(n * 0.6), n), ("b", 460, 690))

    assert after(1.05).interval.low >= 0.8
    assert after(0.5).interval.low < 0.8


def test_no_rows_help_when_the_value_is_the_threshold() -> None:
    assert measured("disparate_impact", ">= 0.8", ("a", 40, 100), ("b", 50, 100)).needed == {}


def test_census_numbers_have_no_uncertainty() -> None:
    for metric in ("min_group_n", "data_completeness"):
        result = measured(metric, ">= 0.5", ("a", 40, 100), ("b", 50, 110), decide_on=DecideOn.POINT)
        assert result.interval.low == result.interval.high == result.value
        assert result.interval.method == "exact count of this table"
        assert result.flip_rate == 0.0


def test_perfect_scores_on_few_rows_are_not_certain() -> None:
    """F1, recall and AUC of 1.0 from ten rows: an interval of resamples would say [1, 1]."""
    frame = rates(("a", 5, 10))
    frame["p"], frame["s"] = frame["y"], frame["y"] * 1.0
    for metric in ("f1", "recall", "accuracy", "roc_auc"):
        result = measure(control_of(metric), sample_of(frame))
        assert isinstance(result, Measurement)
        assert result.value == result.interval.high == 1.0
        assert result.interval.low < 0.8
