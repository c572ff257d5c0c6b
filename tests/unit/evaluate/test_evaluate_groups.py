"""Rates of groups, the worst group, each class against the rest, and intersections, beside fairlearn."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from evaluate_tables import LABELS, bound, control_of, policy_of, rates, reason_of, sample_of, value_of
from fairlearn import metrics as fairlearn
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sklearn

from venturalitica_agent.domain.needs import Needs
from venturalitica_agent.domain.policy import DecideOn, Outcome, Split
from venturalitica_agent.domain.verdict import Measurement, Status
from venturalitica_agent.errors import ConfigError
from venturalitica_agent.evaluate import intervals
from venturalitica_agent.evaluate.grouping import MISSING_GROUP, OTHER_GROUP
from venturalitica_agent.evaluate.judge import judge
from venturalitica_agent.evaluate.measure import measure
from venturalitica_agent.evaluate.sample import Sample
from venturalitica_agent.policy.load import parse_policy

modest = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
DIFFERENCES = {
    "false_positive_rate_diff": fairlearn.false_positive_rate_difference,
    "false_negative_rate_diff": fairlearn.false_negative_rate_difference,
}
WORST: dict[str, tuple[Any, str]] = {
    "worst_group_accuracy": (sklearn.accuracy_score, "group_min"),
    "worst_group_precision": (sklearn.precision_score, "group_min"),
    "worst_group_recall": (sklearn.recall_score, "group_min"),
    "worst_group_f1": (sklearn.f1_score, "group_min"),
    "worst_group_selection_rate": (fairlearn.selection_rate, "group_min"),
    "worst_group_false_positive_rate": (fairlearn.false_positive_rate, "group_max"),
    "worst_group_false_negative_rate": (fairlearn.false_negative_rate, "group_max"),
}
OVR = ("demographic_parity_diff_ovr", "equal_opportunity_diff_ovr")


def measured(metric: str, sample: Sample, require: str = ">= 0.5", **fields: object) -> Measurement:
    result = measure(control_of(metric, require, **fields), sample)
    assert isinstance(result, Measurement), result
    assert result.interval.low <= result.value <= result.interval.high
    return result


def people(n: int = 600, seed: int = 1, k: int = 2) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    return pd.DataFrame(
        {
            "y": y,
            "p": np.where(rng.random(n) < 0.75, y, rng.integers(0, k, n)),
            "s": rng.random(n),
            "g": rng.choice(["f", "m"], n),
            "age": rng.choice([20.0, 40.0, 70.0], n),
        }
    )


def crossed(frame: pd.DataFrame) -> Sample:
    return sample_of(frame, more=[bound("age", bins=(30.0, 60.0))])


# -- rates --------------------------------------------------------------------------------------------------------
@given(rows=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.sampled_from("abc")), min_size=8, max_size=60))
@modest
def test_differences_and_worst_groups_equal_fairlearn(rows: list[tuple[int, int, str]]) -> None:
    frame = pd.DataFrame(rows, columns=["y", "p", "g"])
    by_group = frame.groupby("g")
    assume(by_group.ngroups > 1 and (by_group["y"].nunique() == 2).all() and by_group["p"].any().all())
    sample = sample_of(frame)
    y, p, g = frame["y"], frame["p"], frame["g"]
    for metric, difference in DIFFERENCES.items():
        assert value_of(metric, sample) == pytest.approx(difference(y, p, sensitive_features=g), abs=1e-12), metric
    functions = {metric: function for metric, (function, _) in WORST.items()}
    oracle = fairlearn.MetricFrame(metrics=functions, y_true=y, y_pred=p, sensitive_features=g)
    for metric, (_, pick) in WORST.items():
        assert value_of(metric, sample) == pytest.approx(getattr(oracle, pick)()[metric], abs=1e-12), metric


@given(rows=st.lists(st.tuples(*[st.sampled_from("xyz")] * 2, st.sampled_from("ab")), min_size=8, max_size=60))
@modest
def test_each_class_against_the_rest_equals_the_widest_of_fairlearn(rows: list[tuple[str, str, str]]) -> None:
    frame = pd.DataFrame(rows, columns=["y", "p", "g"])
    y, p, g = frame["y"], frame["p"], frame["g"]
    assume(g.nunique() > 1 and set(p) <= set(y) and p.nunique() > 1)
    sample = sample_of(frame)

    def widest(oracle: Any, among: pd.Series) -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return max(oracle(y == c, p == c, sensitive_features=g) for c in set(among))

    assert value_of(OVR[0], sample) == pytest.approx(widest(fairlearn.demographic_parity_difference, p), abs=1e-12)
    worst_accuracy = frame.assign(right=y == p).groupby("g")["right"].mean().min()
    assert value_of("worst_group_accuracy", sample) == pytest.approx(worst_accuracy, abs=1e-12)
    assume((frame.groupby("g")["y"].nunique() == y.nunique()).all())
    assert value_of(OVR[1], sample) == pytest.approx(widest(fairlearn.equal_opportunity_difference, y), abs=1e-12)


def test_for_two_classes_the_rest_is_the_other_class() -> None:
    sample = sample_of(people())
    plain, ovr = measured("demographic_parity_diff", sample), measured(OVR[0], sample)
    assert ovr.value == pytest.approx(plain.value, abs=1e-12)
    assert ovr.interval.high > plain.interval.high  # two questions are asked, so each is answered more carefully
    assert measured(OVR[0], sample, of=LABELS).rate.startswith("share labelled")


def test_the_worst_group_s_interval_is_wilson_s_of_so_many_groups() -> None:
    found = measured("worst_group_selection_rate", sample_of(rates(("a", 30, 100), ("b", 45, 90))), of=LABELS)
    low, high = intervals.wilson([30, 45], [100, 90], 0.975)
    assert (found.interval.low, found.interval.high) == pytest.approx((low.min(), high.min()))
    assert found.extremes == ("a", "b")


def test_the_worst_of_five_groups_is_covered_although_it_is_picked_by_looking() -> None:
    rng = np.random.default_rng(21)
    truth, inside = np.array([0.5, 0.5, 0.5, 0.45, 0.5]), 0
    for counts in rng.binomial(120, truth, (100, 5)):
        found = measured(
            "worst_group_selection_rate", sample_of(rates(*zip("abcde", counts, [120] * 5, strict=True))), of=LABELS
        )
        inside += found.interval.low <= truth.min() <= found.interval.high
    assert inside >= 94


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        ("worst_group_recall", "True positive rate of m is 0.500 (n=100), the lowest of 2 groups"),
        ("worst_group_false_negative_rate", "False negative rate of m is 0.500 (n=100), the highest of 2 groups"),
        ("worst_group_f1", "F1 score of m is 0.667 (n=200), the lowest of 2 groups"),
    ],
)
def test_the_worst_group_is_told_by_name(metric: str, text: str) -> None:
    frame = pd.DataFrame({"y": [1] * 100 + [0] * 100 + [1] * 100 + [0] * 100, "g": ["f"] * 200 + ["m"] * 200})
    frame["p"] = [1] * 90 + [0] * 110 + [1] * 50 + [0] * 150
    control = control_of(metric, "<= 0.3" if metric.endswith("rate") else ">= 0.8")
    (finding,) = judge(policy_of(control), [measure(control, sample_of(frame))]).findings
    assert finding.sentence.startswith(text)
    assert finding.status is Status.FAIL


def test_a_group_that_errs_more_is_told_how_far_it_has_to_come_down() -> None:
    frame = pd.DataFrame(
        {"y": [0] * 399 + [1], "p": [1] * 20 + [0] * 180 + [1] * 100 + [0] * 100, "g": ["f"] * 200 + ["m"] * 200}
    )
    control = control_of("false_positive_rate_diff", "<= 0.1")
    (finding,) = judge(policy_of(control), [measure(control, sample_of(frame, positive=1))]).findings
    assert "With f as it is, the false positive rate of m would have to be at most 0.200." in finding.sentence


def test_what_groups_leave_undefined_is_refused() -> None:
    sample = sample_of(pd.DataFrame({"y": [0, 0, 1, 1], "p": [0, 0, 0, 0], "g": list("aabb")}))
    assert "no group can be compared" in reason_of("worst_group_precision", sample)
    assert "no group can be compared (a: n=2 < 30" in reason_of("worst_group_accuracy", sample, min_group=30)
    assert "fewer than two classes" in reason_of(OVR[0], sample)
    assert "could be compared" in reason_of(OVR[1], sample_of(people(40).assign(g="a")))
    half = measured("worst_group_recall", sample)
    assert [(s.group, s.compared) for s in half.groups] == [("a", False), ("b", True)]
    assert judge(policy_of(control_of("worst_group_recall")), [half]).status is Status.INCONCLUSIVE
    wide = sample_of(pd.DataFrame({"y": np.arange(900), "p": np.arange(900), "g": np.arange(900) % 9}))
    assert "too many to tell apart" in reason_of("worst_group_accuracy", wide)


@pytest.mark.parametrize("metric", [*WORST, *OVR, "ece_diff"])
def test_group_metrics_have_flip_rates_and_plans(metric: str) -> None:
    sample = sample_of(people())
    value = measured(metric, sample).value
    on_point = measured(metric, sample, f">= {value * 0.999}", decide_on=DecideOn.POINT)
    assert on_point.flip_rate is not None
    assert on_point.flip_rate > 0.01
    assert measured(metric, sample, f">= {value - min(0.02, 0.4 * value)}").needed


def test_the_gap_of_calibration_is_that_of_the_groups_own() -> None:
    frame = people()
    frame["s"] = np.where(frame["g"] == "f", 0.3 + 0.4 * frame["y"], frame["s"])
    own = {g: value_of("ece", sample_of(part)) for g, part in frame.groupby("g")}
    found = measured("ece_diff", sample_of(frame))
    assert found.value == pytest.approx(abs(own["f"] - own["m"]), abs=1e-12)
    assert {s.group: s.value for s in found.groups} == pytest.approx(own)
    small = measured("ece_diff", sample_of(pd.concat([frame, frame[:3].assign(g="x")])), min_group=30)
    assert small.small_groups == ("x",)


# -- Fisher -------------------------------------------------------------------------------------------------------
@given(st.tuples(*[st.integers(0, 40)] * 2), st.tuples(*[st.integers(1, 40)] * 2))
@settings(max_examples=50, deadline=None)
def test_fisher_equals_scipy(hits: tuple[int, int], sizes: tuple[int, int]) -> None:
    k1, k2 = (min(k, n) for k, n in zip(hits, sizes, strict=True))
    expected = stats.fisher_exact([[k1, sizes[0] - k1], [k2, sizes[1] - k2]]).pvalue
    assert intervals.fisher(k1, sizes[0], k2, sizes[1]) == pytest.approx(expected, abs=1e-9)


def test_groups_of_few_rows_are_told_the_exact_test_besides() -> None:
    few = measured("disparate_impact", sample_of(rates(("a", 2, 20), ("b", 40, 80))), of=LABELS)
    p = stats.fisher_exact([[2, 18], [40, 40]]).pvalue
    assert f"Fisher's exact test of no difference between them: p = {p:.3g}" in few.notes[0]
    enough = measured("disparate_impact", sample_of(rates(("a", 3, 30), ("b", 40, 80))), of=LABELS)
    assert enough.notes == ()


# -- the largest group as reference --------------------------------------------------------------------------------
SIZES = (("a", 12, 40), ("b", 90, 300), ("c", 60, 120), ("d", 2, 5))


@pytest.mark.parametrize("metric", ["disparate_impact", "demographic_parity_diff"])
def test_the_largest_group_is_the_reference_where_the_policy_says_so(metric: str) -> None:
    sample = sample_of(rates(*SIZES))
    largest = measured(metric, sample, of=LABELS, min_group=10, reference="largest")
    named = measured(metric, sample, of=LABELS, min_group=10, reference="b")
    assert (largest.reference, set(largest.extremes or ())) == ("b", {"b", "c"})
    if metric == "demographic_parity_diff":
        assert (largest.value, largest.interval) == (named.value, named.interval)
    else:  # c fares better than b: to a named reference that is no disadvantage, to the largest group it is one
        assert (largest.value, named.value) == pytest.approx((0.3 / 0.5, 1.0))
    every = measured(metric, sample, of=LABELS, min_group=10)
    assert largest.interval.high - largest.interval.low < every.interval.high - every.interval.low
    control = control_of(metric, ">= 0.8", of=LABELS, min_group=10, reference="largest")
    (finding,) = judge(policy_of(control), [largest]).findings
    assert f"{largest.value:.3f} to b, the largest group, 95 % interval" in finding.sentence


def test_the_largest_is_never_a_small_group_nor_an_unknown_one_and_equals_go_by_name() -> None:
    def reference(*sizes: tuple[str, int, int], **fields: Any) -> str | None:
        frame = rates(*sizes)
        frame["g"] = frame["g"].where(frame["g"] != "?")
        return measured("demographic_parity_diff", sample_of(frame), of=LABELS, reference="largest", **fields).reference

    assert reference(("c", 9, 50), ("b", 9, 50), ("a", 9, 40)) == "b"
    assert reference(("?", 50, 90), ("b", 9, 50), ("a", 9, 40)) == "b"
    frame = rates(("a", 12, 29), ("b", 9, 28))
    assert "fewer than two" in reason_of(
        "disparate_impact", sample_of(frame), of=LABELS, reference="largest", min_group=30
    )
    assert "one of the groups has that name" in reason_of(
        "disparate_impact", sample_of(rates(("largest", 9, 50), ("a", 9, 40))), of=LABELS, reference="largest"
    )


def test_of_quantities_too_the_largest_group_is_the_reference() -> None:
    frame = people().assign(y=0.0)
    frame["p"] = frame["s"] + (frame["age"] == 20)
    frame["g"] = np.where(np.arange(600) < 350, "b", np.where(np.arange(600) < 500, "a", "c"))
    found = measured("mae_diff", sample_of(frame), reference="largest")
    assert found.reference == "b"
    assert found == measured("mae_diff", sample_of(frame), reference="b")


# -- intersections ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("metric", ["disparate_impact", "equal_opportunity_diff", "worst_group_accuracy"])
def test_intersections_equal_the_groups_of_a_column_that_joins_them(metric: str) -> None:
    frame = people()
    bands = pd.cut(frame["age"], [0, 30, 60, 99], labels=["≤ 30", "30–60", "> 60"]).astype(str)
    joined = measured(metric, sample_of(frame.assign(g=frame["g"] + " × " + bands)))
    found = measured(metric, crossed(frame), crossed_with=("age",))
    assert found.value == joined.value
    assert found.interval == joined.interval
    assert sorted(found.groups, key=lambda s: s.group) == sorted(joined.groups, key=lambda s: s.group)


def test_unknown_parts_make_one_unknown_group_and_nobody_vanishes() -> None:
    frame = people(200)
    frame.loc[:9, "g"] = None
    frame.loc[5:29, "age"] = np.nan
    frame.loc[100:109, "g"] = "x"
    sample = sample_of(frame, groups={"f": ("f",), "m": ("m",)}, more=[bound("age", bins=(30.0, 60.0))])
    found = measured("min_group_n", sample, ">= 1", crossed_with=("age",))
    sizes = {s.group: s.n for s in found.groups}
    assert sum(sizes.values()) == 200
    assert (sizes[MISSING_GROUP], sizes[OTHER_GROUP], len(sizes)) == (30, 10, 8)


def test_an_intersection_without_a_row_prevents_a_pass() -> None:
    frame = people(900)
    frame = frame[(frame["g"] == "f") | (frame["age"] < 60)]
    control = control_of("worst_group_accuracy", ">= 0.1", crossed_with=("age",), min_group=30)
    (finding,) = judge(policy_of(control), [measure(control, crossed(frame))]).findings
    assert finding.status is Status.INCONCLUSIVE
    assert "m × > 60 (n=0 < 30)" in finding.sentence
    assert "30 more rows of group m × > 60" in finding.sentence


def test_every_role_of_an_intersection_must_be_bound_and_they_can_be_too_many() -> None:
    sample = sample_of(people(60))
    assert "no column is bound to the role 'age'" in reason_of("disparate_impact", sample, crossed_with=("age",))
    wide = people(900).assign(g=np.arange(900) % 90)
    reason = reason_of("disparate_impact", crossed(wide), crossed_with=("age",))
    assert "group × age makes 270 groups; at most 200" in reason


def test_a_policy_names_the_roles_of_an_intersection_as_a_list() -> None:
    policy = """
policy: p
version: 1.0.0
controls:
- {id: a, metric: disparate_impact, role: [gender, age], require: ">= 0.8"}
- {id: b, metric: disparate_impact, role: gender, require: ">= 0.8"}
"""
    both, one = parse_policy(policy.encode(), "p.yaml").controls
    assert (both.role, both.crossed_with, both.role_name) == ("gender", ("age",), "gender × age")
    assert (one.roles, one.role_name) == (("gender",), "gender")
    with pytest.raises(ConfigError, match="names the same role twice"):
        parse_policy(policy.replace("[gender, age]", "[age, age]").encode(), "p.yaml")


def test_an_intersection_needs_all_its_roles() -> None:
    needs = Needs.of([control_of("disparate_impact", crossed_with=("age", "region")), control_of("mae", role=None)])
    split = needs.splits[Split.EVALUATION]
    assert split.groups == {"group", "age", "region"}
    assert (split.targets, split.predictions) == ({"target"}, {"prediction"})
    assert Needs.of([control_of("demographic_parity_diff_ovr", of=Outcome.LABELS)]).predictions == frozenset()
