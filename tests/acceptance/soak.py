"""Trains runs beside the service and kills it again and again; then holds what is there to the promises.

`make soak`, or: PYTHONPATH=tests python tests/acceptance/soak.py --kills 500 --runs 2000 --seed 1
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import training
from mlflow import MlflowClient
from support.failpoints import POINTS
from workplace import AUDITS, ROOT, Workplace, environment, policy_text, stop

FAILPOINTS = ROOT / "tests" / "support" / "failpoints.py"
_OURS = ("venturalitica", "policy_snapshot")
_PLAIN = """
  - name: plain
    runs: {{experiment: "plain*"}}
    policy: [tiny, second]
    data:
      evaluation: {{artifact: "data/test.csv"}}
    columns:
      target: {{column: y, positive: 1}}
      gender: sex
      prediction: prediction
"""


@dataclass(frozen=True)
class Trained:
    """A run that ended, and what MLflow had of it before anybody audited it."""

    uri: str
    run_id: str
    expected: dict[str, str]
    folders: tuple[Path, ...]
    database: Path | None
    facts: dict[str, str]


@dataclass
class Soak:
    """One service's many lives.

    Attributes:
        deaths: how often it died at which moment; `random` and `start` are from outside.
    """

    place: Workplace
    uris: tuple[str, str]
    seed: int
    runs: list[Trained] = field(default_factory=list)
    deaths: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self.place.configure(list(self.uris), audits=AUDITS + _PLAIN)
        (self.place.folder / "policies" / "second.yaml").write_text(policy_text("second", impact=0.99))
        points = list(POINTS)
        self._random.shuffle(points)
        self._points = cycle(points)

    # -- training -------------------------------------------------------------------------------------------
    def train(self) -> None:
        """One run more, in turns on each store; every fourth logs a model, the others their own predictions."""
        number = len(self.runs)
        uri, model, good = self.uris[number % 2], number // 2 % 4 == 0, number % 3 > 0
        client = MlflowClient(uri)
        into = training.experiment(client, training.EXPERIMENT if model else "plain")
        run_id = client.create_run(into, run_name=f"run {number}").info.run_id
        client.log_param(run_id, "number", number)
        client.log_metric(run_id, "loss", 1 / (number + 1))
        frame = training.table()
        if not model:
            frame = frame.assign(prediction=frame.y if good else 1 - frame.y)
        client.log_text(run_id, frame.to_csv(index=False), "data/test.csv")
        if model:
            training.mlflow.set_tracking_uri(uri)
            training.log_model(run_id, good=good)
        client.set_terminated(run_id)
        run = client.get_run(run_id)
        folders = [Path(run.info.artifact_uri.removeprefix("file://")).parent]
        for output in run.outputs.model_outputs if run.outputs else ():
            location = client.get_logged_model(output.model_id).artifact_location
            folders.append(Path(location.removeprefix("file://")).parent)
        database = Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite") else None
        status = "pass" if good else "fail"
        # By sex the predictions differ by more than the hundredth that `second` allows, whichever way round they are.
        expected = {"tiny": status} if model else {"tiny": status, "second": "fail" if not good else "inconclusive"}
        facts = facts_of(run_id, folders, database)
        self.runs.append(Trained(uri, run_id, expected, tuple(folders), database, facts))

    # -- killing --------------------------------------------------------------------------------------------
    def life(self, train: int) -> None:
        """Start the service, train beside it, and see it die: at a fail point, or at any moment."""
        chance = self._random.random()
        point = ""
        if chance < 0.7:
            name = next(self._points)
            point = f"{name}:{self._random.randint(1, 9 if name.startswith('one_file') else 3)}"
        process = self.start(point)
        started = time.monotonic()
        try:
            for _ in range(train):
                self.train()
            if point:
                with_patience(process, 30)
                died = point.partition(":")[0] if process.poll() is not None else "no such moment came"
            elif chance < 0.8:
                with_patience(process, max(0.0, started + self._random.uniform(0.5, 6.0) - time.monotonic()))
                died = "while starting"
            else:
                self._await_start(process)
                with_patience(process, self._random.uniform(0.0, 4.0))
                died = "at random"
        finally:
            stop(process, signal.SIGKILL)
        if process.returncode != -signal.SIGKILL:
            raise AssertionError(f"the service ended by itself: {process.returncode}\n{self.place.log()}")
        self.deaths[died] += 1

    def start(self, point: str = "") -> subprocess.Popen[bytes]:
        more = {"FAIL_AT": point} if point else {}
        with (self.place.folder / "agent.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, str(FAILPOINTS), "run", "-v"],
                cwd=self.place.folder,
                env=environment(VENTURALITICA_SANDBOX_WARM="1") | more,
                stderr=log,
                start_new_session=True,
            )

    def _await_start(self, process: subprocess.Popen[bytes]) -> None:
        before = self._starts()
        deadline = time.monotonic() + 60
        while self._starts() == before and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)

    def _starts(self) -> int:
        return (self.place.folder / "agent.log").read_bytes().count(b'"service.started"')

    def finish(self, seconds: float) -> None:
        """A last life without a kill, until nothing is due."""
        process = self.start()
        try:
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                if len(self.done()) == len(self.runs):
                    return
                time.sleep(0.5)
            left = Counter(phase for phase in self.phases().values())
            raise AssertionError(f"not all runs were audited within {seconds} s: {left}\n{self.place.log()}")
        finally:
            stop(process)

    def phases(self) -> dict[str, str]:
        with readonly(self.place.folder / ".venturalitica" / "agent.db") as db:
            return dict(db.execute("SELECT run_id, phase FROM runs"))

    def done(self) -> set[str]:
        phases = self.phases()
        return {run.run_id for run in self.runs if phases.get(run.run_id) == "done"}

    # -- promises -------------------------------------------------------------------------------------------
    def broken_promises(self) -> list[str]:
        """What is not as it was promised, a sentence each."""
        found = [words for run in self.runs for words in self.of_run(run)]
        with readonly(self.place.folder / ".venturalitica" / "agent.db") as db:
            audits = Counter(db.execute("SELECT run_id, policy FROM audits").fetchall())
            entries = [json.loads(row[0]) for row in db.execute("SELECT content FROM log_entries ORDER BY number")]
            numbers = [row[0] for row in db.execute("SELECT number FROM log_entries ORDER BY number")]
        wanted = Counter((run.run_id, policy) for run in self.runs for policy in run.expected)
        if audits != wanted:
            found.append(f"verdicts on record: {len(audits - wanted)} too many, {len(wanted - audits)} missing")
        if numbers != list(range(len(numbers))):
            found.append("the log has gaps")
        kinds = Counter(entry["kind"] for entry in entries)
        if kinds != {"key": 1, "policy": 2, "verdict": wanted.total()}:
            found.append(f"the log has {dict(kinds)}, and {wanted.total()} verdicts were to be given")
        checked = self.place.json_with(("verify", "--all"), check=None, seconds=3600)
        if checked["exit_code"] != 0:
            wrong = {n: c for n, cs in checked["checked"].items() if (c := [x for x in cs if x["outcome"] != "ok"])}
            found.append(f"verify: {json.dumps(wrong)[:2000]}")
        return found

    def of_run(self, run: Trained) -> Iterator[str]:
        """The same of one run, as far as its store tells it."""
        tags = training.tags(run.uri, run.run_id)
        told = {
            name: tags.get(f"venturalitica.{name}.status" if len(run.expected) > 1 else "venturalitica.status")
            for name in run.expected
        }
        if told != run.expected:
            yield f"run {run.run_id}: {told} instead of {run.expected}"
        root = run.folders[0] / "artifacts" / "venturalitica"
        places = Counter(path.parent.parent.name for path in root.glob("*/*/evidence.json"))
        if places != Counter(list(run.expected)) or len(list(root.glob("*/*"))) != len(run.expected):
            yield f"run {run.run_id}: evidence sets {dict(places)}"
        now = facts_of(run.run_id, run.folders, run.database)
        if now != run.facts:
            changed = sorted(k for k in now.keys() | run.facts.keys() if now.get(k) != run.facts.get(k))
            yield f"run {run.run_id}: MLflow's own data changed: {changed[:5]}"


def facts_of(run_id: str, folders: Sequence[Path], database: Path | None) -> dict[str, str]:
    """Digests of everything that a store has of a run and is not ours, by path or table."""
    facts = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            parts = path.relative_to(folder).parts
            ours = any(part.startswith(_OURS[0]) or part == _OURS[1] for part in parts)
            if path.is_file() and not ours:
                facts[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    if database is not None:
        with readonly(database) as db:
            for table in ("runs", "params", "metrics", "latest_metrics", "tags"):
                rows = db.execute(f"SELECT * FROM {table} WHERE run_uuid = ?", (run_id,)).fetchall()
                rows = sorted(map(repr, (row for row in rows if not str(row[0]).startswith("venturalitica."))))
                facts[table] = hashlib.sha256("\n".join(rows).encode()).hexdigest()
    return facts


@contextmanager
def readonly(path: Path) -> Iterator[sqlite3.Connection]:
    """A SQLite database, opened only to read and closed after."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60)) as db:
        yield db


