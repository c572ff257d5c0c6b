"""Several real agents on one real PostgreSQL: they share the work, and no death loses or repeats any of it.

The same as `make soak-machines`, for some seconds.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from soak import prepared
from soak_machines import Fleet
from support.postgres import Postgres
from workplace import eventually

pytestmark = pytest.mark.xdist_group("machines")


def test_machines_that_are_killed_lose_nothing_and_repeat_nothing(
    tmp_path: Path, empty_database: Path, postgres_server: Postgres
) -> None:
    """The one that notices is killed in the midst of a backlog; then a helper; a new one joins."""
    fleet = Fleet(prepared(tmp_path, empty_database), postgres_server.database())
    for _ in range(9):
        fleet.soaked.train()
    try:
        fleet.start("run")
        fleet.start("run")
        fleet.start("worker")
        fleet.await_done(2, 90)
        noticing = fleet.noticing()
        assert noticing.startswith("run")
        fleet.kill(noticing)
        fleet.soaked.train()
        fleet.await_done(5, 90)
        eventually(lambda: fleet.noticing() not in ("", noticing), 60, fleet.place)
        assert fleet.noticing().startswith("run")
        fleet.kill(fleet.alive[-1])
        told = fleet.place.here("status")
        assert [one["notices"] for one in told["machines"]] == [True]
        fleet.soaked.train()
        fleet.await_done(11, 90)
    finally:
        fleet.end()
    assert fleet.broken_promises() == [], fleet.tell()
    assert len({event["by"] for event in fleet.events("audit.published")}) > 1
