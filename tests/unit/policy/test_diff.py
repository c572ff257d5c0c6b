"""The words for what a new version of a policy changes, and that no change goes without words."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_documents import as_bytes, documents

from venturalitica_agent.domain.metric import METRICS
from venturalitica_agent.domain.policy import (
    Control,
    DecideOn,
    Enforcement,
    EvaluateWith,
    Op,
    Outcome,
    Policy,
    Requirement,
    Selector,
    Source,
    Split,
)
from venturalitica_agent.policy import parse_policy
from venturalitica_agent.policy.diff import Kind, diff

SEX = Control("sex", "disparate_impact", Requirement(Op.GE, 0.8), role="gender", severity="high")
AUC = Control("auc", "roc_auc", Requirement(Op.GE, 0.75))


def policy(*controls: Control, **other: Any) -> Policy:
    return replace(Policy("credit", "1.0", "", "p.yaml", b"", controls), **other)


def told(old: Control, new: Control) -> list[str]:
    return [str(change) for change in diff(policy(old), policy(new))]


def test_a_new_version_in_the_words_of_a_compliance_officer() -> None:
    old = policy(SEX, AUC)
    new = policy(
        replace(SEX, require=Requirement(Op.GE, 0.85), enforcement=Enforcement.WARN),
        Control("gap", "equal_opportunity_diff", Requirement(Op.LE, 0.1), role="gender", crossed_with=("age",)),
        version="1.1",
    )
    assert [str(change) for change in diff(old, new)] == [
        "tightened: sex: ratio of the lowest to the highest selection rate must be at least 0.85 (was at least 0.8)",
        "loosened: sex: a violation now gives a warning (before: fails the run)",
        "added: gap: difference of true positive rates by gender × age must be at most 0.1; a violation fails the run",
        "removed: auc: no longer asks that area under the ROC curve must be at least 0.75",
    ]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"require": Requirement(Op.GT, 0.8)}, "tightened: sex: ratio of the lowest to the highest selection rate must "
         "be above 0.8 (was at least 0.8)"),
        ({"decide_on": DecideOn.POINT}, "loosened: sex: the measured value alone decides, no longer the whole "
         "interval: close calls get a verdict"),
        ({"enforcement": Enforcement.REPORT}, "loosened: sex: a violation now is only reported (before: fails the "
         "run)"),
        ({"level": 0.99}, "tightened: sex: the level of the interval is 0.99 (was 0.95)"),
        ({"min_group": 5}, "loosened: sex: a group needs 5 rows to be compared (was 30)"),
        ({"skip": "later"}, "loosened: sex: is not evaluated: later"),
        ({"role": "age"}, "changed: sex: the compared role is age (was gender)"),
        ({"crossed_with": ("age",)}, "changed: sex: the compared role is gender × age (was gender)"),
        ({"on": Split.TRAINING}, "changed: sex: the data it looks at is training (was evaluation)"),
        ({"of": Outcome.LABELS}, "changed: sex: what it looks at is labels (was predictions)"),
        ({"reference": "male"}, "changed: sex: the reference group is male (was not given)"),
        ({"reference": "largest"}, "changed: sex: the reference group is the largest (was not given)"),
        ({"metric": "demographic_parity_diff", "require": Requirement(Op.LE, 0.1)}, "changed: sex: difference of "
         "selection rates by gender must be at most 0.1 (was: ratio of the lowest to the highest selection rate by "
         "gender must be at least 0.8)"),
        ({"columns": ("age", "place")}, "changed: sex: the list of columns is age, place (was not given)"),
        ({"shares": {"f": 0.5, "m": 0.5}}, "changed: sex: the declared share of each group is f 0.5, m 0.5 (was not "
         "given)"),
        ({"severity": "low"}, "reworded: sex: the severity is low (was high)"),
        ({"source": Source("law", "Art. 9")}, "reworded: sex: the source of the threshold is law, Art. 9 (was house)"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)  # fmt: skip
def test_each_part_has_its_words(changed: dict[str, Any], expected: str) -> None:
    assert told(SEX, replace(SEX, **changed)) == [expected]


def test_a_threshold_of_another_question_is_neither_tighter_nor_looser() -> None:
    other = replace(SEX, role="age", require=Requirement(Op.GE, 0.9))
    assert [change.kind for change in diff(policy(SEX), policy(other))] == [Kind.CHANGED, Kind.CHANGED]


def test_the_policy_itself() -> None:
    old = policy(SEX, title="Credit", law={"text": "AI Act"})
    new = policy(SEX, title="Loans", applies_to=Selector("loan*", {"team": "risk"}, ("FINISHED", "KILLED")))
    assert [str(change) for change in diff(old, new)] == [
        "changed: applies to runs of loan* that ended FINISHED or KILLED, tagged team=risk (was: the runs that "
        "agent.yaml names)",
        "reworded: the title is Loans (was Credit)",
        "reworded: the law is not given (was AI Act)",
    ]
    assert "two policies" in diff(old, replace(old, id="other"))[0].words


def test_what_it_does_to_runs_from_before_it() -> None:
    old = policy(SEX)
    new = policy(SEX, evaluate_with=EvaluateWith.LATEST, reaches_back=30 * 86_400.0)
    assert [str(change) for change in diff(old, new)] == [
        "changed: the latest version decides about every run that is audited (was: the version in force when a run "
        "started decides about it)",
        "changed: runs of the 30d before it are audited again (was: earlier runs keep their verdict)",
    ]
    (one,) = diff(old, policy(SEX, reaches_back=float("inf")))
    assert one.words == "earlier runs are audited again (was: earlier runs keep their verdict)"


def test_a_control_under_a_new_id_is_neither_added_nor_removed() -> None:
    renamed = replace(SEX, id="sex-impact-ratio", line=9)
    assert [str(change) for change in diff(policy(SEX, AUC), policy(AUC, renamed))] == [
        "reworded: sex-impact-ratio: is the former sex under a new id"
    ]


OTHER: dict[str, Any] = {
    "metric": "equalized_odds_ratio", "require": Requirement(Op.GE, 0.9), "article": "x", "title": "x",
    "role": "x", "crossed_with": ("x",), "on": Split.TRAINING, "of": Outcome.LABELS, "target": "x", "prediction": "x",
    "decide_on": DecideOn.POINT, "enforcement": Enforcement.WARN, "severity": "low", "min_group": 1, "level": 0.9,
    "reference": "x", "source": Source("law"), "risk": "x", "skip": "x", "columns": ("x",), "sensitive": "x",
    "shares": {"x": 1.0}, "logged": "x", "of_metric": "mae",
    "noise": 0.1, "missing": 0.1, "tolerance": 0.2,
}  # fmt: skip


@pytest.mark.parametrize("name", [field.name for field in fields(Control) if field.name not in ("id", "line")])
def test_no_field_of_a_control_changes_without_words(name: str) -> None:
    other = replace(SEX, **{name: OTHER[name]})
    (one,) = diff(policy(SEX), policy(other))
    (back,) = diff(policy(other), policy(SEX))
    mirrored = {Kind.TIGHTENED: Kind.LOOSENED, Kind.LOOSENED: Kind.TIGHTENED}
    assert back.kind == mirrored.get(one.kind, one.kind)


requirements = st.builds(Requirement, st.sampled_from(Op), st.sampled_from([0.0, 0.2, 0.5, 0.8, 1.0]))


@settings(max_examples=50, deadline=None)
@given(requirements, requirements)
def test_tighter_means_that_fewer_values_pass(old: Requirement, new: Requirement) -> None:
    """Against a fine grid over the range, which holds every threshold and values between all of them."""
    grid = [n / 100 for n in range(101)]
    before, after = ({x for x in grid if r.op.holds(x, r.threshold)} for r in (old, new))
    changes = diff(policy(replace(AUC, require=old)), policy(replace(AUC, require=new)))
    expected = Kind.TIGHTENED if after < before else Kind.LOOSENED if after > before else Kind.CHANGED
    assert [change.kind for change in changes] == ([] if old == new else [expected])


@settings(max_examples=30, deadline=None)
@given(documents(), documents())
def test_equal_rules_differ_in_nothing_and_other_rules_in_something(one: Any, other: Any) -> None:
    first, second = (parse_policy(as_bytes(document), "p.json") for document in (one, other))
    commented = parse_policy(b"\n\n" + as_bytes(one), "q.json")
    assert diff(first, commented) == ()
    changes = diff(first, second)
    assert bool(changes) == (rules(first) != rules(second))
    known = {control.id for control in (*first.controls, *second.controls)} | {""}
    assert all(change.words and change.control in known for change in changes)


def rules(found: Policy) -> Any:
    controls = {control.id: replace(control, line=0) for control in found.controls}
    return found.id, found.title, found.law, found.applies_to, controls


def test_every_metric_has_a_title_that_fits_a_sentence() -> None:
    for name, spec in METRICS.items():
        control = Control("a", name, Requirement(Op.GE, spec.low))
        (change,) = diff(policy(), policy(control))
        assert spec.title[1:] in change.words
