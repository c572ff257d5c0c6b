"""Which runs fall under which policies, as tables; and what makes two jobs the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from venturalitica_agent.claim.plan import AuditRule, candidates, tasks
from venturalitica_agent.domain.history import Term
from venturalitica_agent.domain.job import AuditJob, AuditTask
from venturalitica_agent.domain.policy import Selector
from venturalitica_agent.domain.run import RunStatus
from venturalitica_agent.domain.subject import ColumnBinding, DataPlan, DataRef

LOAN = AuditRule("loan", Selector("loan*"), ("credit",), DataPlan())
TEAM = AuditRule("team", Selector("loan*", {"team": "risk", "stage": "prod"}), ("credit", "fair"), DataPlan())
FAILED = AuditRule("failed", Selector("*", status=("FAILED", "KILLED")), ("fair",), DataPlan())
HISTORY = {
    "credit": (Term("credit", "1.0", "c1", "c.yaml", 100.0, 200.0), Term("credit", "1.1", "c2", "c.yaml", 200.0)),
    "fair": (Term("fair", "1.0", "f1", "f.yaml", 100.0),),
}


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
    made = tasks([LOAN, TEAM], HISTORY, tags, started=300.0)
    by_digest = {term.digest: term.policy for terms in HISTORY.values() for term in terms}
    assert {t.audit: by_digest[t.policy] for t in made} == found


def test_no_matching_tags_is_no_task() -> None:
    assert tasks([TEAM], HISTORY, {"team": "other"}, started=300.0) == ()


def test_the_start_of_the_run_chooses_the_version_and_the_task_says_why() -> None:
    (early,) = tasks([LOAN], HISTORY, {}, started=150.0)
    (late,) = tasks([LOAN], HISTORY, {}, started=250.0)
    assert (early.policy, early.since) == ("c1", 100.0)
    assert (late.policy, late.since) == ("c2", 200.0)
    assert (
        early.note == "credit@1.0, in force since 1970-01-01T00:01:40Z, was in force when the run started, by the "
        "clock of its client"
    )


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
        replace(JOB, tasks=(replace(JOB.tasks[0], since=1.0),)),
        replace(JOB, tasks=(replace(JOB.tasks[0], plan=other_plan),)),
    ]
    assert replace(JOB).id == JOB.id
    assert len({JOB.id, *(o.id for o in others)}) == 1 + len(others)
    assert len(JOB.id) == 32
