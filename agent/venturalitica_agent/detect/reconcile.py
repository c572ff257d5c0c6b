"""Level-triggered truth: whatever an event or a poll hinted at, and whatever they missed, ends up in the ledger here.
What is due is a difference of sets over run ids and revisions, never a cursor on a clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from venturalitica_agent.domain.ledger import Entry, Phase, after_sight, vanished
from venturalitica_agent.domain.run import RunRef
from venturalitica_agent.state.ledger import Ledger
from venturalitica_agent.stores.base import Store


@dataclass(frozen=True, slots=True)
class Sweep:
    """What one full scan found. `seconds` is what it cost."""

    seen: int
    changed: int
    unfinished: tuple[RunRef, ...]
    seconds: float


class Reconciler:
    """Brings the ledger of runs in line with what stores show.

    Args:
        settle: quiet seconds after a run's end before it is due.
        first: True while the store has never been swept before (its runs are a backlog).
    """

    def __init__(self, ledger: Ledger, *, settle: float, clock: Callable[[], float] = time.time) -> None:
        self._ledger = ledger
        self._settle = settle
        self._clock = clock

    def seen(self, refs: Iterable[RunRef]) -> list[Entry]:
        """Record runs that were just seen; returns the entries that changed."""
        now = self._clock()
        changed = []
        for ref in refs:
            known = self._ledger.get(ref.store, ref.run_id)
            entry = after_sight(known, ref, now=now, settle=self._settle, backlog=False)
            if entry != known:
                changed.append(entry)
        self._ledger.put(changed, now=now)
        return changed

    def sweep(self, store: Store, *, backlog: bool) -> Sweep:
        """Scan the whole store and record every difference, also runs that are no longer there."""
        started = time.perf_counter()
        now = self._clock()
        known = self._ledger.of_store(store.id)
        changed, unfinished, present = [], [], set()
        for ref in store.scan():
            present.add(ref.run_id)
            before = known.get(ref.run_id)
            entry = after_sight(before, ref, now=now, settle=self._settle, backlog=backlog)
            if entry != before:
                changed.append(entry)
            if entry.phase is Phase.RUNNING:
                unfinished.append(ref)
        for run_id, entry in known.items():
            # A run that was caught in the middle of a rewrite is absent from a scan, but not gone: look once more.
            if run_id not in present and entry.phase is not Phase.GONE and store.look(run_id) is None:
                changed.append(vanished(entry))
        self._ledger.put(changed, now=now)
        return Sweep(len(present), len(changed), tuple(unfinished), time.perf_counter() - started)

    def settle_due(self, store_of: Callable[[str], Store | None]) -> list[Entry]:
        """Make due what has settled: each run is looked at once more, since its inputs may have changed."""
        now = self._clock()
        ready = []
        for entry in self._ledger.settle(now):
            store = store_of(entry.ref.store)
            ref = store.look(entry.ref.run_id) if store else None
            if ref is None:
                continue  # unreadable at this instant, or the store is away: the entry waits
            if ref.revision == entry.ref.revision and not ref.deleted:
                if self._ledger.move(entry, Phase.DUE, now=now):
                    ready.append(entry)
            else:
                self._ledger.put([after_sight(entry, ref, now=now, settle=self._settle, backlog=False)], now=now)
        return ready
