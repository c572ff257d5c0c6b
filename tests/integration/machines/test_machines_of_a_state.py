"""Who works on a PostgreSQL state, who notices, and who is dead: by locks of a real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from venturalitica_agent.attest.keys import Keys
from venturalitica_agent.attest.notary import Notary
from venturalitica_agent.claim.crew import Crew, must_be_reachable
from venturalitica_agent.errors import ConfigError, StateUnavailable, StoreUnavailable
from venturalitica_agent.state.log import Log
from venturalitica_agent.state.machines import GRACE, Machines
from venturalitica_agent.state.opening import open_state

pytestmark = pytest.mark.xdist_group("machines")

Join = Callable[..., Crew]


@pytest.fixture
def join(url: str) -> Iterator[Join]:
    """Lets one machine more work on the state."""
    joined: list[Crew] = []

    def one(version: str = "1.0", clock: Callable[[], float] = lambda: 0.0) -> Crew:
        crew = Crew(Machines(url, version=version, clock=clock), version=version)
        joined.append(crew)
        with crew.joining():
            return crew

    yield one
    for crew in joined:
        crew.machines.leave()


def end_sessions(url: str, *, of: str = "venturalitica-agent%") -> None:
    """What a restart of the database does to those who are connected."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as db:
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE :of"
        db.execute(sa.text(query), {"of": of})
    engine.dispose()


def test_one_machine_notices_and_another_takes_over_when_it_leaves(join: Join) -> None:
    first, second = join(), join()
    assert first.machines.beat(notice=True)
    assert not second.machines.beat(notice=True)
    assert [one.notices for one in second.machines.all()].count(True) == 1
    first.machines.leave()
    assert second.machines.is_gone(first.machines.id)
    assert second.machines.beat(notice=True)
    assert [one.notices for one in second.machines.all()] == [True]


def test_a_machine_that_only_helps_never_notices(join: Join) -> None:
    helper = join()
    assert not helper.machines.beat(notice=False)
    assert not helper.may_decide()


def test_the_living_are_not_gone_and_nobody_is_gone_to_itself(join: Join) -> None:
    first, second = join(), join()
    assert not first.machines.is_gone(second.machines.id)
    assert not first.machines.is_gone(first.machines.id)
    assert first.machines.is_gone("a machine of last year")
    assert not first.machines.is_gone(second.machines.id)  # looking took no lock away


def test_a_machine_that_lost_its_session_no_longer_notices_and_comes_back(join: Join, url: str) -> None:
    now = [100.0]
    first = join(clock=lambda: now[0])
    assert first.machines.beat(notice=True)
    end_sessions(url)
    with pytest.raises(StateUnavailable) as told:
        first.machines.beat(notice=True)
    assert told.value.remedy
    assert not first.machines.notices
    assert first.machines.beat(notice=True)
    # All lost their sessions in that moment: who has not come back yet is not taken for dead.
    assert not first.machines.is_gone("another one")
    now[0] += GRACE
    assert first.machines.is_gone("another one")


def test_a_session_that_the_database_still_believes_in_does_not_keep_its_machine_out(url: str) -> None:
    """After a broken network: the machine is back before the database gave its old session up."""
    cut = Machines(url, version="1.0")
    with cut.joining():
        pass
    assert cut.beat(notice=True)
    forgotten, cut._db = cut._db, None
    cut.notices = False
    assert cut.beat(notice=True)
    assert len(cut.all()) == 1
    assert forgotten is not None
    forgotten.invalidate()
    cut.leave()


def test_another_version_is_refused_while_the_old_one_works(join: Join, url: str) -> None:
    old = join(version="1.0")
    with pytest.raises(ConfigError) as told:
        join(version="1.1")
    assert "version 1.0 of the agent works on this state, and this is 1.1" in told.value.what
    assert "stop those of the old one" in told.value.remedy
    assert len(old.machines.all()) == 2  # the refused one is known until it leaves
    end_sessions(url, of="venturalitica-agent/1.0/%")
    join(version="1.1")


def test_other_waivers_keep_a_machine_from_work_until_it_has_the_same(join: Join) -> None:
    first, second = join(), join()
    first.machines.beat(notice=True)
    for crew in (first, second):
        crew.machines.tell("a" * 64)
    assert second.agrees()
    first.machines.tell("b" * 64)
    assert not second.agrees()
    second.machines.tell("b" * 64)
    assert second.agrees()


def test_there_is_room_for_what_all_machines_together_can_do(join: Join) -> None:
    first = join()
    assert first.room(2) == 2
    join()
    join()
    assert first.room(2) == 6


def test_a_machine_with_another_key_or_none_is_refused_with_where_to_get_it(url: str, tmp_path: Path) -> None:
    log = Log(open_state(url))
    first = Notary(Keys(tmp_path / "first"), log)
    first.must_agree()  # there is no log yet
    first.note_key()
    first.must_agree()
    other = Keys(tmp_path / "other")
    other.current()
    with pytest.raises(ConfigError) as told:
        Notary(other, log).must_agree()
    assert "is signed with key" in told.value.what
    assert "signing.pem" in told.value.remedy
    with pytest.raises(ConfigError, match="this machine has no key"):
        Notary(Keys(tmp_path / "none"), log).must_agree()
    assert not (tmp_path / "none").exists()  # asking made none
    (tmp_path / "copied").mkdir()
    (tmp_path / "copied" / "signing.pem").touch(0o600)
    (tmp_path / "copied" / "signing.pem").write_bytes((tmp_path / "first" / "signing.pem").read_bytes())
    Notary(Keys(tmp_path / "copied"), log).must_agree()
    first.rotate()
    with pytest.raises(ConfigError):
        Notary(Keys(tmp_path / "copied"), log).must_agree()


def test_tables_are_not_changed_under_machines_that_work_with_them(join: Join, url: str) -> None:
    open_state(url).dispose()
    crew = join()
    engine = sa.create_engine(url)
    with engine.begin() as db:
        db.exec_driver_sql("UPDATE state_version SET version_num = '0001'")
    with pytest.raises(ConfigError, match="1 older agents work on it"):
        open_state(url)
    crew.machines.leave()
    engine.dispose()


def test_a_store_whose_folder_is_not_on_this_machine_is_away(tmp_path: Path) -> None:
    pings: list[int] = []
    store: Any = SimpleNamespace(roots=(tmp_path,), uri="store", ping=lambda: pings.append(1))
    must_be_reachable(store)
    assert pings
    store.roots = (tmp_path, tmp_path / "elsewhere")
    with pytest.raises(StoreUnavailable, match="this machine has no folder") as told:
        must_be_reachable(store)
    assert "mount it" in told.value.remedy
