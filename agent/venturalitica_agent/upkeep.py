"""Keeps what was published as it was published: looks at old runs again, says what somebody changed, and puts it back.

The log keeps each incident. What is put back follows from the decision that is on record, so it is the same evidence.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256

from venturalitica_agent.domain.evidence import Decision, EvidenceBundle, Published
from venturalitica_agent.domain.history import History, on_record
from venturalitica_agent.domain.ledger import Entry, Phase
from venturalitica_agent.domain.policy import Policy
from venturalitica_agent.errors import AgentError, Away, RunGone
from venturalitica_agent.logging import get_logger
from venturalitica_agent.pipeline import World, evidence_of
from venturalitica_agent.publish.drift import drifted
from venturalitica_agent.publish.writeback import publish
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
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._stores = stores
        self._ledger = ledger
        self._record = record
        self._world = world
        self._history = history
        self._every = every
        self._restore = restore
        self._clock = clock

    def turn(self, seconds: float) -> int:
        """Look at the runs whose time has come, for about so many seconds; returns how many were not as published."""
        until = time.monotonic() + seconds
        away: set[str] = set()
        incidents = 0
        for store, run_id in self._record.due(self._clock() - self._every, _BATCH):
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

    def _published(self, store: str, run_id: str) -> Sequence[AuditRecord]:
        """The verdicts that were written on the run together, the last time that any was."""
        known = self._world.records.latest(store, run_id)
        last = max((one.tagged_at for one in known), default=0.0)
        return [one for one in known if one.tagged_at == last]

    def _put_back(self, entry: Entry, store: Store, decisions: Sequence[Decision], files: Mapping[str, str]) -> bool:
        """Publish again what was decided; meanwhile the run is claimed, so that no audit of it runs."""
        if not self._ledger.move(entry, Phase.CLAIMED, now=self._clock(), job=_JOB):
            return False
        claimed = replace(entry, phase=Phase.CLAIMED, job=_JOB)
        try:
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
            now = self._clock()
            written = {path: sha256(c).hexdigest() for _, bundle in decided for path, c in bundle.files.items()}
            if written != files:  # by another version of the agent, whose reports have other words
                done = Published(tags["venturalitica.status"], tags, store.run_link(run), now)
                for decision, bundle in decided:
                    self._world.records.keep_audit(run, decision, bundle, done, now=now)
        finally:
            self._ledger.move(claimed, Phase.DONE, now=self._clock(), job=entry.job)
        log.info("drift.restored", run=entry.ref.run_id, store=store.uri)
        return True

    def _since(self, policy: Policy) -> float | None:
        terms = self._history().get(policy.id, ())
        return on_record(terms, policy.digest) if any(term.digest == policy.digest for term in terms) else None
