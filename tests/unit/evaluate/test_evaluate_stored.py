"""Stored measurements answer another policy as measuring anew would, or not at all."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from evaluate_tables import control_of, policy_of, sample_of
from hypothesis import given, settings
from hypothesis import strategies as st

from venturalitica_agent.domain.metric import METRICS
from venturalitica_agent.domain.policy import Control, DecideOn, Enforcement, Policy, Source
from venturalitica_agent.domain.verdict import Interval, Measurement, Status, Verdict
from venturalitica_agent.evaluate.families import measure_all
from venturalitica_agent.evaluate.judge import judge
from venturalitica_agent.evaluate.sample import Sample
from venturalitica_agent.evaluate.stored import Unanswerable, answers, at_level

GROUPED = (
    "disparate_impact",
    "demographic_parity_diff",
    "equal_opportunity_diff",
    "equalized_odds_diff",
    "worst_group_recall",
    "worst_group_f1",
)
WHOLE = ("accuracy", "balanced_accuracy", "roc_auc", "class_imbalance")


@cache
def sample(seed: int) -> Sample:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(60, 400))
    y = rng.random(n) < 0.5
    scores = np.clip(y * 0.3 + rng.random(n) * 0.7, 0, 1)
    groups = rng.choice(["a", "b", "c"], n, p=[0.6, 0.35, 0.05])
    frame = pd.DataFrame({"y": y.astype(int), "p": (scores > 0.45).astype(int), "s": scores, "g": groups})
    return sample_of(frame, positive=1)


def judged(policy: Policy, on: Sample) -> Verdict:
    return judge(policy, list(measure_all([c for c in policy.controls if not c.skip], on).values()))


@st.composite
def controls(draw: st.DrawFn, name: str) -> Control:
    metric = draw(st.sampled_from([*GROUPED, *WHOLE]))
    grouped = metric in GROUPED
    sign = ">=" if METRICS[metric].better == "higher" else "<="
    return control_of(
        metric,
        f"{sign} {draw(st.sampled_from([0.05, 0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9]))}",
        id=name,
        role="group" if grouped else None,
        article=draw(st.sampled_from(["10(2)(f)", "10(2)(f)", "15(1)", ""])),
        level=draw(st.sampled_from([0.95, 0.95, 0.95, 0.9, 0.99])),
        min_group=draw(st.sampled_from([1, 20, 30])),
        reference=draw(st.sampled_from([None, "a", "largest"])) if grouped and not metric.startswith("worst") else None,
        decide_on=draw(st.sampled_from([DecideOn.INTERVAL, DecideOn.INTERVAL, DecideOn.POINT])),
        enforcement=draw(st.sampled_from(Enforcement)),
        skip=draw(st.sampled_from(["", "", "", "it is for monitoring"])),
    )


policies = st.builds(policy_of, *(controls(name) for name in "abcd"))


@st.composite
def revisions(draw: st.DrawFn) -> tuple[Policy, Policy]:
    """A policy and what somebody may have made of it: most of each control stays."""
    old, other = draw(policies), draw(policies)
    revised = []
    for control, source in zip(old.controls, other.controls, strict=True):
        fields = draw(
            st.sets(st.sampled_from(["article", "level", "min_group", "decide_on", "enforcement", "skip"]), max_size=1)
        )
        changes = {field: getattr(source, field) for field in fields}
        if draw(st.booleans()):
            changes["require"] = replace(control.require, threshold=source.require.threshold)
        revised.append(replace(control, **changes))
    kept = draw(st.lists(st.sampled_from(revised), min_size=1, unique_by=lambda c: c.id))
    return old, policy_of(*kept)


@settings(max_examples=50, deadline=None)
@given(revisions(), st.integers(0, 4))
def test_what_is_answered_is_what_measuring_anew_says(policies: tuple[Policy, Policy], seed: int) -> None:
    old, new = policies
    found, unanswered = answers(new, old, judged(old, sample(seed)))
    anew = {f.control: f.status for f in judged(new, sample(seed)).findings if f.enforcement != "report"}
    if not unanswered:
        again = judge(new, list(found.values()))
        assert {f.control: f.status for f in again.findings if f.enforcement != "report"} == anew


@settings(max_examples=25, deadline=None)
@given(policies, st.integers(0, 4))
def test_a_policy_answers_itself_under_other_names_and_words(policy: Policy, seed: int) -> None:
    verdict = judged(policy, sample(seed))
    renamed = [replace(c, id=f"new-{c.id}", title="New words", source=Source("law", "x")) for c in policy.controls]
    new = replace(policy, controls=tuple(renamed))
    found, unanswered = answers(new, policy, verdict)
    assert unanswered == {}
    assert [f.status for f in judge(new, list(found.values())).findings] == [f.status for f in verdict.findings]


IMPACT = control_of("disparate_impact", ">= 0.5", id="impact")


@pytest.mark.parametrize(
    ("control", "why"),
    [
        (replace(IMPACT, id="new", metric="equal_opportunity_diff"), "is new"),
        (replace(IMPACT, metric="equal_opportunity_diff"), "asks something else now"),
        (replace(IMPACT, role="age"), "asks something else now"),
        (replace(IMPACT, reference="a"), "asks something else now"),
        (replace(IMPACT, min_group=300), "compares other groups by its min_group"),
    ],
)
def test_what_can_not_be_answered_says_why(control: Control, why: str) -> None:
    old = policy_of(IMPACT)
    verdict = judged(old, sample(1))
    assert answers(policy_of(control), old, verdict) == ({}, {control.id: why})
    reported = policy_of(replace(control, enforcement=Enforcement.REPORT))
    assert answers(reported, old, verdict) == ({}, {})


def test_what_was_skipped_then_was_not_asked() -> None:
    old = policy_of(replace(IMPACT, skip="for monitoring"))
    assert answers(policy_of(IMPACT), old, judged(old, sample(1)))[1] == {"impact": "was not asked then"}


def test_an_error_stays_one_whatever_is_required() -> None:
    old = policy_of(replace(IMPACT, role="age"))
    new = policy_of(replace(IMPACT, role="age", require=replace(IMPACT.require, threshold=0.1)))
    found, unanswered = answers(new, old, judged(old, sample(1)))
    assert unanswered == {}
    assert judge(new, list(found.values())).status is Status.ERROR


@pytest.mark.parametrize(
    ("metric", "reference", "role"),
    [
        ("disparate_impact", None, "group"), ("disparate_impact", "a", "group"), ("worst_group_recall", None, "group"),
        ("demographic_parity_diff", "b", "group"), ("equal_opportunity_diff", None, "group"), ("accuracy", None, None),
    ],
)  # fmt: skip
def test_counts_give_the_interval_at_any_level(metric: str, reference: str | None, role: str | None) -> None:
    """Also where the threshold lies between the two intervals, so that neither implies the other."""
    control = control_of(metric, ">= 0.5", reference=reference, role=role)
    for level in (0.8, 0.975, 0.999):
        at = replace(control, level=level)
        stored, anew = (measure_all([c], sample(2))[c.id] for c in (control, at))
        assert isinstance(stored, Measurement)
        assert isinstance(anew, Measurement)
        ends = anew.interval.low, anew.interval.high
        for threshold in (*ends, stored.interval.low, stored.interval.high, sum(ends) / 2):
            tried = replace(at, require=replace(at.require, threshold=threshold))
            interval = at_level(tried, stored).interval
            assert (interval.low, interval.high) == pytest.approx(ends)


def test_without_counts_the_stored_interval_settles_only_what_it_implies() -> None:
    def asked(level: float, low: float, high: float) -> Interval:
        stored = Measurement("c", "roc_auc", (low + high) / 2, Interval(low, high, 0.95, "DeLong"), 100)
        return at_level(control_of("roc_auc", ">= 0.7", level=level, role=None), stored).interval

    assert asked(0.9, 0.75, 0.85).low == 0.75  # a narrower one is inside
    assert asked(0.99, 0.65, 0.85).low == 0.65  # a wider one is around
    for level, low in ((0.9, 0.65), (0.99, 0.75)):
        with pytest.raises(Unanswerable, match=r"needs the interval at 9[09] %; stored is the one at 95 %"):
            asked(level, low, 0.85)
