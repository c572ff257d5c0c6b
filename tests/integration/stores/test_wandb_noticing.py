"""Noticing runs of a W&B project: none is lost, none comes twice, whatever the pages and the names are like."""

from __future__ import annotations

import base64
import itertools
import json
import threading
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs
from support.odd_server import OddServer
from support.wandb_world import Lab

from venturalitica_agent.detect.poll import Poll
from venturalitica_agent.domain.run import RunRef, RunStatus
from venturalitica_agent.errors import RetryableError, RunGone, StoreUnavailable
from venturalitica_agent.stores import wandb_project
from venturalitica_agent.stores.wandb_http import Key, WandbHttp
from venturalitica_agent.stores.wandb_project import WandbProject

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def ms(when: datetime) -> int:
    return int(when.timestamp() * 1000)


def ids(refs: object) -> list[str]:
    return [ref.run_id for ref in refs]  # type: ignore[attr-defined]


def test_every_run_of_many_pages_is_seen_once_newest_first(lab: Lab) -> None:
    for n in range(250):
        lab.run(f"r{n:03}", at=NOW + timedelta(seconds=n))
    store = lab.store()
    assert ids(store.scan()) == [f"r{n:03}" for n in reversed(range(250))]
    assert lab.asked() == ["Runs"] * 3
    lab.server.faults.hide_pages(on="Runs", times=2)
    assert len(set(ids(store.scan()))) == 250
    assert sorted(ids(store.recent(ms(NOW + timedelta(seconds=240))))) == [f"r{n}" for n in range(240, 250)]


def test_a_run_that_ends_while_the_pages_are_read_hides_no_other(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb_project, "_PAGE", 10)
    runs = [lab.run(f"r{n:02}", state="running", at=NOW + timedelta(seconds=n)) for n in range(40)]
    for read in (lab.store().recent(ms(NOW)), lab.store().scan()):
        seen = list(itertools.islice(read, 5))
        for run in (runs[0], runs[-1], runs[20]):  # whatever the order, one of them moves from one page to another
            run.heartbeat_at += timedelta(hours=1)
        lab.run(at=NOW + timedelta(days=1))
        assert {r.name for r in runs} <= set(ids([*seen, *read]))


def test_what_ended_in_the_window_or_runs_still_is_recent(lab: Lab) -> None:
    lab.run("old", at=NOW - timedelta(hours=1))
    lab.run("on-the-edge", at=NOW)
    lab.run("late", at=NOW + timedelta(seconds=1))
    lab.run("alive", state="running", at=NOW + timedelta(seconds=2))
    store = lab.store()
    assert set(ids(store.recent(ms(NOW)))) == {"on-the-edge", "late", "alive"}
    assert set(ids(store.recent(ms(NOW) + 999))) == {"on-the-edge", "late", "alive"}  # the server keeps whole seconds
    assert ids(store.recent(ms(NOW + timedelta(days=1)))) == []


def test_every_way_to_find_a_run_gives_the_same_reference(lab: Lab) -> None:
    run = lab.run(at=NOW, history_lines=['{"loss": 1}', '{"loss": 0.5}'])
    store = lab.store()
    (scanned,), (recent,) = store.scan(), store.recent(ms(NOW))
    assert scanned == recent == store.look(run.name) == store.get_run(run.name).ref
    assert scanned == RunRef(store.id, run.name, lab.project, RunStatus.FINISHED, ms(NOW), ms(NOW), mark="h2")


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("finished", RunStatus.FINISHED),
        ("failed", RunStatus.FAILED),
        ("crashed", RunStatus.FAILED),
        ("killed", RunStatus.KILLED),
        ("preempted", RunStatus.KILLED),
        ("running", RunStatus.RUNNING),
        ("preempting", RunStatus.RUNNING),
        ("pending", RunStatus.SCHEDULED),
    ],
)
def test_an_end_has_a_time_and_a_mark_and_what_runs_has_none(lab: Lab, state: str, status: RunStatus) -> None:
    lab.run("r", state=state, at=NOW)
    (ref,) = lab.store().scan()
    assert ref.status is status
    assert (ref.end_time, ref.mark) == ((ms(NOW), "h0") if status.ended else (None, ""))


def test_a_state_from_the_future_is_said_once_and_hides_no_other_run(lab: Lab) -> None:
    odd = lab.run("odd", state="hibernating")
    lab.run("fine")
    store = lab.store()
    with capture_logs() as said:
        assert [ids(store.scan()), ids(store.scan()), store.look("odd")] == [["fine"], ["fine"], None]
    assert ["hibernating" in entry["reason"] for entry in said] == [True]
    with pytest.raises(RetryableError, match="unknown state"):
        store.get_run("odd")
    odd.state = "finished"
    assert set(ids(store.scan())) == {"odd", "fine"}


HOSTILE = ["../x", "..", "a/b", "a\nb", "a\x1b[31mb", "\u202eb", "x" * 10_000, "a:b", "a?b"]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_id_is_said_and_hides_no_other_run(lab: Lab, name: str) -> None:
    lab.run(name)
    lab.run("fine")
    store = lab.store()
    with capture_logs() as said:
        assert [ids(store.scan()), ids(store.recent(0)), store.look(name)] == [["fine"], ["fine"], None]
    assert [(entry["event"], entry["run"]) for entry in said] == [("run.refused", repr(name)[:200])]


