"""Which runs fall under which policies, as tables; and what makes two jobs the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.verdicts import policy

from venturalitica_agent.claim.plan import AuditRule, candidates, tasks
from venturalitica_agent.domain.job import AuditJob, AuditTask
from venturalitica_agent.domain.policy import Selector
from venturalitica_agent.domain.run import RunStatus
from venturalitica_agent.domain.subject import ColumnBinding, DataPlan, DataRef

LOAN = AuditRule("loan", Selector("loan*"), ("credit",), DataPlan())
TEAM = AuditRule("team", Selector("loan*", {"team": "risk", "stage": "prod"}), ("credit", "fair"), DataPlan())
FAILED = AuditRule("failed", Selector("*", status=("FAILED", "KILLED")), ("fair",), DataPlan())
POLICIES = {"credit": policy("credit"), "fair": policy("fair")}


@pytest.mark.parametrize(
    ("experiment", "status", "names", "why"),
    [
        ("loan-1", "FINISHED", ["loan", "team"], ""),
        ("loan", "FINISHED", ["loan", "team"], ""),
        ("LOAN-1", "FINISHED", [], "FINISHED runs are not audited"),
        ("other", "FINISHED", [], "FINISHED runs are not audited"),
        ("loan-1", "FAILED", ["failed"], ""),
        ("", "KILLED", ["failed"], ""),
    ],
)
def test_experiment_and_status_choose_the_rules(experiment: str, status: str, names: list[str], why: str) -> None:
    found = candidates([LOAN, TEAM, FAILED], experiment=experiment, status=RunStatus(status))
    assert [r.name for r in found.rules] == names
    assert found.why_not.startswith(why) if why else not found.why_not


def test_no_rule_for_an_experiment_is_said_apart_from_a_status_that_is_not_audited() -> None:
    assert "experiment" in candidates([LOAN], experiment="x", status=RunStatus.FINISHED).why_not
    assert "KILLED" in candidates([LOAN], experiment="loan", status=RunStatus.KILLED).why_not
    assert "experiment" in candidates([], experiment="loan", status=RunStatus.FINISHED).why_not


def test_tags_are_only_asked_for_where_a_rule_looks_at_them() -> None:
    assert not candidates([LOAN], experiment="loan", status=RunStatus.FINISHED).need_tags
    assert candidates([LOAN, TEAM], experiment="loan", status=RunStatus.FINISHED).need_tags


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ({}, {"loan": "credit"}),
        ({"team": "risk"}, {"loan": "credit"}),
        ({"team": "risk", "stage": "dev"}, {"loan": "credit"}),
        ({"team": "risk", "stage": "prod", "more": "x"}, {"loan": "credit", "team": "fair"}),
    ],
)
def test_all_tags_must_match_and_the_first_rule_wins_a_policy(tags: dict[str, str], found: dict[str, str]) -> None:
    made = tasks([LOAN, TEAM], POLICIES, tags)
    by_digest = {p.digest: p.id for p in POLICIES.values()}
    assert {t.audit: by_digest[t.policy] for t in made} == found


def test_no_matching_tags_is_no_task() -> None:
    assert tasks([TEAM], POLICIES, {"team": "other"}) == ()


PLAN = DataPlan(
    {"evaluation": DataRef("artifact", "data/*.csv")},
    {"gender": ColumnBinding("gender", "sex", "declared", positive=True, groups={"f": (1, "1", 1.0)}, bins=(25.0,))},
)
JOB = AuditJob("s", "r", "FINISHED@1#", (AuditTask("loan", "0" * 64, PLAN),))


def test_the_same_job_has_the_same_id_and_any_difference_another() -> None:
    other_plan = replace(PLAN, columns={"gender": replace(PLAN.columns["gender"], positive=1)})
    others = [
        replace(JOB, store="t"),
        replace(JOB, run_id="q"),
        replace(JOB, revision="FINISHED@2#"),
        replace(JOB, attempt=1),
        replace(JOB, give_up="x"),
        replace(JOB, tasks=()),
        replace(JOB, tasks=(replace(JOB.tasks[0], policy="1" * 64),)),
        replace(JOB, tasks=(replace(JOB.tasks[0], plan=other_plan),)),
    ]
    assert replace(JOB).id == JOB.id
    assert len({JOB.id, *(o.id for o in others)}) == 1 + len(others)
    assert len(JOB.id) == 32
