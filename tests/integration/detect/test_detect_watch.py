"""The inotify watch on a real file store: what it sees, how few watches it needs, and that it says when it is blind."""

from __future__ import annotations

import errno
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.trackers import Tracker, track
from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent, WatchDescriptor

from venturalitica_agent.detect.watch import FolderWatch
from venturalitica_agent.domain.run import RunRef, RunStatus
from venturalitica_agent.stores.mlflow_file import MlflowFileStore


class Watching:
    """A watch with what it announced."""

    def __init__(self, store: MlflowFileStore) -> None:
        self.seen: list[tuple[float, RunRef]] = []
        self.blind: list[str] = []
        self.watch = FolderWatch(
            store,
            store.look_at,
            on_run=lambda ref: self.seen.append((time.monotonic(), ref)),
            on_blind=self.blind.append,
        )

    def saw(self, run_id: str, status: RunStatus) -> bool:
        return any(r.run_id == run_id and r.status is status for _, r in self.seen)


def eventually(what: Callable[[], bool], patience: float = 5.0) -> bool:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if what():
            return True
        time.sleep(0.005)
    return what()


@pytest.fixture
def tracker(request: pytest.FixtureRequest, tmp_path: Path) -> Tracker:
    return track("file", request, tmp_path)


@pytest.fixture
def store(tracker: Tracker) -> MlflowFileStore:
    assert isinstance(tracker.store, MlflowFileStore)
    return tracker.store


@pytest.fixture
def watching(store: MlflowFileStore) -> Iterator[Watching]:
    watching = Watching(store)
    watching.watch.start()
    yield watching
    watching.watch.stop()


def test_a_run_is_seen_to_end_as_the_call_that_ends_it_returns(tracker: Tracker, watching: Watching) -> None:
    run_id = tracker.start()
    assert eventually(lambda: watching.saw(run_id, RunStatus.RUNNING))
    tracker.end(run_id)
    returned = time.monotonic()
    assert eventually(lambda: watching.saw(run_id, RunStatus.FINISHED))
    at = next(t for t, r in watching.seen if r.run_id == run_id and r.status is RunStatus.FINISHED)
    assert at - returned < 1.0
    assert watching.blind == []


def test_only_the_root_experiments_and_unfinished_runs_are_watched(tracker: Tracker, watching: Watching) -> None:
    folders = sum(1 for _ in watching.watch._store.experiment_folders())
    base = 1 + folders
    assert watching.watch.watches == base
    open_runs = [tracker.start() for _ in range(3)]
    assert eventually(lambda: watching.watch.watches == base + 3)
    for run_id in open_runs[:2]:
        tracker.log_dataset(run_id)
        tracker.log_model(run_id)  # makes a `models` folder beside the runs
        tracker.client.log_metric(run_id, "m", 1.0)
        tracker.end(run_id)
    assert eventually(lambda: all(watching.saw(r, RunStatus.FINISHED) for r in open_runs[:2]))
    assert eventually(lambda: watching.watch.watches == base + 1)
    tracker.end(open_runs[2])
    assert eventually(lambda: watching.watch.watches == base)


def test_a_run_that_ends_is_announced_with_all_its_inputs(tracker: Tracker, watching: Watching) -> None:
    run_id = tracker.start()
    assert eventually(lambda: watching.saw(run_id, RunStatus.RUNNING))
    tracker.log_dataset(run_id)
    tracker.log_model(run_id)
    tracker.end(run_id)
    assert eventually(lambda: watching.saw(run_id, RunStatus.FINISHED))
    assert watching.seen[-1][1] == tracker.store.look(run_id)
    assert watching.seen[-1][1].inputs


def test_two_hundred_experiments_made_while_watching(tracker: Tracker, watching: Watching) -> None:
    about = Path(tracker.uri, tracker.experiment, "meta.yaml").read_text()
    run = Path(tracker.uri, tracker.experiment, tracker.finished())
    made = []
    for i in range(1000, 1200):  # by hand: MLflow reads every experiment to make one
        folder = Path(tracker.uri, str(i))
        folder.mkdir()
        (folder / "meta.yaml").write_text(about.replace(tracker.experiment, str(i)).replace("loan-", f"loan-{i}-"))
        made.append(f"{i:032d}")
        (folder / made[-1]).mkdir()
        text = (run / "meta.yaml").read_text()
        (folder / made[-1] / "meta.yaml").write_text(text.replace(run.name, made[-1]))
    assert eventually(lambda: all(watching.saw(r, RunStatus.FINISHED) for r in made))
    assert eventually(lambda: watching.watch.watches == 1 + 200 + 1)
    later = tracker.client.create_run("1100").info.run_id
    tracker.end(later)
    assert eventually(lambda: watching.saw(later, RunStatus.FINISHED))
    assert watching.blind == []


