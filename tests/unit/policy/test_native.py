"""Our own policy shape: what it means, and what is refused where."""

from __future__ import annotations

import hashlib
import json

import pytest
from policy_documents import usual_keys

from venturalitica_agent.domain.metric import ALIASES, METRICS, Need
from venturalitica_agent.domain.policy import (
    LARGEST,
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
from venturalitica_agent.strict_yaml import InvalidDocument

HEAD = "policy: p\nversion: 1.0\ncontrols:\n"
FULL = """\
policy: credit-scoring
version: 1.10
title: Credit scoring
law: {text: "Regulation (EU) 2024/1689", consolidated: 2026-07-27}
applies_to: {experiment: "loan*", tags: {team: risk}}
controls:
  - id: Art.10(2)(f)
    article: "10(2)(f)"
    title: By sex
    metric: disparate_impact
    role: gender
    on: evaluation
    of: predictions
    require: ">= 0.80"
    source: {kind: convention, ref: "29 CFR 1607.4(D)"}
    severity: high
    min_group: 50
    level: 0.9
    reference: male
    decide_on: point
    enforcement: warn
    risk: R-7
  - {id: acc, metric: accuracy_score, require: "gte 0.8"}
"""


def parsed(text: str) -> Policy:
    return parse_policy(text.encode(), "p.yaml")


def control(keys: str) -> str:
    return HEAD + "  - {" + keys + "}\n"


def test_every_key_of_a_policy_is_read() -> None:
    policy = parsed(FULL)
    assert (policy.id, policy.version, policy.ref) == ("credit-scoring", "1.10", "credit-scoring@1.10")
    assert policy.law == {"text": "Regulation (EU) 2024/1689", "consolidated": "2026-07-27"}
    assert policy.applies_to == Selector("loan*", {"team": "risk"})
    assert (policy.shape, policy.file_name, policy.title) == ("native", "p.yaml", "Credit scoring")
    assert policy.content == FULL.encode()
    assert policy.digest == hashlib.sha256(FULL.encode()).hexdigest()
    first = policy.controls[0]
    assert (first.id, first.article, first.title, first.risk) == ("Art.10(2)(f)", "10(2)(f)", "By sex", "R-7")
    assert (first.metric, first.role, first.reference) == ("disparate_impact", "gender", "male")
    assert (first.require, first.source) == (Requirement(Op.GE, 0.8), Source("convention", "29 CFR 1607.4(D)"))
    assert (first.min_group, first.level, first.severity, first.line) == (50, 0.9, "high", 7)
    assert (first.decide_on, first.enforcement) == (DecideOn.POINT, Enforcement.WARN)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("new-runs", 0.0), ("re-audit", float("inf")), ("{re-audit-since: 30d}", 2_592_000.0),
     ("{re-audit-since: 90m}", 5400.0), ("\n  re-audit-since: 1s", 1.0)],
)  # fmt: skip
def test_what_a_version_does_to_runs_from_before_it(written: str, seconds: float) -> None:
    found = parsed(f"on_change: {written}\nevaluate_with: latest\n{FULL}")
    assert (found.reaches_back, found.evaluate_with) == (seconds, EvaluateWith.LATEST)
    assert (parsed(FULL).reaches_back, parsed(FULL).evaluate_with) == (0.0, EvaluateWith.RUN_START)


def test_defaults_are_the_strict_ones() -> None:
    second = parsed(FULL).controls[1]
    assert (second.metric, second.require) == ("accuracy", Requirement(Op.GE, 0.8))
    assert (second.decide_on, second.enforcement, second.severity) == (DecideOn.INTERVAL, Enforcement.BLOCK, "medium")
    assert (second.min_group, second.level, second.reference, second.skip) == (30, 0.95, None, "")


@pytest.mark.parametrize(
    ("keys", "of"),
    [
        ("metric: class_imbalance", Outcome.PREDICTIONS),
        ("metric: class_imbalance, on: training", Outcome.LABELS),
        ("metric: class_imbalance, on: training, of: predictions", Outcome.PREDICTIONS),
        ("metric: class_imbalance, of: labels", Outcome.LABELS),
        ("metric: accuracy, on: training", Outcome.PREDICTIONS),
        ("metric: roc_auc", Outcome.PREDICTIONS),
        ("metric: data_completeness", Outcome.LABELS),
    ],
)
def test_what_a_control_looks_at(keys: str, of: Outcome) -> None:
    """Predictions on evaluation data, labels on training data, unless control or metric say otherwise."""
    found = parsed(control(f'id: a, require: ">= 0.5", {keys}')).controls[0]
    assert found.of is of
    assert found.on is (Split.TRAINING if "training" in keys else Split.EVALUATION)


