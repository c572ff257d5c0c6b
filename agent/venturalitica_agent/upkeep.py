"""Keeps what was published true: looks at old runs again, says what somebody changed, and puts it back.

The log keeps each incident. What is put back follows from the decision that is on record, so it is the same evidence.
A verdict whose model or data are no longer those that were audited is not put back: it is stale, and given anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from typing import Any

from venturalitica_agent.domain.evidence import Decision, EvidenceBundle, Published
from venturalitica_agent.domain.history import History, on_record
from venturalitica_agent.domain.ledger import Entry, Phase, again
from venturalitica_agent.domain.policy import Policy
from venturalitica_agent.errors import AgentError, Away, RunGone
from venturalitica_agent.logging import get_logger
from venturalitica_agent.pipeline import World, evidence_of
from venturalitica_agent.publish.drift import drifted
from venturalitica_agent.publish.writeback import publish, withdraw
from venturalitica_agent.state.drift import DriftRecord
from venturalitica_agent.state.ledger import Ledger
from venturalitica_agent.state.records import AuditRecord
from venturalitica_agent.stores.base import Store

log = get_logger(__name__)

_JOB = "upkeep"
_BATCH = 100
_MOST_WORDS = 20


class Upkeep:
    """Compares runs with what was published on them.

    Args:
        every: seconds after which a run is looked at again. restore: is what was changed put back?
        inputs: are model and data compared with what was audited, too?
    """

    def __init__(
        self,
        *,
        stores: Mapping[str, Store],
        ledger: Ledger,
        record: DriftRecord,
        world: World,
        history: Callable[[], History],
        every: float,
        restore: bool,
        inputs: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._stores = stores
        self._ledger = ledger
        self._record = record
        self._world = world
        self._history = history
        self._every = every
        self._restore = restore
        self._inputs = inputs
        self._clock = clock

    def turn(self, seconds: float) -> int:
        """Look at the runs whose time has come, for about so many seconds; returns how many were not as left."""
        until = time.monotonic() + seconds
        away: set[str] = set()
        incidents = 0
        for store, run_id in self._record.due(self._clock() - self._every, self._clock(), _BATCH):
            if time.monotonic() > until:
                break
            if store not in self._stores or store in away:
                continue
            try:
                incidents += self._look(self._stores[store], run_id)
            except Away as error:
                away.add(store)
                log.info("drift.waits", store=self._stores[store].uri, reason=error.what)
            except AgentError as error:
                log.warning("drift.failed", run=run_id, reason=error.what, remedy=error.remedy)
                self._record.checked(store, run_id, now=self._clock())
        return incidents

    def _look(self, store: Store, run_id: str) -> bool:
        entry = self._ledger.get(store.id, run_id)
        records = self._published(store.id, run_id)
        if entry is None or entry.phase is not Phase.DONE or not records:
            return False
        decided = [
            (self._world.records.decision_of(one), EvidenceBundle("", {}, one.evidence, one.evidence_digest))
            for one in records
        ]
        if self._inputs and self._went_stale(entry, store, records, [decision for decision, _ in decided]):
            return True
        try:
            files = self._record.files(store.id, run_id, [one.evidence for one in records])
            found = drifted(store, run_id, files, decided)
        except RunGone:
            found = []  # whoever notices runs says so
        if not found:
            self._record.checked(store.id, run_id, now=self._clock())
            return False
        if self._ledger.get(store.id, run_id) != entry or self._published(store.id, run_id) != records:
            return False  # it was audited meanwhile
        more = [f"and {len(found) - _MOST_WORDS} more"] if found[_MOST_WORDS:] else []
        words = "; ".join([*found[:_MOST_WORDS], *more])
        log.warning("drift.found", run=run_id, store=store.uri, reason=words, restore=self._restore)
        self._world.notary.note_drift(store.id, run_id, words)
        restored = self._restore and self._put_back(entry, store, [decision for decision, _ in decided], files)
        self._record.found(store.id, run_id, words, restored=restored, now=self._clock())
        return True

    # -- model and data ---------------------------------------------------------------------------------------
    def _went_stale(
        self, entry: Entry, store: Store, records: Sequence[AuditRecord], decisions: Sequence[Decision]
    ) -> bool:
        """Whether model or data changed since the audit; the verdicts that rest on them are then withdrawn."""
        from venturalitica_agent.fetch.changed import Inputs

        run_id = entry.ref.run_id
        try:
            run = store.get_run(run_id)
            if run.ref.revision != entry.ref.revision:
                return False  # whoever notices runs says so, and the new revision is audited anyway
            inputs = Inputs(store, run, self._world.cache, self._world.roots_of(store.id))
            subjects = [decision.subject for decision in decisions]
            mark = inputs.mark(subjects)  # before the content: what changes in between has another one
            if mark and mark == self._record.inputs(store.id, run_id):
                return False
            changed = {decision.audit_id: inputs.changed(decision.subject) for decision in decisions}
        except RunGone:
            return False
        words = "; ".join(dict.fromkeys(word for found in changed.values() for word in found))
        if not words:
            self._record.same_inputs(store.id, run_id, mark, now=self._clock())
            return False
        with self._held(entry, until=Phase.DUE, **again(entry, now=self._clock())) as held:
            if held is None or self._published(store.id, run_id) != records:
                return False  # it was audited meanwhile
            log.warning("verdict.stale", run=run_id, store=store.uri, reason=words)
            self._world.notary.note_stale(store.id, run_id, words)
            stale = [decision for decision in decisions if changed[decision.audit_id]]
            evidence = [r.evidence for r, d in zip(records, decisions, strict=True) if changed[d.audit_id]]
            self._record.stale(store.id, run_id, words, evidence, now=self._clock())
            self._world.telemetry.stale()
            withdraw(store, run, decisions, stale)
        return True

    @contextmanager
    def _held(self, entry: Entry, *, until: Phase, **changes: Any) -> Iterator[Entry | None]:
        """Claim the run, so that no audit of it runs meanwhile; None when somebody else has moved it on."""
        if not self._ledger.move(entry, Phase.CLAIMED, now=self._clock(), job=_JOB):
            yield None
            return
        claimed = replace(entry, phase=Phase.CLAIMED, job=_JOB)
        try:
            yield claimed
        finally:
            self._ledger.move(claimed, until, now=self._clock(), **{"job": entry.job, **changes})

    # -- what was published -----------------------------------------------------------------------------------
    def _published(self, store: str, run_id: str) -> Sequence[AuditRecord]:
        """The verdicts that were written on the run together, the last time that any was."""
        known = self._world.records.latest(store, run_id)
        last = max((one.tagged_at for one in known), default=0.0)
        return [one for one in known if one.tagged_at == last]

    def _put_back(self, entry: Entry, store: Store, decisions: Sequence[Decision], files: Mapping[str, str]) -> bool:
        """Publish again what was decided; meanwhile the run is claimed, so that no audit of it runs."""
        with self._held(entry, until=Phase.DONE) as held:
            if held is None:
                return False
            run = store.get_run(entry.ref.run_id)
            policies = [self._world.policy_of(decision.verdict.policy_digest) for decision in decisions]
            decided = [
                (
                    decision,
                    evidence_of(decision, policy, policies, run, store, self._world.notary, since=self._since(policy)),
                )
                for decision, policy in zip(decisions, policies, strict=True)
            ]
            tags = publish(store, run, decided)
            now = max(self._clock(), self._world.records.last_published(store.id, run.ref.run_id))
            written = {path: sha256(c).hexdigest() for _, bundle in decided for path, c in bundle.files.items()}
            if written != files:  # by another version of the agent, whose reports have other words
                done = Published(tags["venturalitica.status"], tags, store.run_link(run), now)
                for decision, bundle in decided:
                    self._world.records.keep_audit(run, decision, bundle, done, now=now)
        log.info("drift.restored", run=entry.ref.run_id, store=store.uri)
        return True

    def _since(self, policy: Policy) -> float | None:
        terms = self._history().get(policy.id, ())
        return on_record(terms, policy.digest) if any(term.digest == policy.digest for term in terms) else None