def test_a_run_that_ended_before_it_was_followed_is_announced(
    tracker: Tracker, store: MlflowFileStore, watching: Watching
) -> None:
    """Between a scan and the watch on what it found, the run may end."""
    run_id = tracker.start()
    assert eventually(lambda: watching.saw(run_id, RunStatus.RUNNING))
    ref = store.look(run_id)
    assert ref is not None
    late = Watching(store)
    late.watch.start()
    try:
        tracker.end(run_id)
        late.watch.follow(ref)
        assert eventually(lambda: late.saw(run_id, RunStatus.FINISHED))
        assert late.watch.watches == 2  # the root and the experiment: nothing is left to follow
    finally:
        late.watch.stop()


def test_runs_that_were_open_before_the_start_are_followed(tracker: Tracker, store: MlflowFileStore) -> None:
    run_id = tracker.start()
    watching = Watching(store)
    watching.watch.start()
    try:
        for ref in store.scan():
            watching.watch.follow(ref)
        tracker.end(run_id)
        assert eventually(lambda: watching.saw(run_id, RunStatus.FINISHED))
    finally:
        watching.watch.stop()


def test_a_whole_run_moved_in_is_seen(tracker: Tracker, watching: Watching, tmp_path: Path) -> None:
    run_id = tracker.finished()
    folder = Path(tracker.uri, tracker.experiment, run_id)
    shutil.move(folder, tmp_path / "aside")
    watching.seen.clear()
    shutil.move(tmp_path / "aside", folder)
    assert eventually(lambda: watching.saw(run_id, RunStatus.FINISHED))


def test_many_runs_at_once_from_many_threads(tracker: Tracker, watching: Watching) -> None:
    made: list[str] = []

    def work() -> None:
        for _ in range(15):
            made.append(tracker.finished())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 60
    assert eventually(lambda: all(watching.saw(r, RunStatus.FINISHED) for r in made))
    assert eventually(lambda: watching.watch.watches == 2)


def test_at_the_kernels_limit_it_says_that_it_is_blind(
    tracker: Tracker, watching: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    def limited(*_: object) -> WatchDescriptor:
        raise OSError(errno.ENOSPC, "inotify watch limit reached")

    monkeypatch.setattr(watching.watch._inotify, "add_callback", limited)
    run_id = tracker.start()
    assert eventually(lambda: bool(watching.blind))
    assert "limit reached" in watching.blind[0]
    tracker.end(run_id)
    monkeypatch.undo()
    after = tracker.start()
    assert eventually(lambda: watching.saw(after, RunStatus.RUNNING))


def test_a_folder_that_may_not_be_watched_is_said(
    tracker: Tracker, watching: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    """watchdog answers -1 and raises nothing where permissions forbid a watch."""
    monkeypatch.setattr(watching.watch._inotify, "add_callback", lambda *_: WatchDescriptor(-1))
    tracker.start()
    assert eventually(lambda: bool(watching.blind))
    assert "ermission" in watching.blind[0]


def test_an_overflow_is_said_once(watching: Watching) -> None:
    event = InotifyEvent(WatchDescriptor(-1), InotifyConstants.IN_Q_OVERFLOW, 0, b"")
    watching.watch._inotify.handle_event(event)
    assert len(watching.blind) == 1
    assert "overflow" in watching.blind[0]


def test_a_store_that_is_removed_and_made_again_is_watched_again(
    tracker: Tracker, watching: Watching, store: MlflowFileStore
) -> None:
    aside = store.root.with_name("aside")
    shutil.copytree(store.root, aside)
    shutil.rmtree(store.root)
    assert eventually(lambda: any("removed" in why for why in watching.blind))
    assert eventually(lambda: watching.watch.watches == 0)
    shutil.copytree(aside, store.root)
    first = tracker.start()
    (ref,) = [r for r in store.scan() if r.run_id == first]  # the sweep that "blind" asks for
    watching.watch.follow(ref)
    second = tracker.start()
    assert eventually(lambda: watching.saw(second, RunStatus.RUNNING))


def test_stopping_leaves_no_thread_and_no_descriptor(store: MlflowFileStore) -> None:
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir()))
    for _ in range(3):
        watching = Watching(store)
        watching.watch.start()
        watching.watch.stop()
        assert watching.blind == []
    assert eventually(lambda: len(list(descriptors.iterdir())) <= before)
