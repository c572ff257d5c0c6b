"""Level-triggered truth: whatever an event or a poll hinted at, and whatever they missed, ends up in the ledger here.
What is due is a difference of sets over run ids and revisions, never a cursor on a clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from venturalitica_agent.domain.ledger import Entry, Phase, after_sight, vanished
from venturalitica_agent.domain.run import RunRef
from venturalitica_agent.errors import AgentError
from venturalitica_agent.state.ledger import Ledger
from venturalitica_agent.stores.base import Store


@dataclass(frozen=True, slots=True)
class Sweep:
    """What one full scan found. `seconds` is the processor time that it cost."""

    seen: int
    changed: int
    unfinished: tuple[RunRef, ...]
    seconds: float


class Reconciler:
    """Brings the ledger of runs in line with what stores show.

    Attributes:
        settle: quiet seconds after a run's end before it is due.
    """

    def __init__(self, ledger: Ledger, *, settle: float, clock: Callable[[], float] = time.time) -> None:
        self._ledger = ledger
        self.settle = settle
        self._clock = clock

    def seen(self, refs: Iterable[RunRef]) -> list[Entry]:
        """Record runs that were just seen; returns the entries that changed."""
        now = self._clock()
        changes = [change for ref in refs if (change := self._change(ref, now)) is not None]
        if not self._ledger.swap(changes, now=now):
            for _, entry in changes:
                self._record(entry.ref)
        return [entry for _, entry in changes]

    def _change(self, ref: RunRef, now: float) -> tuple[Entry | None, Entry] | None:
        known = self._ledger.get(ref.store, ref.run_id)
        entry = after_sight(known, ref, now=now, settle=self.settle, backlog=False)
        return None if entry == known else (known, entry)

    def _record(self, ref: RunRef) -> None:
        """Record one run, again if somebody changed its entry between our look at it and our change of it."""
        now = self._clock()
        while (change := self._change(ref, now)) is not None and not self._ledger.swap([change], now=now):
            pass

    def sweep(self, store: Store, *, backlog: bool) -> Sweep:
        """Scan the whole store and record every difference, also runs that are no longer there."""
        started = time.thread_time()
        now = self._clock()
        known = self._ledger.of_store(store.id)
        changes: list[tuple[Entry | None, Entry]] = []
        unfinished, present = [], set()
        for ref in store.scan():
            present.add(ref.run_id)
            before = known.get(ref.run_id)
            entry = after_sight(before, ref, now=now, settle=self.settle, backlog=backlog)
            if entry != before:
                changes.append((before, entry))
            if entry.phase is Phase.RUNNING:
                unfinished.append(ref)
        for run_id, entry in known.items():
            if run_id not in present and entry.phase is not Phase.GONE:
                # A page or a rewrite may have hidden it from the scan, so only its own absence counts.
                there = store.look(run_id)
                changes.append((entry, self._gone(entry, there, now)))
        changes = [(before, entry) for before, entry in changes if entry != before]
        # What somebody else saw during a long scan is newer than the scan, and stays.
        self._ledger.swap(changes, now=now)
        return Sweep(len(present), len(changes), tuple(unfinished), time.thread_time() - started)

    def _gone(self, known: Entry, there: RunRef | None, now: float) -> Entry:
        if there is None:
            return vanished(known)
        return after_sight(known, there, now=now, settle=self.settle, backlog=False)

    def settle_due(self, store_of: Callable[[str], Store | None]) -> list[Entry]:
        """Make due what has settled: each run is looked at once more, since its inputs may have changed.

        Without an answer a run becomes due as it is known: its audit begins with the same look, and waits, gives up
        or says that the run is gone by its own rules. So a store that is away holds up no other.
        """
        now = self._clock()
        ready = []
        for entry in self._ledger.settle(now):
            store = store_of(entry.ref.store)
            try:
                ref = store.look(entry.ref.run_id) if store else None
            except AgentError:
                ref = None
            if ref is None or (ref.revision == entry.ref.revision and not ref.deleted):
                ready.append(entry)
            else:
                self._record(ref)
        self._ledger.swap([(entry, replace(entry, phase=Phase.DUE)) for entry in ready], now=now)
        return ready
