"""The ledger follows the store: sweeps, single sights, settling, and what happens when two of them meet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from venturalitica_agent.detect.reconcile import Reconciler
from venturalitica_agent.domain.ledger import Phase
from venturalitica_agent.domain.run import RunRef, RunStatus
from venturalitica_agent.errors import PermanentError, StoreUnavailable
from venturalitica_agent.state.ledger import Ledger
from venturalitica_agent.state.opening import open_state
from venturalitica_agent.stores.memory import MemoryStore, finished


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(open_state(f"sqlite:///{tmp_path}/state.db"))


@pytest.fixture
def reconciler(ledger: Ledger, clock: Clock) -> Reconciler:
    return Reconciler(ledger, settle=5.0, clock=clock)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def phase(ledger: Ledger, run_id: str) -> Phase:
    entry = ledger.get("memory", run_id)
    assert entry is not None
    return entry.phase


def done(ledger: Ledger, run_id: str) -> None:
    entry = ledger.get("memory", run_id)
    assert entry is not None
    assert ledger.move(entry, Phase.DONE, now=0.0, audited_revision=entry.ref.revision)


def test_a_sweep_brings_every_run_in_and_again_changes_nothing(
    reconciler: Reconciler, ledger: Ledger, store: MemoryStore
) -> None:
    store.add(finished("old"))
    running = finished("running")
    store.add(replace(running, ref=replace(running.ref, status=RunStatus.RUNNING, end_time=None)))
    store.add(replace(finished("failed"), ref=replace(finished("failed").ref, status=RunStatus.FAILED)))
    first = reconciler.sweep(store, backlog=True)
    assert (first.seen, first.changed, [r.run_id for r in first.unfinished]) == (3, 3, ["running"])
    assert {r: phase(ledger, r) for r in ("old", "running", "failed")} == {
        "old": Phase.DUE,
        "running": Phase.RUNNING,
        "failed": Phase.DUE,
    }
    assert reconciler.sweep(store, backlog=False).changed == 0


def test_a_run_settles_from_its_last_change(
    reconciler: Reconciler, ledger: Ledger, store: MemoryStore, clock: Clock
) -> None:
    store.add(finished("r"))
    reconciler.sweep(store, backlog=False)
    clock.now += 4
    store.change("r", inputs="late autolog")
    reconciler.sweep(store, backlog=False)
    clock.now += 4
    assert reconciler.settle_due({"memory": store}.get) == []
    clock.now += 1
    assert [e.ref.run_id for e in reconciler.settle_due({"memory": store}.get)] == ["r"]
    assert phase(ledger, "r") is Phase.DUE


def test_inputs_that_came_unnoticed_before_it_settled_start_the_quiet_time_anew(
    reconciler: Reconciler, ledger: Ledger, store: MemoryStore, clock: Clock
) -> None:
    store.add(finished("r"))
    reconciler.seen(store.scan())
    store.change("r", inputs="unnoticed")
    clock.now += 6
    assert reconciler.settle_due({"memory": store}.get) == []
    entry = ledger.get("memory", "r")
    assert entry is not None
    assert (entry.phase, entry.ref.inputs, entry.ready_at) == (Phase.SETTLING, "unnoticed", clock.now + 5)


def test_a_store_that_is_away_holds_up_no_other(reconciler: Reconciler, ledger: Ledger, clock: Clock) -> None:
    """The entry becomes due as it is known; its audit looks again, and knows how to wait."""
    away, here = MemoryStore("away"), MemoryStore("here")
    for store in (away, here):
        store.add(finished("r"))
        reconciler.seen(store.scan())
    clock.now += 6
    away.down = True
    ready = reconciler.settle_due({"away": away, "here": here}.get)
    assert {e.ref.store for e in ready} == {"away", "here"}
    assert ledger.settle(clock.now) == []


@pytest.mark.parametrize("error", [StoreUnavailable("away"), PermanentError("forbidden")])
def test_settling_survives_any_answer(
    reconciler: Reconciler, store: MemoryStore, clock: Clock, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    store.add(finished("r"))
    reconciler.seen(store.scan())
    clock.now += 6

    def fail(_run_id: str) -> RunRef:
        raise error

    monkeypatch.setattr(store, "look", fail)
    assert len(reconciler.settle_due({"memory": store}.get)) == 1


def test_a_run_of_a_store_that_is_no_longer_configured_does_not_settle_for_ever(
    reconciler: Reconciler, ledger: Ledger, store: MemoryStore, clock: Clock
) -> None:
    store.add(finished("r"))
    reconciler.seen(store.scan())
    clock.now += 6
    assert len(reconciler.settle_due({}.get)) == 1
    assert phase(ledger, "r") is Phase.DUE


def test_a_run_deleted_and_restored_after_its_audit_is_not_audited_again(
    reconciler: Reconciler, ledger: Ledger, store: MemoryStore
) -> None:
    store.add(finished("r"))
    reconciler.sweep(store, backlog=True)
    done(ledger, "r")
    for deleted, expected in ((True, Phase.GONE), (False, Phase.DONE)):
        store.change("r", deleted=deleted)
        reconciler.sweep(store, backlog=False)
        assert phase(ledger, "r") is expected


def test_a_run_deleted_and_restored_before_its_audit_is_audited(
    reconciler: Reconciler, ledger: Ledger, store: MemoryStore
) -> None:
    store.add(finished("r"))
    reconciler.sweep(store, backlog=True)
    for deleted, expected in ((True, Phase.GONE), (False, Phase.SETTLING)):
        store.change("r", deleted=deleted)
        reconciler.sweep(store, backlog=False)
        assert phase(ledger, "r") is expected


def test_a_job_for_a_revision_that_came_back_has_a_new_number(
    reconciler: Reconciler, ledger: Ledger, store: MemoryStore
) -> None:
    """The engine never runs a finished id again: with the old number the run would stay claimed for ever."""
    store.add(finished("r"))
    reconciler.sweep(store, backlog=True)
    entry = ledger.get("memory", "r")
    assert entry is not None
    assert ledger.move(entry, Phase.CLAIMED, now=0.0, job="job-0")
    for deleted in (True, False):
        store.change("r", deleted=deleted)
        reconciler.sweep(store, backlog=False)
    again = ledger.get("memory", "r")
    assert again is not None
    assert (again.attempts, again.job, again.ref.revision) == (entry.attempts + 1, "", entry.ref.revision)


def test_a_run_that_a_page_hid_is_not_gone(
    reconciler: Reconciler, ledger: Ledger, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add(finished("r"))
    reconciler.sweep(store, backlog=True)
    monkeypatch.setattr(store, "scan", lambda: iter(()))
    assert reconciler.sweep(store, backlog=False).changed == 0
    assert phase(ledger, "r") is Phase.DUE
    monkeypatch.setattr(store, "look", lambda _: None)
    assert reconciler.sweep(store, backlog=False).changed == 1
    assert phase(ledger, "r") is Phase.GONE


def test_a_run_whose_experiment_was_deleted_is_gone_though_it_can_be_looked_at(
    reconciler: Reconciler, ledger: Ledger, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add(finished("r"))
    reconciler.sweep(store, backlog=True)
    store.change("r", deleted=True)
    monkeypatch.setattr(store, "scan", lambda: iter(()))
    reconciler.sweep(store, backlog=False)
    assert phase(ledger, "r") is Phase.GONE


class Slow(MemoryStore):
    """While a sweep scans it, something else happens."""

    meanwhile: object = None

    def scan(self) -> Iterator[RunRef]:
        refs = list(super().scan())
        if callable(self.meanwhile):
            self.meanwhile()
        return iter(refs)


def test_a_slow_scan_does_not_undo_what_was_seen_and_done_meanwhile(reconciler: Reconciler, ledger: Ledger) -> None:
    store = Slow()
    run = finished("known", end_time=2_000)
    store.add(replace(run, ref=replace(run.ref, status=RunStatus.RUNNING, end_time=None)))
    reconciler.sweep(store, backlog=True)
    store.change("known", status=RunStatus.FINISHED, end_time=2_000)

    def meanwhile() -> None:
        for run_id in ("known", "unknown"):
            ref = store.look(run_id)
            assert ref is not None
            reconciler.seen([ref])
            done(ledger, run_id)

    store.add(finished("unknown"))
    store.meanwhile = meanwhile
    reconciler.sweep(store, backlog=False)
    assert [phase(ledger, r) for r in ("known", "unknown")] == [Phase.DONE, Phase.DONE]


def test_an_older_sight_of_a_scan_does_not_win_over_a_newer_one(reconciler: Reconciler, ledger: Ledger) -> None:
    store = Slow()
    run = finished("r", end_time=2_000)
    store.add(replace(run, ref=replace(run.ref, status=RunStatus.RUNNING, end_time=None)))

    def meanwhile() -> None:
        store.change("r", status=RunStatus.FINISHED, end_time=2_000)
        reconciler.seen(MemoryStore.scan(store))

    store.meanwhile = meanwhile
    reconciler.sweep(store, backlog=False)
    assert phase(ledger, "r") is Phase.SETTLING


def test_one_run_seen_twice_in_one_answer_ends_as_it_was_seen_last(
    reconciler: Reconciler, ledger: Ledger, store: MemoryStore
) -> None:
    ref = store.add(finished("r")).ref
    reconciler.seen([replace(ref, status=RunStatus.RUNNING, end_time=None), ref])
    assert phase(ledger, "r") is Phase.SETTLING


def test_ten_thousand_runs_are_swept_and_swept_again(reconciler: Reconciler, store: MemoryStore) -> None:
    for i in range(10_000):
        store.add(finished(f"r{i}", end_time=i))
    assert reconciler.sweep(store, backlog=True).changed == 10_000
    assert reconciler.sweep(store, backlog=False).changed == 0
