"""The ledger's rows: what goes in comes out, who is next, and that two writers can't undo each other."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from venturalitica_agent.domain.ledger import Entry, Phase
from venturalitica_agent.domain.run import RunRef, RunStatus
from venturalitica_agent.errors import ConfigError
from venturalitica_agent.state.ledger import Ledger
from venturalitica_agent.state.opening import open_state
from venturalitica_agent.state.tables import audits


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(open_state(f"sqlite:///{tmp_path}/folder/state.db"))


def entry(run_id: str, phase: Phase = Phase.DUE, *, end_time: int | None = 1, **fields: object) -> Entry:
    ref = RunRef("s", run_id, "1", RunStatus.FINISHED, start_time=0, end_time=end_time, deleted=phase is Phase.GONE)
    return Entry(ref, phase, **fields)  # type: ignore[arg-type]


def put(ledger: Ledger, *entries: Entry, now: float = 1.0) -> None:
    assert ledger.swap([(ledger.get(e.ref.store, e.ref.run_id), e) for e in entries], now=now)


entries = st.builds(
    Entry,
    st.builds(
        RunRef,
        st.just("s"),
        st.text("abc0", min_size=1, max_size=4),
        st.text(max_size=10).filter(lambda t: "\x00" not in t and t.isprintable()),
        st.sampled_from(RunStatus),
        start_time=st.none() | st.integers(-(2**63), 2**63 - 1),
        end_time=st.none() | st.integers(-(2**63), 2**63 - 1),
        inputs=st.sampled_from(["", "0" * 16]),
    ),
    st.sampled_from([p for p in Phase if p is not Phase.GONE]),
    st.text(max_size=20).filter(lambda t: t.isprintable()),
    st.booleans(),
    st.floats(0, 1e10),
    st.integers(0, 1000),
    st.integers(0, 1000),
    st.text("0a", max_size=32),
    st.just("FINISHED@1#"),
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entry=entries)
def test_what_is_put_comes_back(ledger: Ledger, entry: Entry) -> None:
    put(ledger, entry)
    assert ledger.get("s", entry.ref.run_id) == entry
    assert ledger.of_store("s")[entry.ref.run_id] == entry


def test_next_are_live_runs_then_the_newest(ledger: Ledger) -> None:
    put(
        ledger,
        entry("old", end_time=1),
        entry("new", end_time=9),
        entry("live-old", end_time=2, live=True),
        entry("live-new", end_time=3, live=True),
        entry("no-end", end_time=None),
        entry("not-yet", end_time=100, ready_at=50.0),
        entry("claimed", Phase.CLAIMED),
        entry("settling", Phase.SETTLING),
    )
    assert [e.ref.run_id for e in ledger.due(10.0, 99)] == ["live-new", "live-old", "new", "old", "no-end"]
    assert [e.ref.run_id for e in ledger.due(60.0, 3)] == ["live-new", "live-old", "not-yet"]
    assert [e.ref.run_id for e in ledger.due(10.0, 9, only=[("s", "old"), ("t", "new")])] == ["old"]
    assert ledger.due(10.0, 9, only=[]) == []


def test_what_settled_comes_in_the_order_of_its_time(ledger: Ledger) -> None:
    put(ledger, *(entry(r, Phase.SETTLING, ready_at=at) for r, at in (("c", 3.0), ("a", 1.0), ("b", 2.0))))
    assert [e.ref.run_id for e in ledger.settle(2.0)] == ["a", "b"]
    assert ledger.next_moment(0.5) == 1.0


def test_a_move_is_refused_when_phase_or_revision_changed_meanwhile(ledger: Ledger) -> None:
    known = entry("r")
    put(ledger, known)
    assert ledger.move(known, Phase.CLAIMED, now=2.0, job="j")
    assert not ledger.move(known, Phase.CLAIMED, now=3.0, job="other")
    claimed = ledger.get("s", "r")
    assert claimed is not None
    assert (claimed.phase, claimed.job) == (Phase.CLAIMED, "j")
    newer = replace(claimed, ref=replace(claimed.ref, end_time=2))
    put(ledger, newer)
    assert not ledger.move(claimed, Phase.DONE, now=4.0)
    assert ledger.move(newer, Phase.DONE, now=4.0)
    assert not ledger.move(entry("nobody"), Phase.DONE, now=4.0)


def test_a_swap_leaves_what_changed_meanwhile_and_says_so(ledger: Ledger) -> None:
    was, other = entry("r"), entry("other")
    put(ledger, was, other)
    assert ledger.move(was, Phase.CLAIMED, now=2.0)
    changes = [(was, replace(was, phase=Phase.GONE)), (other, replace(other, phase=Phase.GONE)), (None, entry("new"))]
    assert not ledger.swap(changes, now=3.0)
    assert {r: e.phase for r, e in ledger.of_store("s").items()} == {
        "r": Phase.CLAIMED,
        "other": Phase.GONE,
        "new": Phase.DUE,
    }
    assert not ledger.swap([(None, entry("new", Phase.DONE))], now=4.0)
    assert ledger.swap([], now=5.0)


def test_of_many_writers_exactly_one_wins(ledger: Ledger) -> None:
    known = entry("r")
    put(ledger, known)
    won: list[bool] = []
    start = threading.Barrier(6)

    def work(i: int) -> None:
        start.wait()
        won.append(ledger.move(known, Phase.CLAIMED, now=2.0, job=str(i)))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 5 + [True]


def test_every_run_is_counted_once(ledger: Ledger) -> None:
    put(ledger, entry("a"), entry("b"), entry("c", Phase.IGNORED, reason="FAILED"), entry("d", Phase.GONE))
    assert ledger.counts() == {("s", "due", ""): 2, ("s", "ignored", "FAILED"): 1, ("s", "gone", ""): 1}
    assert [e.ref.run_id for e in ledger.in_phase(Phase.DUE)] == ["a", "b"]
    assert ledger.in_phase(Phase.DUE, "elsewhere") == []


def test_ten_thousand_entries_go_in_and_out(ledger: Ledger) -> None:
    many = [(None, entry(f"r{i}", end_time=i)) for i in range(10_000)]
    assert ledger.swap(many, now=1.0)
    assert len(ledger.of_store("s")) == 10_000
    assert [e.ref.run_id for e in ledger.due(10.0, 2)] == ["r9999", "r9998"]
    assert ledger.due(10.0, 1, only=[("s", f"r{i}") for i in range(500)])[0].ref.run_id == "r499"


def test_the_state_outlives_the_process_that_wrote_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/state.db"
    first = open_state(url)
    put(Ledger(first), entry("r", Phase.CLAIMED, job="j"))
    first.dispose()
    again = Ledger(open_state(url)).get("s", "r")
    assert again == entry("r", Phase.CLAIMED, job="j")


def test_a_state_that_cannot_be_opened_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError) as caught:
        open_state(f"sqlite:///{tmp_path}/file/state.db")
    assert "state:" in caught.value.remedy
    (tmp_path / "text.db").write_text("no database, " * 500)
    with pytest.raises(ConfigError):
        open_state(f"sqlite:///{tmp_path}/text.db")


def test_a_commit_is_on_the_disk_when_it_returns(tmp_path: Path) -> None:
    with open_state(f"sqlite:///{tmp_path}/state.db").connect() as db:
        assert db.execute(sa.text("PRAGMA synchronous")).scalar() == 2
        assert db.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"


def test_runs_that_are_gone_are_forgotten_unless_they_have_a_verdict(tmp_path: Path) -> None:
    engine = open_state(f"sqlite:///{tmp_path}/state.db")
    ledger = Ledger(engine)
    put(ledger, entry("old", Phase.GONE), entry("audited", Phase.GONE), entry("there", Phase.DUE), now=10.0)
    put(ledger, entry("young", Phase.GONE), now=20.0)
    columns = {c.name: "x" if isinstance(c.type, sa.String | sa.Text) else 0 for c in audits.c if not c.nullable}
    with engine.begin() as db:
        db.execute(audits.insert().values({**columns, "store": "s", "run_id": "audited", "decision": {}}))
    assert ledger.forget_gone(15.0) == 1
    assert sorted(e.ref.run_id for e in ledger.every()) == ["audited", "there", "young"]


def test_the_queue_is_as_old_as_its_first_run_is_due_however_often_that_was_tried(ledger: Ledger) -> None:
    first, later = entry("first", Phase.SETTLING), entry("later")
    put(ledger, first, now=1.0)
    assert ledger.queue(5.0) == {"depth": 0, "oldest": 0.0, "retries": 0}
    assert ledger.move(first, Phase.DUE, now=10.0)
    put(ledger, later, now=50.0)
    for attempt in range(3):
        due = ledger.get("s", "first")
        assert due is not None
        assert ledger.move(due, Phase.CLAIMED, now=20.0 + attempt, job="j")
        claimed = ledger.get("s", "first")
        assert claimed is not None
        again = replace(claimed, phase=Phase.DUE, attempts=attempt + 1, reason="its store was away")
        assert ledger.swap([(claimed, again)], now=21.0 + attempt)
    assert ledger.queue(100.0) == {"depth": 2, "oldest": 90.0, "retries": 1}
    assert ledger.move(again, Phase.DONE, now=101.0)
    assert ledger.queue(110.0)["oldest"] == 60.0
    assert ledger.move(replace(again, phase=Phase.DONE), Phase.DUE, now=120.0)
    assert ledger.move(later, Phase.IGNORED, now=121.0)
    assert ledger.queue(130.0)["oldest"] == 10.0
