"""`mlflow.db` watched by its version: every commit changes it, whatever happens to the file in between."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from pathlib import Path

import pytest
from support.trackers import Tracker, track

from venturalitica_agent.domain.run import RunStatus
from venturalitica_agent.errors import StoreUnavailable
from venturalitica_agent.stores.mlflow_sqlite import MlflowSqliteStore
from venturalitica_agent.stores.opening import open_mlflow


@pytest.fixture
def tracker(request: pytest.FixtureRequest, tmp_path: Path) -> Tracker:
    return track("sqlite", request, tmp_path)


@pytest.fixture
def store(tracker: Tracker) -> MlflowSqliteStore:
    assert isinstance(tracker.store, MlflowSqliteStore)
    return tracker.store


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_each_commit_changes_the_version_and_shows_in_recent(
    tracker: Tracker, store: MlflowSqliteStore, journal: str
) -> None:
    with sqlite3.connect(store.path) as db:
        assert db.execute(f"PRAGMA journal_mode={journal}").fetchone() == (journal,)
    db.close()
    versions = [store.version()]
    run_id = tracker.start()
    versions.append(store.version())
    assert [r.status for r in store.recent(0) if r.run_id == run_id] == [RunStatus.RUNNING]
    tracker.end(run_id)
    versions.append(store.version())
    assert [r.status for r in store.recent(0) if r.run_id == run_id] == [RunStatus.FINISHED]
    assert len(set(versions)) == 3
    assert store.version() == versions[-1]


def test_recent_is_what_ended_since_and_what_has_not_ended(tracker: Tracker, store: MlflowSqliteStore) -> None:
    old, new = tracker.finished(end_time=1_000), tracker.finished(end_time=5_000)
    running = tracker.start()
    assert {r.run_id for r in store.recent(5_000)} == {new, running}
    assert {r.run_id for r in store.recent(0)} == {old, new, running}


def test_a_locked_database_is_away_for_a_while_and_then_back(tracker: Tracker, store: MlflowSqliteStore) -> None:
    run_id = tracker.finished()
    store.version()
    other = sqlite3.connect(store.path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    timer = threading.Timer(1.0, lambda: other.execute("ROLLBACK"))
    timer.start()
    assert store.look(run_id) is not None  # waits
    timer.join()
    other.execute("BEGIN EXCLUSIVE")
    store._held.execute("PRAGMA busy_timeout=100")  # type: ignore[union-attr] # instead of waiting five seconds
    before = store._opened
    with pytest.raises(StoreUnavailable, match="locked"):
        list(store.scan())
    other.execute("ROLLBACK")
    assert {r.run_id for r in store.scan()} == {run_id}
    assert store._opened == before + 1
    other.close()


def test_a_version_after_trouble_is_another_one(tracker: Tracker, store: MlflowSqliteStore) -> None:
    """The pragma starts anew on a new connection, so alone it could repeat itself and hide a commit."""
    tracker.finished()
    before = store.version()
    with pytest.raises(StoreUnavailable), store._reading() as db:
        db.execute("SELECT * FROM no_such_table")
    tracker.finished()
    assert store.version() != before


def test_a_database_in_the_place_of_another_is_noticed(
    tracker: Tracker, store: MlflowSqliteStore, empty_database: Path
) -> None:
    run_id = tracker.finished()
    before = store.version()
    assert [r.run_id for r in store.scan()] == [run_id]
    store.path.unlink()
    with pytest.raises(StoreUnavailable, match="no such database"):
        store.version()
    shutil.copy(empty_database, store.path)
    assert store.version() != before
    assert list(store.scan()) == []


def test_a_database_that_is_not_there_is_awaited_and_not_made(tmp_path: Path, empty_database: Path) -> None:
    path = tmp_path / "mlflow.db"
    store = open_mlflow(f"sqlite:///{path}")
    assert isinstance(store, MlflowSqliteStore)
    for ask in (store.ping, store.version, store.experiments, lambda: list(store.scan()), lambda: store.look("a")):
        with pytest.raises(StoreUnavailable, match="no such database") as caught:
            ask()
        assert caught.value.remedy
    store.prepare()
    assert not path.exists()
    shutil.copy(empty_database, path)
    store.ping()
    assert list(store.scan()) == []


def test_an_empty_file_and_another_kind_of_file_are_unavailable(tmp_path: Path) -> None:
    for name, content in (("empty.db", b""), ("text.db", b"not a database, certainly not " * 100)):
        (tmp_path / name).write_bytes(content)
        store = open_mlflow(f"sqlite:///{tmp_path}/{name}")
        with pytest.raises(StoreUnavailable):
            store.ping()
        with pytest.raises(StoreUnavailable):
            list(store.scan())


def test_text_where_a_time_belongs_costs_nobody_a_scan(tracker: Tracker, store: MlflowSqliteStore) -> None:
    bad, good = tracker.finished(), tracker.finished()
    with sqlite3.connect(store.path) as db:
        db.execute("UPDATE runs SET end_time = 'yesterday', start_time = X'00' WHERE run_uuid = ?", (bad,))
    db.close()
    found = {r.run_id: r for r in store.scan()}
    assert set(found) == {bad, good}
    assert (found[bad].start_time, found[bad].end_time) == (None, None)


def test_reading_does_not_change_the_database(tracker: Tracker, store: MlflowSqliteStore) -> None:
    tracker.finished()
    store.version()
    before = store.path.read_bytes()
    with sqlite3.connect(store.path) as other:
        version = other.execute("PRAGMA data_version").fetchone()
        store.experiments()
        list(store.scan())
        list(store.recent(0))
        assert other.execute("PRAGMA data_version").fetchone() == version
    other.close()
    assert store.path.read_bytes() == before
