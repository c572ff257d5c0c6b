"""A state made by any agent before this one becomes one of this agent; one made by a newer agent is refused."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from support.page_state import PageState

from venturalitica_agent.domain.verdict import Status
from venturalitica_agent.errors import ConfigError
from venturalitica_agent.state.migrations import config_for, upgrade
from venturalitica_agent.state.opening import MIGRATIONS, VERSION_TABLE, head, open_state, revisions
from venturalitica_agent.state.tables import audits, evidence_files, metadata, runs, verdict_controls, verdicts

FIRST = (Path(__file__).parent / "first_schema.sql").read_text(encoding="utf-8")
_OPEN = "import sys; from venturalitica_agent.state.opening import open_state; open_state(sys.argv[1]).dispose(); "


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/older.db"


@pytest.fixture
def today(tmp_path: Path) -> Iterator[PageState]:
    """A state of this agent with real verdicts in it."""
    state = PageState(tmp_path / "today")
    state.decide("r1", Status.PASS, Status.FAIL, at=100.0)
    state.decide("r1", Status.FAIL, Status.WAIVED, at=200.0, name="Ñandú")
    state.decide("r2", Status.PASS, at=50.0)
    yield state
    state.close()


def rows(engine: sa.Engine, table: sa.Table) -> list[dict[str, Any]]:
    with engine.connect() as db:
        return [dict(row) for row in db.execute(sa.select(table).order_by(*table.primary_key)).mappings()]


def version(engine: sa.Engine) -> list[str]:
    with engine.connect() as db:
        return list(db.scalars(sa.text(f"SELECT version_num FROM {VERSION_TABLE}")))


def written_by_the_first_agent(tmp_path: Path, today: PageState | None = None) -> None:
    with sqlite3.connect(tmp_path / "older.db") as db:
        db.executescript(FIRST)
    db.close()
    if today is None:
        return
    older = sa.create_engine(f"sqlite:///{tmp_path}/older.db")
    with older.begin() as db:
        for table in (runs, audits):
            known = {column["name"] for column in sa.inspect(db).get_columns(table.name)}
            for row in rows(today.engine, table):
                db.execute(sa.insert(table).values(**{name: row[name] for name in row if name in known}))
        db.execute(sa.text("INSERT INTO policies VALUES ('d', 'credit', '1', 'credit.yaml', x'00ff', 1.5)"))
    older.dispose()


def test_a_state_of_the_first_agent_becomes_one_of_today_with_all_that_was_in_it(
    tmp_path: Path, url: str, today: PageState
) -> None:
    written_by_the_first_agent(tmp_path, today)
    engine = open_state(url)
    assert version(engine) == [head()]
    for table in (runs, audits, verdicts, verdict_controls):
        assert rows(engine, table) == rows(today.engine, table)
    assert len(rows(engine, verdicts)) == 2
    evidence = {(a["audit_id"], a["evidence"], a["evidence_digest"]) for a in rows(engine, audits)}
    assert {(f["audit_id"], f["path"], f["sha256"]) for f in rows(engine, evidence_files)} <= evidence
    with engine.connect() as db:
        assert db.execute(sa.text("SELECT digest, since, until FROM policy_terms")).all() == [("d", 1.5, None)]
        assert compare_metadata(_context(db), metadata) == []
    engine.dispose()


def _context(db: sa.Connection) -> MigrationContext:
    return MigrationContext.configure(db, opts={"version_table": VERSION_TABLE})


def _described(engine: sa.Engine) -> dict[str, Any]:
    """Everything that SQLite knows of the tables, without the order in which it was told."""
    with engine.connect() as db:
        indexes = db.execute(sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"))
        tables = sorted(sa.inspect(db).get_table_names())
        columns = {
            name: sorted(tuple(row)[1:] for row in db.execute(sa.text(f'PRAGMA table_info("{name}")')))
            for name in tables
        }
        return {"indexes": {name: " ".join(sql.split()) for name, sql in indexes}, "columns": columns}


def test_the_migrations_end_at_the_tables_that_the_agent_works_with(tmp_path: Path, url: str) -> None:
    migrated = sa.create_engine(url)
    with migrated.begin() as db:
        upgrade(db)
        assert compare_metadata(_context(db), metadata) == [], "scripts/new_migration.py makes the step that is missing"
    fresh = open_state(f"sqlite:///{tmp_path}/fresh.db")
    assert _described(migrated) == _described(fresh)
    assert version(migrated) == version(fresh) == [head()]


def test_migrations_are_one_line_and_named_by_their_number(url: str) -> None:
    with sa.create_engine(url).connect() as db:
        script = ScriptDirectory.from_config(config_for(db))
    assert [step.revision for step in reversed(list(script.walk_revisions()))] == revisions()
    assert script.get_heads() == [head()]
    assert len(list((MIGRATIONS / "versions").glob("*.py"))) == len(revisions())


def test_a_step_that_fails_leaves_the_older_state_as_it_was(tmp_path: Path, url: str, today: PageState) -> None:
    written_by_the_first_agent(tmp_path, today)
    with sqlite3.connect(tmp_path / "older.db") as db:
        db.execute("UPDATE audits SET decision = '{}'")
        before = list(db.iterdump())
    with pytest.raises(KeyError):
        open_state(url)
    with sqlite3.connect(tmp_path / "older.db") as db:
        assert list(db.iterdump()) == before


def test_an_older_agent_refuses_a_state_of_a_newer_one_and_leaves_it_alone(tmp_path: Path, url: str) -> None:
    engine = open_state(url)
    with engine.begin() as db:
        db.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(ConfigError, match="a newer agent wrote this state") as caught:
        open_state(url)
    assert "9999" in caught.value.what
    assert head() in caught.value.what
    assert "install the newer agent" in caught.value.remedy
    assert version(engine) == ["9999"]


def test_the_database_of_another_program_is_refused_and_left_alone(tmp_path: Path, url: str) -> None:
    with sqlite3.connect(tmp_path / "older.db") as db:
        db.execute("CREATE TABLE runs (run_uuid TEXT PRIMARY KEY, name TEXT)")
    with pytest.raises(ConfigError, match="another program's database"):
        open_state(url)
    assert sa.inspect(sa.create_engine(url)).get_table_names() == ["runs"]


@pytest.mark.parametrize("older", [True, False])
def test_processes_that_open_a_state_at_once_all_get_it(
    tmp_path: Path, url: str, older: bool, today: PageState
) -> None:
    if older:
        written_by_the_first_agent(tmp_path, today)
    at_once = [subprocess.Popen([sys.executable, "-c", _OPEN, url], stderr=subprocess.PIPE) for _ in range(3)]
    assert [(process.communicate()[1], process.returncode) for process in at_once] == [(b"", 0)] * 3
    engine = open_state(url)
    assert version(engine) == [head()]
    assert len(rows(engine, verdicts)) == (2 if older else 0)


def test_a_state_that_is_up_to_date_opens_without_the_code_that_migrates(url: str) -> None:
    for _ in ("made", "opened again"):
        code = _OPEN + "sys.exit('alembic' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code, url], check=False).returncode == 0
