"""The verdict that counts now: kept with each audit, and made up for in a state that is older than the table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from support.page_state import PageState
from support.verdicts import policy, subject

from venturalitica_agent.domain.verdict import Status
from venturalitica_agent.state.opening import open_state
from venturalitica_agent.state.reading import Reading, open_reading
from venturalitica_agent.state.tables import (
    channels,
    config_mistakes,
    counters,
    drift_checks,
    evidence_files,
    notices,
    runs,
    verdict_controls,
    verdicts,
)

PASS, FAIL, WAIVED = Status.PASS, Status.FAIL, Status.WAIVED


@pytest.fixture
def state(tmp_path: Path) -> Iterator[PageState]:
    found = PageState(tmp_path)
    yield found
    found.close()


def rows(engine: sa.Engine, table: sa.Table) -> list[tuple]:
    with engine.connect() as db:
        return sorted(tuple(row) for row in db.execute(sa.select(table)))


def grown(state: PageState) -> None:
    state.decide("r1", PASS, FAIL, at=100.0)
    state.decide("r1", FAIL, PASS, WAIVED, at=200.0, about=subject(name="other", column="gender"), name="Ñandú")
    state.decide("r1", PASS, at=150.0, policy=policy("hiring"))
    state.decide("r2", PASS, at=50.0)


def test_the_newest_verdict_of_each_run_and_policy_counts(state: PageState) -> None:
    grown(state)
    with state.engine.connect() as db:
        found = db.execute(sa.select(verdicts).order_by(verdicts.c.run_id, verdicts.c.policy)).all()
    assert [(row.run_id, row.policy, row.status, row.decided_at) for row in found] == [
        ("r1", "credit", "fail", 200.0),
        ("r1", "hiring", "pass", 150.0),
        ("r2", "credit", "pass", 50.0),
    ]
    assert found[0].folded_name == "ñandú"
    assert [len(row.model_digest) for row in found] == [len(row.data_digest) for row in found] == [64] * 3
    unmet = {(run, policy, control) for control, _, run, policy in rows(state.engine, verdict_controls)}
    assert unmet == {("r1", "credit", "control-0"), ("r1", "credit", "control-2")}


def test_the_files_of_every_audit_are_known(state: PageState) -> None:
    decision = state.decide("r1", PASS, at=100.0)
    state.decide("r1", FAIL, at=200.0, about=subject(column="gender"))
    reading = Reading(state.engine)
    folder = f"venturalitica/credit/{decision.audit_id}"
    found = reading.files_of(state.store, "r1", decision.audit_id)
    assert {f"{folder}/evidence.json", f"{folder}/SHA256SUMS", "policy_snapshot/credit.yaml"} <= set(found)


def test_an_older_state_gets_the_same_rows_when_it_is_opened(state: PageState) -> None:
    grown(state)
    before = [rows(state.engine, table) for table in (verdicts, verdict_controls)]
    with state.engine.begin() as db:
        later = (evidence_files, counters, config_mistakes, drift_checks, notices, channels)
        for table in (verdicts, verdict_controls, *later):
            table.drop(db)
        db.execute(sa.text("DROP TABLE state_version"))
        db.execute(sa.text("ALTER TABLE runs DROP COLUMN due_since"))
        next(index for index in runs.indexes if index.name == "runs_by_store").drop(db)
    again = open_state(state.settings.state)
    assert [rows(again, table) for table in (verdicts, verdict_controls)] == before
    assert "runs_by_store" in {index["name"] for index in sa.inspect(again).get_indexes("runs")}
    assert all(path.endswith("/evidence.json") for *_, path, _ in rows(again, evidence_files))
    again.dispose()


def test_a_reader_can_not_write(state: PageState) -> None:
    engine = open_reading(state.settings.state)
    with pytest.raises(sa.exc.OperationalError, match="readonly"), engine.begin() as db:
        db.execute(sa.delete(verdicts))
    engine.dispose()


def test_what_last_went_wrong_with_a_store_is_remembered_after_it_is_back(state: PageState) -> None:
    state.records.store_down("s", "http://s", "no answer", "start it", now=10.0)
    state.records.store_up("s", "http://s", now=20.0, scanned=True)
    reading = Reading(state.engine)
    assert reading.known_stores()["s"]["error"] == ""
    fault = reading.faults()["s"]
    assert (fault.error, fault.remedy, fault.at) == ("no answer", "start it", 10.0)
