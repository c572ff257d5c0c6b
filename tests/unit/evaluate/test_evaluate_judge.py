"""From numbers to a verdict: the decision rule, enforcement, and what the sentences say."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from evaluate_tables import LABELS, control_of, policy_of, rates, sample_of

from venturalitica_agent.domain.policy import DecideOn, Enforcement
from venturalitica_agent.domain.verdict import Finding, GroupStat, Interval, Measurement, Status, Unmeasured, Waived
from venturalitica_agent.errors import PermanentError
from venturalitica_agent.evaluate.judge import decide, judge
from venturalitica_agent.evaluate.measure import measure
from venturalitica_agent.evaluate.sentences import number

PASS, FAIL, UNSURE = Status.PASS, Status.FAIL, Status.INCONCLUSIVE


def measurement(low: float, value: float, high: float, **fields: object) -> Measurement:
    base = Measurement("c-accuracy", "accuracy", value, Interval(low, high, 0.95, "Wilson score"), 100)
    return replace(base, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("require", "low", "high", "expected"),
    [
        (">= 0.8", 0.8, 0.9, PASS),
        ("> 0.8", 0.8, 0.9, UNSURE),
        (">= 0.8", 0.7, 0.8, UNSURE),
        ("> 0.8", 0.7, 0.8, FAIL),
        (">= 0.8", 0.7, 0.79, FAIL),
        (">= 0.8", 0.79, 0.81, UNSURE),
        ("<= 0.1", 0.05, 0.1, PASS),
        ("< 0.1", 0.05, 0.1, UNSURE),
        ("<= 0.1", 0.1, 0.2, UNSURE),
        ("< 0.1", 0.1, 0.2, FAIL),
        ("<= 0.1", 0.11, 0.2, FAIL),
        ("== 0.5", 0.4, 0.6, UNSURE),
        ("== 0.5", 0.6, 0.7, UNSURE),
        ("== 0.5", 0.5, 0.5, PASS),
        ("== 0.5", 0.6, 0.6, FAIL),
        ("!= 0.5", 0.6, 0.7, UNSURE),
        ("!= 0.5", 0.6, 0.6, PASS),
        ("!= 0.5", 0.5, 0.5, FAIL),
        (">= 0.8", 0.9, math.inf, PASS),
        (">= 0.8", math.nan, 0.9, UNSURE),
        (">= 0.8", 0.9, math.nan, UNSURE),
    ],
)
def test_an_interval_decides_only_when_all_of_it_agrees(
    require: str, low: float, high: float, expected: Status
) -> None:
    value = low if math.isfinite(low) else high
    assert decide(control_of("accuracy", require), measurement(low, value, high)) is expected


@pytest.mark.parametrize(
    ("require", "expected"),
    [(">= 0.8", PASS), ("> 0.8", FAIL), ("<= 0.8", PASS), ("< 0.8", FAIL), ("== 0.8", PASS), ("!= 0.8", FAIL)],
)
def test_a_point_decides_by_itself_where_the_policy_asks_for_it(require: str, expected: Status) -> None:
    control = control_of("accuracy", require, decide_on=DecideOn.POINT)
    assert decide(control, measurement(0.1, 0.8, 0.99)) is expected


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("decide_on", DecideOn)
@pytest.mark.parametrize("require", [">= 0.8", "<= 0.8", "!= 0.8"])
def test_a_value_that_is_no_finite_number_never_passes(value: float, decide_on: DecideOn, require: str) -> None:
    control = control_of("accuracy", require, decide_on=decide_on)
    found = measurement(0.9, value, 0.95)
    assert decide(control, found) is Status.ERROR
    assert judge(policy_of(control), [found]).status is Status.ERROR


@pytest.mark.parametrize(
    ("decide_on", "value", "expected"),
    [
        (DecideOn.INTERVAL, 0.95, UNSURE),
        (DecideOn.INTERVAL, 0.5, UNSURE),
        (DecideOn.POINT, 0.95, UNSURE),
        (DecideOn.POINT, 0.5, FAIL),  # a violation stands
    ],
)
def test_a_group_that_could_not_be_compared_prevents_a_pass(
    decide_on: DecideOn, value: float, expected: Status
) -> None:
    control = control_of("disparate_impact", decide_on=decide_on)
    small = GroupStat("x", 3, compared=False, reason="n=3 < 30")
    assert decide(control, measurement(value, value, value, small_groups=("x",))) is expected
    assert decide(control, measurement(value, value, value, groups=(small,))) is expected


def verdict_of(*statuses: tuple[float, Enforcement]) -> tuple[Status, dict[Status, int], list[Status]]:
    controls = [control_of("accuracy", id=f"c{i}", enforcement=e) for i, (_, e) in enumerate(statuses)]
    results = [measurement(v, v, v, control=f"c{i}") for i, (v, _) in enumerate(statuses)]
    verdict = judge(policy_of(*controls), results)
    return verdict.status, verdict.counts, [f.status for f in verdict.findings]


def test_enforcement_turns_a_violation_into_fail_warn_or_nothing() -> None:
    assert verdict_of((0.5, Enforcement.BLOCK))[0] is FAIL
    assert verdict_of((0.5, Enforcement.WARN))[0] is Status.WARN
    assert verdict_of((0.9, Enforcement.WARN))[0] is PASS
    status, counts, findings = verdict_of((0.9, Enforcement.BLOCK), (0.5, Enforcement.REPORT))
    assert (status, findings) == (PASS, [PASS, FAIL])
    assert (counts[PASS], counts[FAIL]) == (1, 0)


def test_only_reported_controls_are_no_pass() -> None:
    assert verdict_of((0.9, Enforcement.REPORT))[0] is Status.SKIP


def test_a_policy_without_controls_is_no_pass() -> None:
    assert judge(policy_of(), []).status is Status.SKIP


def test_a_skipped_control_says_why_and_all_skipped_is_no_pass() -> None:
    verdict = judge(policy_of(control_of("accuracy", skip="it is for monitoring")), [])
    assert verdict.status is Status.SKIP
    assert verdict.findings[0].sentence == "Skipped: it is for monitoring."


def test_a_control_without_a_result_is_an_error() -> None:
    verdict = judge(policy_of(control_of("accuracy"), control_of("f1")), [measurement(0.9, 0.95, 0.99)])
    assert [f.status for f in verdict.findings] == [PASS, Status.ERROR]
    assert verdict.status is Status.ERROR


def test_an_unmeasured_control_is_an_error_with_its_reason_and_remedy() -> None:
    verdict = judge(policy_of(control_of("f1")), [Unmeasured("c-f1", "f1", "no column p", "add p")])
    (finding,) = verdict.findings
    assert finding.status is Status.ERROR
    assert finding.sentence == "F1 score was not evaluated: no column p. What to do: add p."
    assert finding.remedy == "add p"


def test_results_of_another_policy_or_two_for_one_control_are_refused() -> None:
    found = measurement(0.9, 0.95, 0.99)
    with pytest.raises(PermanentError, match="c-accuracy"):
        judge(policy_of(), [found])
    with pytest.raises(PermanentError, match="has two"):
        judge(policy_of(control_of("accuracy")), [found, found])


WAIVED = Waived("the remedy ships in March", "Ana Ruiz", "2026-12-31")


@pytest.mark.parametrize(
    ("low", "value", "high", "enforcement", "would"),
    [
        (0.5, 0.6, 0.7, Enforcement.BLOCK, FAIL),
        (0.5, 0.6, 0.7, Enforcement.WARN, Status.WARN),
        (0.7, 0.8, 0.9, Enforcement.BLOCK, UNSURE),
        (0.7, math.nan, 0.9, Enforcement.BLOCK, Status.ERROR),
    ],
)
def test_a_waived_finding_keeps_what_was_seen_and_says_what_it_would_be(
    low: float, value: float, high: float, enforcement: Enforcement, would: Status
) -> None:
    policy = policy_of(control_of("accuracy", enforcement=enforcement))
    found = measurement(low, value, high)
    (plain,) = judge(policy, [found]).findings
    verdict = judge(policy, [found], waivers={"c-accuracy": WAIVED})
    (finding,) = verdict.findings
    assert plain.status is would
    assert (finding.status, finding.would_be, finding.waived) == (Status.WAIVED, would, WAIVED)
    assert finding.measurement is plain.measurement is found
    assert finding.sentence.startswith("Waived until 2026-12-31 by Ana Ruiz: the remedy ships in March. Would ")
    assert finding.sentence.endswith(plain.sentence)
    assert (verdict.status, verdict.counts[Status.WAIVED]) == (Status.SKIP, 1)
    assert verdict.not_passed == ()


def test_an_unmeasured_control_can_be_waived_and_a_pass_or_skip_can_not() -> None:
    controls = [control_of("accuracy", id=name) for name in "abc"]
    policy = policy_of(controls[0], controls[1], replace(controls[2], skip="it is for monitoring"))
    results = [measurement(0.9, 0.9, 0.9, control="a"), Unmeasured("b", "accuracy", "no column")]
    verdict = judge(policy, results, waivers=dict.fromkeys("abc", WAIVED))
    assert [f.status for f in verdict.findings] == [PASS, Status.WAIVED, Status.SKIP]
    assert verdict.findings[1].would_be is Status.ERROR
    assert verdict.waived == {"b": WAIVED}
    assert verdict.status is PASS


def test_a_waiver_changes_no_other_control_and_nothing_that_was_observed() -> None:
    policy = policy_of(control_of("accuracy", id="a"), control_of("accuracy", id="b"))
    results = [measurement(0.5, 0.5, 0.5, control=name) for name in "ab"]
    observed = Finding("a", Status.WARN, "seen besides", "digest")
    verdict = judge(policy, results, [observed], {"a": WAIVED, "elsewhere": WAIVED})
    assert [f.status for f in verdict.findings] == [Status.WAIVED, FAIL, Status.WARN]
    assert verdict.status is FAIL


# -- sentences --------------------------------------------------------------------------------------------------


def sentence(metric: str, require: str, *groups: tuple[str, int, int], **fields: object) -> str:
    control = control_of(metric, require, of=LABELS, **fields)
    (finding,) = judge(policy_of(control), [measure(control, sample_of(rates(*groups)))]).findings
    return finding.sentence


def test_a_pass_says_both_rates_the_ratio_and_the_interval() -> None:
    assert sentence("disparate_impact", ">= 0.8", ("female", 280, 310), ("male", 640, 690)) == (
        "Selection rate of female is 0.903 (n=310), of male 0.928 (n=690): ratio 0.974, 95 % interval 0.93–1.00; "
        "required >= 0.8: pass."
    )


def test_a_failure_says_what_would_change_it() -> None:
    text = sentence("disparate_impact", ">= 0.8", ("female", 60, 310), ("male", 506, 690))
    assert ": fail." in text
    assert "With male as it is, the selection rate of female would have to be at least 0.587." in text


def test_an_inconclusive_control_says_how_many_rows_would_decide() -> None:
    text = sentence("disparate_impact", ">= 0.8", ("female", 30, 50), ("male", 460, 690))
    assert ": inconclusive." in text
    assert "more rows of group female." in text


def test_small_groups_are_named_with_their_n() -> None:
    text = sentence("disparate_impact", ">= 0.8", ("a", 30, 50), ("b", 30, 50), ("c", 3, 7), min_group=30)
    assert "Could not be compared: c (n=7 < 30)." in text
    assert "23 more rows of group c" in text
    missing = sentence("disparate_impact", ">= 0.8", ("a", 30, 50), ("b", 30, 50), (None, 3, 7), min_group=30)
    assert "Fill in the missing values of group (n=7)." in missing


def test_a_point_decision_says_how_often_it_flips() -> None:
    text = sentence("disparate_impact", ">= 0.8", ("a", 41, 100), ("b", 50, 100), decide_on=DecideOn.POINT)
    assert "in 4" in text
    assert "% of resamples the decision would be the other one." in text


def test_no_sentence_certifies() -> None:
    for require in (">= 0.1", ">= 0.8", ">= 0.99"):
        text = sentence("disparate_impact", require, ("a", 60, 100), ("b", 70, 100)).lower()
        assert "complian" not in text
        assert "certif" not in text


@pytest.mark.parametrize(
    ("value", "threshold", "text"),
    [
        (0.7996, 0.8, "0.7996"),
        (0.8, 0.8, "0.800"),
        (0.80004, 0.8, "0.80004"),
        (0.5, 0.8, "0.500"),
        (math.inf, 0.8, "unbounded"),
    ],
)
def test_rounding_never_moves_a_number_over_the_threshold(value: float, threshold: float, text: str) -> None:
    assert number(value, threshold) == text
