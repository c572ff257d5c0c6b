"""Which versions of which policies a run is due under, with which data and columns, or why it is not due. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from venturalitica_agent.domain.history import History, deciding, on_record
from venturalitica_agent.domain.job import AuditTask
from venturalitica_agent.domain.policy import Policy, Selector
from venturalitica_agent.domain.run import RunStatus
from venturalitica_agent.domain.subject import DataPlan
from venturalitica_agent.policy.waivers import Waivers


@dataclass(frozen=True, slots=True)
class AuditRule:
    """One entry of `audits:`, or one policy's own `applies_to`."""

    name: str
    selector: Selector
    policies: tuple[str, ...]
    plan: DataPlan


@dataclass(frozen=True, slots=True)
class Rulebook:
    """What planning goes by at one moment: the policies in force by id, the rules, and the history of each policy; and
    what judging goes by, the waivers."""

    policies: Mapping[str, Policy]
    rules: tuple[AuditRule, ...]
    history: History
    waivers: Waivers = field(default_factory=Waivers)


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


def tasks(
    rules: Sequence[AuditRule], history: History, tags: Mapping[str, str], *, started: float | None
) -> tuple[AuditTask, ...]:
    """One task per policy; where two rules name the same policy for one run, the first in the file wins.

    Args:
        started: when the run started, seconds since the epoch by its client's clock; it chooses the policy's version.
    """
    found: dict[str, AuditTask] = {}
    for rule in rules:
        if all(tags.get(k) == v for k, v in rule.selector.tags.items()):
            for policy_id in rule.policies:
                terms = history[policy_id]
                choice = deciding(terms, started)
                since = on_record(terms, choice.term.digest)
                task = AuditTask(rule.name, choice.term.digest, rule.plan, since, choice.note)
                found.setdefault(policy_id, task)
    return tuple(found.values())
