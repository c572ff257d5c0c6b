"""A tracking server: pages, clocks that lie, an address with a password in it, and a server that goes away."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from support.relay import Refusing, Relay
from support.trackers import Tracker, track

from venturalitica_agent.errors import AgentError, StoreUnavailable
from venturalitica_agent.stores import mlflow_remote
from venturalitica_agent.stores.mlflow_remote import MlflowRemoteStore
from venturalitica_agent.stores.naming import redacted, store_id
from venturalitica_agent.stores.opening import open_mlflow

pytestmark = pytest.mark.xdist_group("mlflow-server")
LATER = 4_000_000_000_000  # a time of our own, so that runs of other tests on the same server stay out of sight


@pytest.fixture
def tracker(request: pytest.FixtureRequest, tmp_path: Path) -> Tracker:
    return track("http", request, tmp_path)


def ended_since(tracker: Tracker, since: int) -> list[str]:
    assert isinstance(tracker.store, MlflowRemoteStore)
    return [r.run_id for r in tracker.store._ascending(since) if r.experiment_id == tracker.experiment]


def test_more_runs_than_a_page_come_each_once(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_remote, "_PAGE", 3)
    made = [tracker.finished(end_time=LATER + i // 2) for i in range(10)]
    running = {tracker.start() for _ in range(4)}
    since = ended_since(tracker, LATER)
    assert sorted(since) == sorted(made)
    assert len([r for r in tracker.store.scan() if r.experiment_id == tracker.experiment]) == 14
    assert running <= {r.run_id for r in tracker.store.recent(LATER)}


def test_more_runs_in_one_millisecond_than_a_page(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_remote, "_PAGE", 2)
    same = [tracker.finished(end_time=LATER + 10_000) for _ in range(7)]
    after = tracker.finished(end_time=LATER + 10_001)
    found = ended_since(tracker, LATER + 10_000)
    assert sorted(found) == sorted([*same, after])


def test_the_window_begins_at_the_asked_instant(tracker: Tracker) -> None:
    before, at, after = (tracker.finished(end_time=LATER + 20_000 + i) for i in (-1, 0, 1))
    assert ended_since(tracker, LATER + 20_000) == [at, after]
    assert before not in {r.run_id for r in tracker.store.recent(LATER + 20_000)}


def test_credentials_in_the_address_show_nowhere(tracker: Tracker) -> None:
    secret = "s3cr3t-pa%40ss"
    uri = tracker.uri.replace("http://", f"http://alice:{secret}@")
    store = open_mlflow(uri)
    run_id = tracker.finished()
    shown = [store.uri, repr(store), store.run_link(store.get_run(run_id)), store.id]
    assert store.id == tracker.store.id
    away = open_mlflow(f"http://alice:{secret}@127.0.0.1:1/path?token={secret}")
    for ask in (away.ping, away.experiments, lambda: away.look("a" * 32), lambda: list(away.scan())):
        with pytest.raises(AgentError) as caught:
            ask()
        shown += [str(caught.value), str(caught.value.diagnostics()), caught.value.remedy, caught.value.subject]
    assert not [text for text in shown if "s3cr3t" in text or "alice" in text]


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://u:p@host:5000/x/?token=t#f", "http://host:5000/x"),
        ("https://Host/", "https://host"),
        ("http://u:p@[::1]:5000", "http://[::1]:5000"),
        ("postgresql://u:p@db/mlflow", "postgresql://db/mlflow"),
        ("sqlite:////tmp/mlflow.db", "sqlite:////tmp/mlflow.db"),
        ("/srv/mlruns", "/srv/mlruns"),
    ],
)
def test_what_is_shown_of_an_address(uri: str, shown: str) -> None:
    assert redacted(uri) == shown
    assert store_id(uri) == store_id(shown)
    assert len(store_id(uri)) == 12


def test_a_server_that_stops_is_away_soon_and_works_again_when_it_is_back(tracker: Tracker) -> None:
    run_id = tracker.finished()
    with Relay(tracker.uri) as relay:
        store = open_mlflow(relay.uri)
        before = store.get_run(run_id)
        relay.close()
        for ask in (
            store.ping,
            lambda: store.look(run_id),
            lambda: store.get_run(run_id),
            lambda: list(store.recent(0)),  # type: ignore[union-attr]
            lambda: store.set_tags(run_id, {"venturalitica.status": "pass"}),
            lambda: store.put_files(run_id, {"venturalitica/x": b"x"}),
        ):
            started = time.monotonic()
            with pytest.raises(StoreUnavailable) as caught:
                ask()
            assert time.monotonic() - started < 20
            assert "again" in caught.value.remedy
        relay.open()
        store.ping()
        assert store.get_run(run_id) == before
        store.put_files(run_id, {"venturalitica/x": b"x"})
        assert store.read_file(run_id, "venturalitica/x") == b"x"


@pytest.mark.parametrize(("code", "words"), [(401, "UNAUTHENTICATED"), (403, "PERMISSION_DENIED"), (503, "x")])
def test_a_server_that_refuses_us_is_away_until_somebody_repairs_that(code: int, words: str) -> None:
    with Refusing(code, f'{{"error_code": "{words}", "message": "no"}}') as uri, pytest.raises(StoreUnavailable):
        open_mlflow(uri).look("a" * 32)