@pytest.mark.parametrize("name", ["50%", "back\\slash", "größe 1", "it's", "..a"])
def test_an_unusual_id_is_a_run_like_any_other(lab: Lab, name: str) -> None:
    lab.run(name)
    store = lab.store(ui="https://wandb.example/")
    assert ids(store.scan()) == [name]
    assert store.look(name) is not None
    run = store.get_run(name)
    store.put_files(name, {"venturalitica/a.json": b"{}"})
    store.set_tags(name, {"venturalitica.status": "pass"})
    assert store.get_tags(name)["venturalitica.status"] == "pass"
    tail = store.run_link(run).removeprefix(f"https://wandb.example/acme/{lab.project}/runs/")
    assert not set("/ %?#") & set(tail.replace("%", "", tail.count("%")))


def test_a_deleted_run_is_gone(lab: Lab) -> None:
    run = lab.run()
    store = lab.store()
    assert store.look(run.name)
    del run.project.runs_by_name[run.name]
    assert store.look(run.name) is None
    for call in (store.get_run, store.get_tags, store.list_files):
        with pytest.raises(RunGone):
            call(run.name)
    with pytest.raises(RunGone):
        store.set_tags(run.name, {"venturalitica.status": "pass"})
    with pytest.raises(RunGone):
        store.put_files(run.name, {"a": b"x"})


def endless(odd: OddServer, cursors: list[str | None]) -> WandbProject:
    """A store whose server always has one page more."""
    given = itertools.cycle(cursors)

    def answer(handler: object) -> None:
        info = {"endCursor": next(given), "hasNextPage": True}
        body = {"data": {"project": {"runs": {"edges": [], "pageInfo": info}}}}
        handler.say(200, json.dumps(body).encode())  # type: ignore[attr-defined]

    odd.answer = answer
    return WandbProject(WandbHttp(odd.url, lambda: Key("k", "the test")), "acme", "credit")


@pytest.mark.parametrize("cursors", [[None], [""], ["a"], ["a", "b"], ["a", "b", "c", "d"]])
def test_pages_that_turn_in_circles_end(odd: OddServer, cursors: list[str | None]) -> None:
    with pytest.raises(StoreUnavailable, match="next page"):
        list(endless(odd, cursors).scan())
    assert len(odd.seen) <= len(cursors) + 1


def test_one_poll_of_a_quiet_project_is_one_request(lab: Lab) -> None:
    for n in range(3):
        lab.run(at=NOW + timedelta(seconds=n))
    seen: list[RunRef] = []
    poll = Poll(
        lab.store(), every=30, on_runs=seen.extend, on_error=lambda *_: None, clock=lambda: NOW.timestamp() + 60
    )
    for _ in range(3):
        lab.server.reset_log()
        assert 27 <= poll.turn() <= 33
        assert [(s.kind, s.name, s.status) for s in lab.server.requests] == [("query", "Runs", 200)]
    assert len(seen) == 9


def test_the_agents_own_writes_make_no_new_revision_where_they_move_the_heartbeat(lab: Lab) -> None:
    run = lab.run(at=NOW)
    store = lab.store()
    before = store.look(run.name)
    lab.server.world.bump_heartbeat = True
    store.put_files(run.name, {"venturalitica/a.json": b"{}"})
    store.set_tags(run.name, {"venturalitica.status": "pass", "venturalitica.policy": "p@1"})
    after = store.look(run.name)
    assert before is not None
    assert after is not None
    assert after.end_time != before.end_time
    assert after.revision == before.revision


def test_a_run_that_logs_on_has_a_new_revision(lab: Lab) -> None:
    run = lab.run(at=NOW, history_lines=["{}"])
    store = lab.store()
    before = store.look(run.name)
    run.state = "running"
    assert store.look(run.name).revision != before.revision
    run.history_lines.append("{}")
    run.state = "finished"
    assert store.look(run.name).revision != before.revision


def test_eight_threads_share_a_store(lab: Lab) -> None:
    runs = [lab.run(at=NOW) for _ in range(8)]
    for run in runs:
        lab.artifact(run, f"data-{run.name}", {"test.csv": run.name.encode()})
    store, found = lab.store(), {}

    def work(name: str) -> None:
        store.get_run(name)
        found[name] = [f.path for f in store.list_files(name)]

    threads = [threading.Thread(target=work, args=(run.name,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert found == {run.name: [f"data-{run.name}:v0/test.csv"] for run in runs}


def test_the_id_of_a_store_holds_no_credentials(lab: Lab) -> None:
    plain = WandbProject(WandbHttp("https://wandb.example", lambda: None), "acme", "credit")
    with_user = WandbProject(WandbHttp("https://me:secret@wandb.example/", lambda: None), "acme", "credit")
    assert plain.id == with_user.id
    assert with_user.uri == "https://wandb.example/acme/credit"
    assert base64.b64encode(b"secret").decode() not in repr(with_user)
