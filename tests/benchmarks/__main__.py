"""`make bench`: what measuring costs, latency from a run's end to its tag, and what watching costs."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
sys.path.insert(0, str(Path(__file__).parents[1] / "acceptance"))

import training
from mlflow import MlflowClient
from tests.benchmarks import stores
from tests.benchmarks.coverage import coverage
from tests.benchmarks.large import large
from tests.benchmarks.measuring import measuring
from tests.benchmarks.web import web
from workplace import AUDITS, Workplace

_TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15, help="runs to time, per kind of store")
    parser.add_argument("--idle", type=float, default=60.0, help="seconds of idling to measure, per kind of store")
    parser.add_argument(
        "only",
        nargs="*",
        choices=["latency", "idle", "measuring", "large", "coverage", "web", []],
        help="default: all but large, coverage and web",
    )
    parser.add_argument("--simulations", type=int, default=20_000, help="samples of each population, for coverage")
    parser.add_argument("--rows", type=int, default=16_000_000, help="rows of the large table; 320 bytes each, twice")
    parser.add_argument("--listed", type=int, default=100_000, help="runs that the status page lists")
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start")
    if not given.only or "measuring" in given.only:
        measuring()
    if "large" in given.only:
        large(given.rows)
    if "coverage" in given.only:
        coverage(given.simulations)
    if "web" in given.only:
        web(given.listed)
    for kind in ("sqlite", "files"):
        if not given.only or "latency" in given.only:
            latency(kind, given.runs)
    for kind in ("sqlite", "files"):
        if not given.only or "idle" in given.only:
            idle(kind, given.idle)


def latency(kind: str, runs: int) -> None:
    """set_terminated returned -> status tag readable; settle 0, sandbox warm, 1,000 other runs in the store."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        place = Workplace(Path(folder))
        uri = stores.make(kind, place.folder / "store", 1000)
        place.configure([uri])
        with place.service() as service:
            place.await_log("store.up")
            training.train(uri, name="warm-up")
            _await_published(place, 1)
            took = [_one(uri) for _ in range(runs)]
            took.sort()
            print(
                f"latency, {kind}, 1,000 other runs: median {statistics.median(took):.2f} s, "
                f"p90 {took[int(0.9 * (len(took) - 1))]:.2f} s, max {took[-1]:.2f} s over {runs} runs; "
                f"service {_rss(service.pid):.0f} MiB resident"
            )


def _one(uri: str) -> float:
    client = MlflowClient(uri)
    run = client.create_run(training.experiment(client), run_name="timed").info.run_id
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "test.csv"
        training.table().to_csv(path, index=False)
        client.log_artifact(run, str(path), "data")
    training.log_model(run)
    time.sleep(2.0)  # training takes longer than warming up does
    client.set_terminated(run)
    ended = time.perf_counter()
    while "venturalitica.status" not in client.get_run(run).data.tags:
        if time.perf_counter() - ended > 60:
            raise SystemExit("a run had no tag after 60 s")
        time.sleep(0.005)
    return time.perf_counter() - ended


def _await_published(place: Workplace, count: int) -> None:
    place.await_log("audit.published", count=count, seconds=120)


def idle(kind: str, seconds: float) -> None:
    """CPU and memory of the service watching 10,000 finished runs while nothing happens."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        place = Workplace(Path(folder))
        uri = stores.make(kind, place.folder / "store", 10_000)
        place.configure([uri], audits=AUDITS.replace("reconcile: 2s\n", ""))  # as a user has it
        with place.service() as service:
            place.await_log("store.up", seconds=120)
            time.sleep(45)  # past the first sweep and the engine's falling asleep
            before, at = _cpu(service.pid), time.monotonic()
            time.sleep(seconds)
            share = (_cpu(service.pid) - before) / (time.monotonic() - at)
            children = _children(service.pid)
            print(
                f"idle, {kind}, 10,000 runs: {100 * share:.2f} % of a core, {_rss(service.pid):.0f} MiB resident, "
                f"{len(children)} processes beside it ({sum(map(_rss, children)):.0f} MiB)"
            )


def _cpu(pid: int) -> float:
    """Seconds of processor time that a process and its living children used."""
    used = 0.0
    for each in (pid, *_children(pid)):
        fields = Path(f"/proc/{each}/stat").read_text().rsplit(")", 1)[1].split()
        used += (int(fields[11]) + int(fields[12])) / _TICKS
    return used


def _rss(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


def _children(pid: int) -> list[int]:
    found = [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(p) for p in (task / "children").read_text().split()]
    direct = sorted(set(found))
    return [*direct, *(c for d in direct for c in _children(d))]


if __name__ == "__main__":
    main()
