"""Which policies a run is due under, and with which data and columns: a job, or the reason why there is none. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from venturalitica_agent.domain.job import AuditTask
from venturalitica_agent.domain.policy import Policy, Selector
from venturalitica_agent.domain.run import RunStatus
from venturalitica_agent.domain.subject import DataPlan


@dataclass(frozen=True, slots=True)
class AuditRule:
    """One entry of `audits:`, or one policy's own `applies_to`."""

    name: str
    selector: Selector
    policies: tuple[str, ...]
    plan: DataPlan


@dataclass(frozen=True, slots=True)
class Candidates:
    """Rules that a run may fall under, judged by its experiment and status; `why_not` when there are none."""

    rules: tuple[AuditRule, ...]
    why_not: str = ""

    @property
    def need_tags(self) -> bool:
        return any(rule.selector.tags for rule in self.rules)


def of_experiment(rules: Sequence[AuditRule], experiment: str) -> tuple[AuditRule, ...]:
    """The rules that look at runs of this experiment."""
    return tuple(r for r in rules if fnmatchcase(experiment, r.selector.experiment))


def candidates(rules: Sequence[AuditRule], *, experiment: str, status: RunStatus) -> Candidates:
    """The rules whose experiment and status fit."""
    named = of_experiment(rules, experiment)
    if not named:
        return Candidates((), "no entry of `audits` selects this experiment")
    fitting = tuple(r for r in named if status.value in r.selector.status)
    if not fitting:
        return Candidates((), f"{status.value} runs are not audited unless an entry's `runs: status` says so")
    return Candidates(fitting)


def tasks(rules: Sequence[AuditRule], policies: Mapping[str, Policy], tags: Mapping[str, str]) -> tuple[AuditTask, ...]:
    """One task per policy; where two rules name the same policy for one run, the first in the file wins."""
    found: dict[str, AuditTask] = {}
    for rule in rules:
        if all(tags.get(k) == v for k, v in rule.selector.tags.items()):
            for policy_id in rule.policies:
                policy = policies[policy_id]
                found.setdefault(policy_id, AuditTask(rule.name, policy.digest, rule.plan))
    return tuple(found.values())