@pytest.mark.parametrize("name", sorted([*METRICS, *ALIASES]))
def test_every_metric_and_alias_can_be_required(name: str) -> None:
    spec = METRICS[ALIASES.get(name, name)]
    op = ">=" if spec.better == "higher" else "<="
    role = ", role: g" if Need.GROUPS in spec.needs else ""
    own = "".join(f", {key}: {json.dumps(value)}" for key, value in usual_keys(spec.name).items())
    found = parsed(control(f'id: a, metric: {name}, require: "{op} 0.5"{role}{own}')).controls[0]
    assert found.metric == spec.name


def own(keys: str, at: str, what: str, near: str = "") -> tuple[str, int, int, str, str]:
    """A control of this metric and these keys, with a mistake where `at` stands; at the whole control when it is ""."""
    text = control(f"id: a, metric: {keys}")
    column = text.splitlines()[3].index(at) + 1 if at else 5
    return text, 4, column, what, near


BAD: list[tuple[str, int, int, str, str]] = [
    ("polcy: p\nversion: 1\ncontrols: []\n", 1, 1, "unknown key 'polcy'", "policy"),
    ("polcy: p\nversion: 1\ncontrols: []\n", 1, 1, "'policy' is missing", ""),
    ("catalogue:\n  controls: []\n", 1, 1, "unknown key 'catalogue'", "catalog"),
    ("policy: p\nversion: 1\n", 1, 1, "'controls' is missing", ""),
    ("evaluate_with: last\n" + FULL, 1, 16, "must be run-start or latest", "latest"),
    ("on_change: reaudit\n" + FULL, 1, 12, "must be new-runs or re-audit", "re-audit"),
    ("on_change: [re-audit]\n" + FULL, 1, 12, "must be a single value", ""),
    ("on_change: {}\n" + FULL, 1, 12, "'re-audit-since' is missing", ""),
    ("on_change: {since: 30d}\n" + FULL, 1, 13, "unknown key 'since'", ""),
    ("on_change: {re-audit-since: 30}\n" + FULL, 1, 29, "must be a time such as 30d", ""),
    ("on_change: {re-audit-since: 0d}\n" + FULL, 1, 29, "must be a time such as 30d", ""),
    ("policy: p\nversion: 1\ncontrols: []\n", 3, 11, "without controls", ""),
    ("policy: p\nversion: 1\ncontrols:\n", 3, 10, "must be a list, not empty", ""),
    ("policy: p\nversion: 1\ncontrols: {a: 1}\n", 3, 11, "must be a list", ""),
    ("policy: p\nversion: 1\ncontrols: [a]\n", 3, 12, "must be a map", ""),
    ("policy: Credit Scoring\nversion: 1\ncontrols: []\n", 1, 9, "must be 1 to 64 of", "credit-scoring"),
    ("policy: ../../etc\nversion: 1\ncontrols: []\n", 1, 9, "must be 1 to 64 of", "etc"),
    ("policy: p\nversion: 1 beta\ncontrols: []\n", 2, 10, "must be 1 to 64 of", ""),
    ("policy: p\nversion: 010\ncontrols: []\n", 2, 10, "not a decimal number", ""),
    ("policy: p\nversion: 1\nlaw: {consolidated: July}\ncontrols: []\n", 3, 21, "must be a date of the calendar", ""),
    ("policy: p\nversion: 1\napplies_to: {experimnt: x}\ncontrols: []\n", 3, 14, "unknown key", "experiment"),
    (control('id: a, metric: acuracy, require: ">= 0.8"'), 4, 21, "not a metric", "accuracy"),
    (control('id: a, metric: data_minimization, require: ">= 5"'), 4, 21, "not a metric that this version", ""),
    own('k_anonymity, require: ">= 5"', "", "k_anonymity needs 'columns'"),
    own('k_anonymity, require: ">= 5", columns: [a, a]', "[a, a]", "the same column twice"),
    own('accuracy, require: ">= 0.5", columns: [a]', "[a]", "doesn't look at 'columns'"),
    own('l_diversity, require: ">= 2", columns: a', "", "needs 'sensitive'"),
    own('t_closeness, require: "< 0.5", columns: z, sensitive: z', "z}", "can't be sensitive"),
    own('split_overlap, require: "== 0", on: training', "training", "remove 'on'"),
    own('representation_gap, require: "< 0.1", role: g', "", "needs 'shares'"),
    own('representation_gap, require: "< 0.1", role: g, shares: {f: 0.5}', "{f", "must add up to 1, not 0.5"),
    own('representation_gap, require: "< 0.1", role: g, shares: {f: 0.2, m: 80}', "80", "between 0 and 1"),
    own('declared_difference, require: "< 0.1", of_metric: mae', "", "needs 'logged'"),
    own('declared_difference, require: "< 1", logged: x, of_metric: accurcy', "accurcy", "not a metric", "accuracy"),
    own('declared_difference, require: "< 1", logged: x, of_metric: disparate_impact', "disp", "not one number of a"),
    own('declared_difference, require: "<= 2", logged: x, of_metric: mcc', '"<= 2', "always true"),
    (control('id: a, metrc: accuracy, require: ">= 0.8"'), 4, 13, "unknown key 'metrc'", "metric"),
    (control("id: a, metric: accuracy"), 4, 5, "'require' is missing", ""),
    (control('metric: accuracy, require: ">= 0.8"'), 4, 5, "'id' is missing", ""),
    (control('id: "a,b", metric: accuracy, require: ">= 0.8"'), 4, 10, "spaces or commas", ""),
    (control('id: "a b", metric: accuracy, require: ">= 0.8"'), 4, 10, "spaces or commas", ""),
    (control('id: "a\\e[31m", metric: accuracy, require: ">= 0.8"'), 4, 10, "control characters", ""),
    (control(f'id: {"x" * 121}, metric: accuracy, require: ">= 0.8"'), 4, 10, "longer than 120", ""),
    (control('id: a, metric: accuracy, require: ">= 80"'), 4, 40, "ranges from 0 to 1", ""),
    (control('id: a, metric: accuracy, require: "<= 0.8"'), 4, 40, "wrong way round, write >=", ""),
    (control('id: a, metric: accuracy, require: ">= 0"'), 4, 40, "always true", ""),
    (control('id: a, metric: accuracy, require: "> 1"'), 4, 40, "never be true", ""),
    (control('id: a, metric: accuracy, require: "0.8"'), 4, 40, "an operator and a number", ""),
    (control('id: a, metric: accuracy, require: ">= nan"'), 4, 40, "an operator and a number", ""),
    (control('id: a, metric: accuracy, require: ">= 1e999"'), 4, 40, "an operator and a number", ""),
    (control('id: a, metric: accuracy, require: "=> 0.8"'), 4, 40, "must start with one of", ">= 0.8"),
    (control('id: a, metric: demographic_parity_diff, role: g, require: ">= 0.1"'), 4, 64, "write <=", ""),
    (control('id: a, metric: disparate_impact, role: g, require: ">= 80"'), 4, 57, "ranges from 0 to 1", ""),
    (control('id: a, metric: disparate_impact, require: ">= 0.8"'), 4, 5, "name the group role", ""),
    (control('id: a, metric: accuracy, role: gender, require: ">= 0.8"'), 4, 37, "doesn't compare groups", ""),
    (control('id: a, metric: accuracy, reference: m, require: ">= 0.8"'), 4, 42, "doesn't compare groups", ""),
    (control('id: a, metric: accuracy, of: labels, require: ">= 0.8"'), 4, 35, "needs predictions", ""),
    (control('id: a, metric: data_completeness, of: predictions, require: ">= 0.8"'), 4, 44, "neither", ""),
    (control('id: a, metric: accuracy, require: ">= 0.8", on: evaluaton'), 4, 54, "must be evaluation", "evaluation"),
    (control('id: a, metric: accuracy, require: ">= 0.8", enforcement: blok'), 4, 63, "must be block", "block"),
    (control('id: a, metric: accuracy, require: ">= 0.8", decide_on: mean'), 4, 61, "interval or point", ""),
    (control('id: a, metric: accuracy, require: ">= 0.8", severity: hihg'), 4, 60, "must be low", "high"),
    (control('id: a, metric: accuracy, require: ">= 0.8", min_group: 0'), 4, 61, "between 1 and", ""),
    (control('id: a, metric: accuracy, require: ">= 0.8", min_group: "30"'), 4, 61, "whole number", ""),
    (control('id: a, metric: accuracy, require: ">= 0.8", level: 95'), 4, 57, "between 0.5 and", ""),
    (control('id: a, metric: accuracy, require: ">= 0.8", source: {kind: lwa}'), 4, 65, "must be law", "law"),
    (control('id: a, metric: accuracy, require: ">= 0.8", source: house'), 4, 58, "must be a map", ""),
    (control('id: a, metric: accuracy, require: ">= 0.9", require: ">= 0.1"'), 4, 50, "given twice", ""),
    (control('id: a, metric: accuracy, require: ">= 0.8"') + '  - {id: a, metric: f1, require: ">= 0.8"}\n',
     5, 10, "is on line 4 already", ""),
    (control('id: a, metric: accuracy, require: "≥ 0.8"'), 4, 40, "an operator and a number", ">= 0.8"),
    (control('id: a, metric: accuracy, require: ">= 0,8"'), 4, 40, "an operator and a number", ">= 0.8"),
    (control('id: a, metric: accuracy, require: ">= 80 %"'), 4, 40, "an operator and a number", ">= 0.8"),
    (control('id: a, metric: accuracy, require: "> = 0.8"'), 4, 40, "an operator and a number", ">= 0.8"),
    (control('id: a, metric: accuracy, require: "At least 0.8"'), 4, 40, "an operator and a number", ">= 0.8"),
    (control('id: a, metric: accuracy, require: "= 0.8"'), 4, 40, "must start with one of", "== 0.8"),
    (control('id: a, metric: accuracy, require: 0.8'), 4, 40, "an operator and a number", ""),
    (control('id: a, metric: accuracy, require: {min: 0.8}'), 4, 40, "must be a single value, not a map", ""),
    (control('id: a, metric: accuracy, require: ">= 80"'), 4, 40, "(80 % is written 0.8)", ""),
    (control('id: a, metric: accuracy, require: ">= -0.8"'), 4, 40, "a threshold of -0.8 is outside", ""),
    (control('id: a, metric: disparate_impact, require: ">= 0.8", role: [g, g]'), 4, 64, "same role twice", ""),
    (control('id: a, metric: disparate_impact, require: ">= 0.8", roles: g'), 4, 58, "unknown key 'roles'", "role"),
    (control('id: a, metric: f1, require: ">= 0.8", min-group: 5'), 4, 44, "unknown key", "min_group"),
    (control('id: a, metric: f1, require: ">= 0.8", risk: '), 4, 50, "is empty; give it a value", ""),
    (control('id: a, metric: f1, require: ">= 0.8", title: "a\\_b"'), 4, 51, "only looks like one (U+00A0)", ""),
    (control('id: a, metric: “f1”, require: ">= 0.8"'), 4, 21, "not a metric", "f1"),
    (control('id: a, metric: f1, require: ">= 0.8", level: 95%'), 4, 51, "must be a number, not '95%'", ""),
    ("Policy: p\nversion: 1\ncontrols: []\n", 1, 1, "unknown key 'Policy'", "policy"),
    ("policy: p\nversion: 1\nlaw: {consolidated: 2026-02-29}\ncontrols: []\n", 3, 21, "of the calendar", ""),
    ("policy: p\nversion: 1\nlaw: {consolidated: 20260227}\ncontrols: []\n", 3, 21, "of the calendar", ""),
    ("policy: p\nversion: 1\napplies_to: {status: DONE}\ncontrols: []\n", 3, 22, "must be FINISHED", ""),
    ("policy: p\nversion: 1\napplies_to: {tags: [a]}\ncontrols: []\n", 3, 20, "must be a map", ""),
    ("policy: p\nversion: 1\ntítulo: é\ncontrols: {é: [}\n", 4, 16, "not YAML", ""),
    ("just text\n", 1, 1, "must be a map", ""),
    ("", 1, 1, "the file is empty", ""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "column", "what", "near"), BAD)
