"""The durable engine in real processes that are really killed: a job ends once, a finished step is never repeated."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

PROGRAM = Path(__file__).parents[2] / "support" / "engine_process.py"


def engine(folder: Path, *commands: str) -> subprocess.Popen[str]:
    program = [sys.executable, str(PROGRAM), str(folder), *commands]
    return subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run(folder: Path, *commands: str) -> int:
    process = engine(folder, *commands)
    output, _ = process.communicate(timeout=100)
    assert process.returncode in (0, -signal.SIGKILL), output
    return process.returncode


def log(folder: Path) -> list[str]:
    return (folder / "log").read_text().splitlines()


def test_a_job_that_is_enqueued_twice_runs_once(tmp_path: Path) -> None:
    run(tmp_path, "submit:a", "submit:a", "wait:a", "submit:a", "submit:b", "wait:b", "linger:0.5")
    counted = Counter(log(tmp_path))
    for name in "ab":
        assert [counted[line] for line in (f"first {name}", f"second {name} {name} 0.5", f"end {name}")] == [1, 1, 1]
    run(tmp_path, "submit:a", "linger:1")
    assert Counter(log(tmp_path))["first a"] == 1


def test_after_a_kill_between_two_steps_the_first_is_not_repeated(tmp_path: Path) -> None:
    assert run(tmp_path, "kill:a", "linger:60") == -signal.SIGKILL
    assert log(tmp_path) == ["first a"]
    run(tmp_path, "wait:a")
    assert log(tmp_path) == ["first a", "second a a 0.5", "end a", "status a SUCCESS", "closed"]


def test_a_job_that_kills_every_process_is_given_up_and_said_to_be(tmp_path: Path) -> None:
    codes = [run(tmp_path, "poison:a", "linger:20")]
    while codes[-1] == -signal.SIGKILL and len(codes) < 12:
        codes.append(run(tmp_path, "wait:a"))
    assert codes[-1] == 0
    assert log(tmp_path)[-2] == "status a MAX_RECOVERY_ATTEMPTS_EXCEEDED"
    assert log(tmp_path).count("first a") == 1


def test_a_second_engine_on_the_same_state_is_told_so_and_the_next_one_is_not(tmp_path: Path) -> None:
    first = engine(tmp_path, "submit:a", "wait:a", "linger:30")
    try:
        while not (tmp_path / "log").exists() or "end a" not in log(tmp_path):
            assert first.poll() is None
        run(tmp_path)
        assert log(tmp_path)[-1] == "busy: let it do the work, or stop it first"
    finally:
        first.kill()
        first.communicate()
    run(tmp_path)
    assert log(tmp_path)[-1] == "closed"


def test_it_sleeps_when_idle_and_wakes_for_work(tmp_path: Path) -> None:
    run(tmp_path, "rest:20", "busy:20", "rest:20", "rest:20", "status:none", "rest:40", "submit:a", "wait:a", "reopen")
    assert [x for x in log(tmp_path) if x.startswith(("awake", "status"))] == [
        "awake True",
        "awake True",
        "awake True",
        "awake False",
        "status none None",
        "awake False",
        "status a SUCCESS",
    ]
    assert "end a" in log(tmp_path)


def test_nothing_of_python_is_in_the_engines_database(tmp_path: Path) -> None:
    """Its contents are data only: whoever writes to it must not become code here."""
    run(tmp_path, "submit:a", "wait:a")
    with sqlite3.connect(tmp_path / "engine.db") as db:
        tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        cells = [cell for table in tables for row in db.execute(f'SELECT * FROM "{table}"') for cell in row]
    db.close()
    assert any(isinstance(c, str) and '"token":"a"' in c.replace(" ", "") for c in cells)
    assert not [
        c for c in cells if isinstance(c, bytes) or (isinstance(c, str) and c.startswith(("gAS", "gAN", "gAR")))
    ]


def test_only_jobs_that_ended_long_ago_are_forgotten(tmp_path: Path) -> None:
    run(tmp_path, "submit:a", "wait:a", "submit:b", "wait:b", "forget:60", "status:a")
    assert run(tmp_path, "kill:c", "linger:60") == -signal.SIGKILL
    with closing(sqlite3.connect(tmp_path / "engine.db")) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        kept = {name: db.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in tables}
        assert kept["workflow_status"] == 3
    run(tmp_path, "forget:0", "status:a", "wait:c", "forget:0")
    assert [x for x in log(tmp_path) if x.startswith(("forgot", "status"))] == [
        "status a SUCCESS",
        "status b SUCCESS",
        "forgot 0",
        "status a SUCCESS",
        "forgot 2",
        "status a None",
        "status c SUCCESS",
        "forgot 1",
    ]
    with closing(sqlite3.connect(tmp_path / "engine.db")) as db:
        left = {name: db.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in tables}
    assert left["workflow_status"] == left["operation_outputs"] == 0
