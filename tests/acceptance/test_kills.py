"""The service is killed between its steps and at any moment; nothing is lost, given twice or left half done.

The same as `make soak`, for some seconds.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from soak import prepared, soak


def test_kills_lose_nothing_and_repeat_nothing(tmp_path: Path, empty_database: Path) -> None:
    figures = soak(prepared(tmp_path, empty_database), kills=3, runs=12)
    assert figures["broken"] == [], figures
    assert figures["runs"] == 12


def test_the_harness_sees_what_it_is_there_for(tmp_path: Path, empty_database: Path) -> None:
    """A parameter that changed, evidence twice, a tag that is gone and a lost verdict are each told."""
    soaked = prepared(tmp_path, empty_database)
    soaked.train()
    soaked.train()
    (sql, files) = soaked.runs
    with closing(sqlite3.connect(tmp_path / "sql" / "mlflow.db")) as db, db:
        db.execute("UPDATE params SET value = '7' WHERE run_uuid = ?", (sql.run_id,))
    (files.folders[0] / "params" / "number").write_text("7")
    for audit in ("one", "two"):
        folder = files.folders[0] / "artifacts" / "venturalitica" / "tiny" / audit
        folder.mkdir(parents=True)
        (folder / "evidence.json").touch()
    told = [words.partition(": ")[2] for run in soaked.runs for words in soaked.of_run(run)]
    assert [words for words in told if words.startswith("MLflow's own data changed: ['params']")]
    assert [words for words in told if "data changed" in words and "params/number" in words]
    assert "evidence sets {'tiny': 2}" in told
    assert "{'tiny': None} instead of {'tiny': 'fail'}" in told