def test_bad_policies_name_line_column_and_nearest_word(
    text: str, line: int, column: int, what: str, near: str
) -> None:
    with pytest.raises(InvalidDocument) as caught:
        parsed(text)
    there = [m for m in caught.value.mistakes if (m.line, m.column) == (line, column)]
    assert [m.nearest for m in there if what in m.message] == [near]
    assert f"p.yaml:{line}:{column}: " in str(caught.value)


def test_all_mistakes_of_a_policy_come_at_once() -> None:
    text = 'polcy: p\nversion: NO\ncontrols:\n  - {id: "a b", metric: acuracy, require: "> x", min_grup: 3}\n'
    with pytest.raises(InvalidDocument) as caught:
        parsed(text)
    assert [m.line for m in caught.value.mistakes] == [1, 1, 2, 4, 4, 4, 4]


def test_equalized_odds_ratio_is_a_ratio_in_our_own_shape() -> None:
    found = parsed(control('id: a, metric: equalized_odds_ratio, role: g, require: ">= 0.8"')).controls[0]
    assert found.metric == "equalized_odds_ratio"


def test_the_largest_group_may_be_the_reference_of_gaps_alone() -> None:
    document = control('id: a, metric: disparate_impact, role: g, reference: largest, require: ">= 0.8"')
    assert parsed(document).controls[0].reference == LARGEST
    with pytest.raises(InvalidDocument, match="ranges from 0 to 1"):
        parsed(document.replace("0.8", "1.1"))
    with pytest.raises(InvalidDocument, match="worst_group_recall doesn't compare groups with one another"):
        parsed(document.replace("disparate_impact", "worst_group_recall"))


def test_a_ratio_against_a_reference_group_may_exceed_one() -> None:
    found = parsed(control('id: a, metric: disparate_impact, role: g, reference: m, require: ">= 1.1"')).controls[0]
    assert found.require == Requirement(Op.GE, 1.1)
