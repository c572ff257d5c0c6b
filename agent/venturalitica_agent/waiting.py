"""The verdict of named runs, waited for: what a CI job asks, wherever the audit is done.

A verdict that stands is read from the state and nothing is audited again. Where a service owns the state it does the
work, and only its record is read here; where none does, the audit is done in this process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from venturalitica_agent.agent import Agent
from venturalitica_agent.claim.engine import EngineBusy
from venturalitica_agent.claim.plan import candidates, tasks
from venturalitica_agent.domain.history import superseded
from venturalitica_agent.domain.ledger import Phase
from venturalitica_agent.domain.run import RunRef
from venturalitica_agent.errors import ConfigError, RetryableError
from venturalitica_agent.logging import get_logger
from venturalitica_agent.once import Pass, asked, run_once
from venturalitica_agent.settings import Settings
from venturalitica_agent.state.records import AuditRecord

log = get_logger(__name__)

_LOOK = 1.0  # seconds between two looks at runs that have no verdict yet
_FINAL = (Phase.STUCK, Phase.GONE)


def wait_for(
    settings: Settings,
    runs: Sequence[str],
    *,
    timeout: float,
    on_progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Pass:
    """The verdicts of `runs`, once every one of them has one or can get none; at most `timeout` seconds from now.

    Raises:
        ConfigError: no run is named, or one of them is in no store.
    """
    if not runs:
        raise ConfigError("nothing says which run to wait for", remedy="name each one with --run")
    deadline = time.monotonic() + timeout
    audited = 0
    while True:
        agent = Agent(settings)
        try:
            found, ended = _look(agent, runs)
        except RetryableError as error:
            found, ended = Pass((), tuple((run, error.what) for run in runs), (), 0, final=False), False
        finally:
            agent.dispose()
        on_progress(len(runs) - len(found.without), len(runs))
        if found.final:
            return replace(found, audited=audited)
        if time.monotonic() >= deadline:
            return replace(found, audited=audited, late=True)
        if ended:
            try:
                done = run_once(Agent(settings), [run for run, _ in found.without], until=deadline)
            except EngineBusy:
                pass  # a service owns the state: it gives the verdict, and the next look reads it
            except RetryableError as error:
                log.warning("wait.retry", reason=error.what, subject=error.subject)
            else:
                audited += done.audited
                if not done.late and not done.without:
                    return replace(done, verdicts=(*found.verdicts, *done.verdicts), audited=audited)
        time.sleep(max(0.0, min(_LOOK, deadline - time.monotonic())))


def _look(agent: Agent, runs: Sequence[str]) -> tuple[Pass, bool]:
    """Where the runs stand by the record, and whether all those without a verdict have ended."""
    verdicts: list[AuditRecord] = []
    without: list[tuple[str, str]] = []
    final, ended = True, True
    for store, run_id in sorted(asked(agent, runs)):
        ref = agent.stores[store].look(run_id)
        if ref is None:
            final, ended = False, False
            without.append((run_id, "the store can't show it just now"))
            continue
        standing, why_not, settled = _standing(agent, ref)
        verdicts += standing
        if why_not:
            without.append((run_id, why_not))
            final &= settled
            ended &= ref.status.ended or settled
    return Pass(tuple(verdicts), tuple(without), (), 0, final=final), ended


def _standing(agent: Agent, ref: RunRef) -> tuple[list[AuditRecord], str, bool]:
    """The verdicts that stand for the run as it is now; without any why, and whether waiting can't change that."""
    if ref.deleted:
        return [], "deleted in the store", True
    if not ref.status.ended:
        return [], f"the run has not ended: it is {ref.status.value}", False
    if why_not := agent.aside(ref):
        return [], why_not, True
    book, store = agent.in_force.book, agent.stores[ref.store]
    experiment = store.experiments().get(ref.experiment_id, "")
    selected = candidates(book.rules, experiment=experiment, status=ref.status)
    if not selected.rules:
        return [], selected.why_not, True
    started = None if ref.start_time is None else ref.start_time / 1000
    tags = store.get_tags(ref.run_id) if selected.need_tags else {}
    if unknown := {name for rule in selected.rules for name in rule.policies} - book.history.keys():
        return [], f"the machine that notices runs has no policy {min(unknown)}", False
    wanted = tasks(selected.rules, book.history, tags, started=started)
    if not wanted:
        return [], "no entry of `audits` selects this run's tags", True
    entry = agent.ledger.get(ref.store, ref.run_id)
    if entry is None:
        return [], "not audited yet", False
    if entry.phase in _FINAL and entry.ref.revision == ref.revision:
        return [], entry.reason, True
    if entry.phase is not Phase.DONE or entry.audited_revision != ref.revision:
        return [], entry.reason or f"not audited yet: it is {entry.phase.value}", False
    given = {record.policy: record for record in agent.records.latest(ref.store, ref.run_id)}
    due = {task.policy for task in wanted}
    asking = {name for name, terms in book.history.items() if any(term.digest in due for term in terms)}
    open_ = [
        name
        for name in sorted(asking)
        if name not in given or superseded(book.history[name], given[name].policy_digest, started)
    ]
    if open_:
        return [], f"not audited yet under the present version of {', '.join(open_)}", False
    return [given[name] for name in sorted(asking)], "", True
