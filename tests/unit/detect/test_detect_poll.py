"""Asking a store: nothing is asked twice for nothing, nothing that ends is missed, and no failure ends the asking."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import pytest

from venturalitica_agent.detect.poll import OVERLAP_MS, Poll
from venturalitica_agent.domain.run import RunRef, RunStatus
from venturalitica_agent.errors import PermanentError, RetryableError
from venturalitica_agent.stores.memory import MemoryStore, finished

NOW = 1_800_000_000.0
NOW_MS = int(NOW * 1000)


class Counting(MemoryStore):
    """A store that notes what it was asked."""

    def __init__(self, *, versioned: bool = True) -> None:
        super().__init__()
        self.asked: list[int] = []
        self.raising: list[Exception] = []
        self._versioned = versioned

    def version(self) -> int | None:
        return super().version() if self._versioned else None

    def recent(self, since: int) -> Iterator[RunRef]:
        self.asked.append(since)
        if self.raising:
            raise self.raising.pop(0)
        return super().recent(since)


def polling(store: Counting, **more: object) -> tuple[Poll, list[RunRef], list[tuple[RetryableError, float]]]:
    seen: list[RunRef] = []
    errors: list[tuple[RetryableError, float]] = []
    given: dict[str, object] = {"every": 0.01, "clock": lambda: NOW, **more}
    poll = Poll(store, on_runs=seen.extend, on_error=lambda e, p: errors.append((e, p)), **given)  # type: ignore[arg-type]
    return poll, seen, errors


def ended(run_id: str, end_time: int) -> object:
    return finished(run_id, end_time=end_time)


def test_the_same_version_is_not_asked_again() -> None:
    store = Counting()
    poll, seen, _ = polling(store)
    store.add(finished("a", end_time=NOW_MS))
    for _ in range(5):
        poll.ask()
    assert len(store.asked) == 1
    store.add(finished("b", end_time=NOW_MS))
    poll.ask()
    assert len(store.asked) == 2
    assert {r.run_id for r in seen} == {"a", "b"}


def test_a_store_without_a_version_is_asked_every_time() -> None:
    store = Counting(versioned=False)
    poll, _, _ = polling(store)
    poll.ask()
    poll.ask()
    assert len(store.asked) == 2


def test_a_question_that_failed_half_way_is_asked_again() -> None:
    store = Counting()
    poll, seen, _ = polling(store)
    store.add(finished("a", end_time=NOW_MS))
    store.raising = [OSError("the line broke")]
    with pytest.raises(OSError, match="line broke"):
        poll.ask()
    poll.ask()
    assert [r.run_id for r in seen] == ["a"]


def test_what_the_listener_could_not_take_is_offered_again() -> None:
    store = Counting()
    store.add(finished("a", end_time=NOW_MS))
    taken: list[RunRef] = []
    full = [True]

    def take(refs: Iterable[RunRef]) -> None:
        if full.pop() if full else False:
            raise OSError("no room")
        taken.extend(refs)

    poll = Poll(store, every=1, on_runs=take, on_error=lambda *_: None, clock=lambda: NOW)
    with pytest.raises(OSError, match="no room"):
        poll.ask()
    poll.ask()
    assert [r.run_id for r in taken] == ["a"]


def test_the_window_overlaps_so_that_late_arrivals_are_seen() -> None:
    store = Counting()
    poll, seen, _ = polling(store)
    store.add(finished("first", end_time=NOW_MS - 1000))
    poll.ask()
    store.add(finished("late", end_time=NOW_MS - 1000 - OVERLAP_MS))
    poll.ask()
    assert "late" in {r.run_id for r in seen}
    assert store.asked[-1] == NOW_MS - 1000 - OVERLAP_MS


def test_an_end_time_in_the_future_does_not_move_the_window() -> None:
    store = Counting()
    poll, seen, _ = polling(store)
    store.add(finished("forged", end_time=4_102_444_800_000))
    poll.ask()
    store.add(finished("honest", end_time=NOW_MS))
    poll.ask()
    assert {r.run_id for r in seen} == {"forged", "honest"}
    assert max(store.asked) <= NOW_MS - OVERLAP_MS


@pytest.mark.parametrize("end_time", [1, None])
def test_a_run_that_was_seen_running_is_seen_to_end_whatever_its_clock_says(end_time: int | None) -> None:
    store = Counting()
    run = finished("backdated")
    store.add(replace(run, ref=replace(run.ref, status=RunStatus.RUNNING, end_time=None)))
    poll, seen, _ = polling(store)
    poll.ask()
    store.change("backdated", status=RunStatus.FINISHED, end_time=end_time)
    poll.ask()
    assert [r.status for r in seen] == [RunStatus.RUNNING, RunStatus.FINISHED]
    store.add(finished("other", end_time=NOW_MS))
    poll.ask()
    assert [r.run_id for r in seen][2:] == ["other"]


def eventually(what: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not what() and time.monotonic() < deadline:
        time.sleep(0.005)
    return what()


def test_the_thread_backs_off_from_a_store_that_is_away_and_finds_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Counting()
    poll, seen, errors = polling(store)
    waited: list[float] = []
    wait = threading.Event.wait

    def quick(event: threading.Event, timeout: float | None = None) -> bool:
        if event is poll._stop:
            waited.append(timeout or 0.0)
            timeout = 0.001
        return wait(event, timeout)

    monkeypatch.setattr(threading.Event, "wait", quick)
    store.down = True
    store.add(finished("a", end_time=NOW_MS))
    poll.start()
    assert eventually(lambda: len(errors) >= 10)
    store.down = False
    assert eventually(lambda: bool(seen))
    poll.stop()
    pauses = [pause for _, pause in errors]
    assert waited[1] == pauses[0]
    assert all(0.8 * 2 <= p <= 1.2 * 300 for p in pauses)
    assert 0.8 * 256 <= pauses[9] <= 1.2 * 300
    assert waited[-1] < 1.0
    assert [r.run_id for r in seen] == ["a"]


@pytest.mark.parametrize("error", [PermanentError("the token is wrong", remedy="get one"), ValueError("a bug")])
def test_the_thread_outlives_whatever_goes_wrong(error: Exception) -> None:
    store = Counting()
    store.add(finished("a", end_time=NOW_MS))
    store.raising = [error]
    poll, seen, errors = polling(store)
    poll.start()
    assert eventually(lambda: bool(seen))
    poll.stop()
    assert str(error).split(":")[-1].strip() in errors[0][0].what
    assert errors[0][0].remedy
