"""What is counted must be there after a restart, whoever counts beside, and never be in the way."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from venturalitica_agent.errors import StateUnavailable
from venturalitica_agent.state.counters import BOUNDS, Counters, counted_so_far
from venturalitica_agent.state.opening import open_state


@pytest.fixture
def engine(tmp_path: Path) -> sa.Engine:
    return open_state(f"sqlite:///{tmp_path / 'state.db'}")


def test_what_two_count_at_once_is_all_there(engine: sa.Engine) -> None:
    def count(own: Counters) -> None:
        for _ in range(50):
            own.add("seen", {"by": 'a "b"'})
            own.flush()

    shared, other = Counters(engine), Counters(engine)
    threads = [threading.Thread(target=count, args=(counters,)) for counters in (shared, shared, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted_so_far(engine) == {"seen": {(("by", 'a "b"'),): 150}}
    engine.dispose()


def test_what_can_not_be_written_now_is_written_later(engine: sa.Engine) -> None:
    counters = Counters(engine)
    counters.add("seen", amount=2)
    with engine.begin() as db:
        db.exec_driver_sql("ALTER TABLE counters RENAME TO away")
    with pytest.raises(StateUnavailable):
        counters.flush()
    with engine.begin() as db:
        db.exec_driver_sql("ALTER TABLE away RENAME TO counters")
    counters.add("seen")
    counters.flush()
    counters.flush()
    assert counted_so_far(engine) == {"seen": {(): 3}}
    engine.dispose()


@pytest.fixture(scope="module")
def own_engine(tmp_path_factory: pytest.TempPathFactory) -> sa.Engine:
    return open_state(f"sqlite:///{tmp_path_factory.mktemp('counted') / 'state.db'}")


@given(st.lists(st.one_of(st.sampled_from(BOUNDS), st.floats(0, 1e6)), max_size=20))
def test_each_duration_is_in_the_first_bucket_whose_bound_it_does_not_pass(
    own_engine: sa.Engine, took: list[float]
) -> None:
    with own_engine.begin() as db:
        db.exec_driver_sql("DELETE FROM counters")
    counters = Counters(own_engine)
    for seconds in took:
        counters.observe("took", {"stage": "fetch"}, seconds)
    counters.flush()
    expected = Counter(next((f"{bound:g}" for bound in BOUNDS if seconds <= bound), "+Inf") for seconds in took)
    found = counted_so_far(own_engine)
    assert {dict(labels)["le"]: n for labels, n in found.get("took_bucket", {}).items()} == expected
    assert sum(found.get("took_sum", {}).values()) == pytest.approx(sum(took))
