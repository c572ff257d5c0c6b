"""An agent that is put in the place of an older one goes on with the older one's state."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import training
from workplace import AUDITS, ROOT, Workplace

FIRST = ROOT / "tests" / "unit" / "state" / "first_schema.sql"


def test_a_new_agent_on_the_first_agents_state_repeats_nothing_and_goes_on(place: Workplace, uri: str) -> None:
    place.configure([uri], audits=AUDITS + "      prediction: prediction\n")
    table = training.table().assign(prediction=training.table().y)
    before = training.log_table(uri, table)
    place.here("audit")
    given = training.tags(uri, before)
    as_the_first_agent_left_it(place)
    after = training.log_table(uri, table)
    document = place.here("audit")
    assert document["audited"] == 1
    assert {row["run_id"]: row["status"] for row in document["verdicts"]} == {before: "pass", after: "pass"}
    assert training.tags(uri, before) == given
    assert [len(training.evidence_folders(uri, run)) for run in (before, after)] == [1, 1]
    assert place.here("status")["verdicts"] == {"pass": 2}


def as_the_first_agent_left_it(place: Workplace) -> None:
    """Its tables, with what is in the state now as far as they can hold it; what came to be later is gone."""
    folder = place.folder / ".venturalitica"
    (folder / "agent.db").rename(folder / "newer.db")
    for rest in folder.glob("agent.db-*"):
        rest.unlink()
    with closing(sqlite3.connect(folder / "agent.db")) as db, db:
        db.executescript(FIRST.read_text(encoding="utf-8"))
        db.execute("ATTACH ? AS newer", (str(folder / "newer.db"),))
        for name in ("runs", "audits", "policies"):
            columns = ", ".join(f'"{row[1]}"' for row in db.execute(f"PRAGMA main.table_info({name})"))
            db.execute(f"INSERT INTO main.{name} ({columns}) SELECT {columns} FROM newer.{name}")