def with_patience(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait until the process is dead, at most so long."""
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return


def soak(soaked: Soak, *, kills: int, runs: int, patience: float = 120.0) -> dict[str, Any]:
    """Kill the service so often while so many runs are trained; returns the figures and what promise was broken."""
    began = time.monotonic()
    for life in range(kills):
        soaked.life(runs * (life + 1) // kills - len(soaked.runs))
    soaked.finish(patience + 2.0 * runs)
    broken = soaked.broken_promises()
    return {
        "kills": kills,
        "runs": len(soaked.runs),
        "verdicts": sum(len(run.expected) for run in soaked.runs),
        "seed": soaked.seed,
        "deaths": dict(soaked.deaths.most_common()),
        "points_met": len(set(soaked.deaths) & set(POINTS)),
        "points": len(POINTS),
        "seconds": round(time.monotonic() - began),
        "broken": broken,
    }


def prepared(folder: Path, database: Path | None = None, seed: int = 1) -> Soak:
    """Two fresh stores with their experiments, and a service configured for both."""
    (folder / "sql").mkdir()
    if database is not None:
        shutil.copy(database, folder / "sql" / "mlflow.db")
    uris = (f"sqlite:///{folder}/sql/mlflow.db", str(folder / "mlruns"))
    for uri in uris:
        for name in (training.EXPERIMENT, "plain"):
            training.experiment(MlflowClient(uri), name)
    return Soak(Workplace(folder), uris, seed)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--kills", type=int, default=int(os.environ.get("SOAK_KILLS", "500")))
    options.add_argument("--runs", type=int, default=int(os.environ.get("SOAK_RUNS", "2000")))
    options.add_argument("--seed", type=int, default=int(os.environ.get("SOAK_SEED", str(time.time_ns() % 10**6))))
    given = options.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    figures = soak(prepared(folder, seed=given.seed), kills=given.kills, runs=given.runs)
    print(json.dumps(figures, indent=2))
    if figures["broken"]:
        sys.exit(f"promises were broken; everything is in {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
