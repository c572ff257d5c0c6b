"""`mlflow.db`: noticing by `PRAGMA data_version` (microseconds) and one read-only query; everything else by the client.

The database is only ever opened through SQLite: opening and closing it as a file would drop the process's POSIX locks.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from venturalitica_agent.domain.run import RunRef, RunStatus
from venturalitica_agent.errors import StoreUnavailable
from venturalitica_agent.logging import get_logger
from venturalitica_agent.stores import naming
from venturalitica_agent.stores.mlflow_client import MlflowAccess
from venturalitica_agent.stores.mlflow_file import may_be_run
from venturalitica_agent.stores.naming import input_fingerprint

log = get_logger(__name__)

_RUNS = """
SELECT r.run_uuid, r.experiment_id, r.status, r.start_time, r.end_time, r.lifecycle_stage
FROM runs r JOIN experiments e ON e.experiment_id = r.experiment_id
WHERE e.lifecycle_stage = 'active'
"""
_LINKS = """
SELECT destination_id, 'd:' || source_id FROM inputs WHERE source_type = 'DATASET' AND destination_type = 'RUN'
UNION ALL
SELECT source_id, 'm:' || destination_id FROM inputs WHERE source_type = 'RUN_OUTPUT'
"""
_LINKS_OF_RUN = """
SELECT 'd:' || source_id FROM inputs
WHERE source_type = 'DATASET' AND destination_type = 'RUN' AND destination_id = :run
UNION ALL
SELECT 'm:' || destination_id FROM inputs WHERE source_type = 'RUN_OUTPUT' AND source_id = :run
"""


class MlflowSqliteStore(MlflowAccess):
    """A `PolledStore` whose `version` is nearly free.

    Args:
        path: the database file; its folder is where default artifacts live.
    """

    def __init__(self, path: Path, *, roots: Sequence[Path] = (), ui: str = "") -> None:
        super().__init__(f"sqlite:///{path}", roots=(path.parent, *roots), ui=ui)
        self.path = path
        self._lock = threading.Lock()
        self._held: sqlite3.Connection | None = None
        self._held_file: tuple[int, int] = (0, 0)
        self._opened = 0
        self._told: set[tuple[object, object]] = set()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """The held read-only connection (`data_version` only means something on one that stays open)."""
        with self._lock:
            try:
                there = self._file()
                if self._held is not None and there != self._held_file:
                    self._held.close()  # somebody put another database in its place
                    self._held = None
                if self._held is None:
                    self._held_file = there
                    self._opened += 1
                    self._held = sqlite3.connect(
                        f"{self.path.as_uri()}?mode=ro",
                        uri=True,
                        timeout=5,
                        check_same_thread=False,
                        isolation_level=None,
                    )
                    self._held.text_factory = lambda raw: raw.decode("utf-8", "replace")  # SQLite keeps any bytes
                yield self._held
            except sqlite3.Error as error:
                if self._held is not None:
                    self._held.close()
                self._held = None
                raise StoreUnavailable(
                    f"SQLite says: {error}", subject=self.uri, remedy="it is tried again with growing pauses"
                ) from error

    def _file(self) -> tuple[int, int]:
        try:
            about = self.path.stat()
        except OSError as error:
            raise StoreUnavailable(
                f"there is no such database ({error.strerror})",
                subject=self.uri,
                remedy="it is watched for; train a run there",
            ) from error
        return about.st_dev, about.st_ino

    def ping(self) -> None:
        with self._reading() as db:
            db.execute("SELECT 1 FROM runs LIMIT 1").fetchone()

    def version(self) -> int | None:
        with self._reading() as db:
            # The pragma's number only means something on one connection, so the connection is part of the answer.
            return self._opened << 32 | int(db.execute("PRAGMA data_version").fetchone()[0])

    def experiments(self) -> Mapping[str, str]:
        with self._reading() as db:
            found = db.execute(
                "SELECT experiment_id, name FROM experiments WHERE lifecycle_stage = 'active'"
            ).fetchall()
        return {str(e): naming.name(called) for e, called in found}

    def scan(self) -> Iterator[RunRef]:
        with self._reading() as db:
            db.execute("BEGIN")  # one snapshot for both
            rows = db.execute(f"{_RUNS} ORDER BY r.end_time DESC").fetchall()
            links: dict[str, list[str]] = {}
            for run, link in db.execute(_LINKS):
                links.setdefault(run, []).append(link)
            db.execute("COMMIT")
        found = (self._row(row, links.get(row[0], ())) for row in rows)
        yield from (ref for ref in found if ref is not None)

    def recent(self, since: int) -> Iterator[RunRef]:
        with self._reading() as db:
            rows = db.execute(
                f"{_RUNS} AND (r.end_time >= ? OR r.status IN ('RUNNING', 'SCHEDULED'))", (since,)
            ).fetchall()
            found = [self._row(row, [x for (x,) in db.execute(_LINKS_OF_RUN, {"run": row[0]})]) for row in rows]
        yield from (ref for ref in found if ref is not None)

    def look(self, run_id: str) -> RunRef | None:
        with self._reading() as db:
            row = db.execute(f"{_RUNS} AND r.run_uuid = ?", (run_id,)).fetchone()
            links = [x for (x,) in db.execute(_LINKS_OF_RUN, {"run": run_id})]
        return self._row(row, links) if row else None

    def _row(self, row: Sequence[str | int | None], links: Sequence[str]) -> RunRef | None:
        """The run of a row; None, once told, where it is none that MLflow would write: it must not hide the others."""
        run_id, experiment, status, start, end, stage = row
        if not may_be_run(str(run_id)) or status not in RunStatus.__members__:
            if (run_id, status) not in self._told:
                self._told.add((run_id, status))
                why = f"its row has the id {str(run_id)[:80]!r} and the status {str(status)[:80]!r}"
                log.warning("run.unreadable", store=self.uri, run=str(run_id)[:80], reason=why)
            return None
        return RunRef(
            store=self.id,
            run_id=str(run_id),
            experiment_id=str(experiment),
            status=RunStatus(str(status)),
            start_time=naming.moment(start),
            end_time=naming.moment(end),
            deleted=stage == "deleted",
            inputs=input_fingerprint(list(map(str, links))),
        )
