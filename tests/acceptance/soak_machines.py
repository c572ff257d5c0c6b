"""Several real agents on one real PostgreSQL: they are killed at random and cut off from the network while runs are
audited; then what is there is held to the promises. Throughput is printed against the number of machines.

`make soak-machines`, or: PYTHONPATH=tests python tests/acceptance/soak_machines.py --runs 1000 --kills 20 --seed 1
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from soak import Soak, prepared
from support.network import Segment
from support.postgres import Postgres, postgres
from workplace import AGENT, environment, stop


class Fleet:
    """Agents on one state, each with a log of its own, in one folder with the stores.

    Attributes:
        soaked: trains the runs, and knows what must be on each.
    """

    def __init__(self, soaked: Soak, url: str) -> None:
        self.soaked = soaked
        self.place = soaked.place
        with (self.place.folder / "agent.yaml").open("a") as config:
            config.write(f"state: {url}\n")
        self._state = sa.create_engine(url)
        self._alive: dict[str, subprocess.Popen[bytes]] = {}
        self._started = 0

    # -- machines -------------------------------------------------------------------------------------------
    def start(self, command: str = "run", *, inside: Sequence[str] = ()) -> str:
        """One machine more; returns its name. `inside` is a command that runs another one, in a network of its own."""
        self._started += 1
        name = f"{command}-{self._started}"
        with (self.place.folder / f"{name}.log").open("ab") as log:
            self._alive[name] = subprocess.Popen(
                [*inside, *AGENT, command, "-v"],
                cwd=self.place.folder,
                env=environment(VENTURALITICA_SANDBOX_WARM="1"),
                stderr=log,
                start_new_session=True,
            )
        return name

    @property
    def alive(self) -> list[str]:
        return sorted(self._alive)

    def kill(self, name: str) -> None:
        """As when its power fails: the agent and everything that it started."""
        process = self._alive.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def end(self) -> None:
        """Stop all that is alive in an orderly way."""
        for process in self._alive.values():
            process.send_signal(signal.SIGTERM)
        for process in self._alive.values():
            stop(process)
        self._alive.clear()
        self._state.dispose()

    def events(self, name: str, of: str = "*") -> list[dict[str, Any]]:
        """What machines logged under a name, in the order of time."""
        found = []
        for path in self.place.folder.glob(f"{of}.log"):
            lines = (line for line in path.read_text().splitlines() if line.startswith("{"))
            found += [event | {"by": path.stem} for line in lines if (event := json.loads(line))["event"] == name]
        return sorted(found, key=lambda event: str(event["timestamp"]))

    def noticing(self) -> str:
        """The machine that notices runs; empty while none does."""
        heard = [event["by"] for event in self.events("service.noticing") if event["by"] in self._alive]
        return heard[-1] if heard else ""

    def tell(self) -> str:
        """The end of every log, for whoever looks why something did not come to pass."""
        return "\n".join(f"== {path.name}\n{path.read_text()[-3000:]}" for path in self.place.folder.glob("*.log"))

    # -- the state ------------------------------------------------------------------------------------------
    def ask(self, query: str) -> list[Any]:
        with self._state.connect() as db:
            return list(db.exec_driver_sql(query).all())

    def done(self) -> int:
        """How many runs have their verdicts."""
        if not sa.inspect(self._state).has_table("runs"):
            return 0
        return int(self.ask("SELECT count(*) FROM runs WHERE phase = 'done'")[0][0])

    def await_done(self, count: int, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self.done() < count:
            if time.monotonic() > deadline:
                phases = self.ask("SELECT phase, reason, count(*) FROM runs GROUP BY phase, reason")
                raise AssertionError(f"{self.done()} of {count} in {seconds} s: {phases}\n{self.tell()}")
            time.sleep(0.1)

    def await_work_of(self, name: str) -> None:
        """Until the machine that notices has an audit in hand."""
        machine = self.events("service.noticing", name)[-1]["machine"]
        query = f"SELECT count(*) FROM dbos.workflow_status WHERE status = 'PENDING' AND executor_id = '{machine}'"
        deadline = time.monotonic() + 60
        while not self.ask(query)[0][0]:
            assert time.monotonic() < deadline, self.tell()

    def broken_promises(self) -> list[str]:
        """What is not as it was promised, a sentence each."""
        runs = self.soaked.runs
        found = [words for run in runs for words in self.soaked.of_run(run)]
        wanted = Counter((run.run_id, policy) for run in runs for policy in run.expected)
        audits = Counter((run_id, policy) for run_id, policy in self.ask("SELECT run_id, policy FROM audits"))
        if audits != wanted:
            found.append(f"verdicts on record: {len(audits - wanted)} too many, {len(wanted - audits)} missing")
        rows = self.ask("SELECT number, content FROM log_entries ORDER BY number")
        if [number for number, _ in rows] != list(range(len(rows))):
            found.append("the log has gaps")
        kinds = Counter(json.loads(bytes(content))["kind"] for _, content in rows)
        if kinds != {"key": 1, "policy": 2, "verdict": wanted.total()}:
            found.append(f"the log has {dict(kinds)}, and {wanted.total()} verdicts were to be given")
        unfinished = self.ask("SELECT phase, count(*) FROM runs WHERE phase <> 'done' GROUP BY phase")
        if unfinished:
            found.append(f"runs that are not done: {unfinished}")
        checked = self.place.json_with(("verify", "--all"), check=None, seconds=3600)
        if checked["exit_code"] != 0:
            wrong = {n: c for n, cs in checked["checked"].items() if (c := [x for x in cs if x["outcome"] != "ok"])}
            found.append(f"verify: {json.dumps(wrong)[:2000]}")
        return found

    def rate(self) -> float:
        """Verdicts per second between the first and the last."""
        count, first, last = self.ask("SELECT count(*), min(tagged_at), max(tagged_at) FROM audits")[0]
        return float((count - 1) / (last - first)) if last and last > first else 0.0


def throughput(pg: Postgres, folder: Path, machines: int, runs: int) -> dict[str, Any]:
    """A backlog of so many runs, and so many machines that nobody disturbs."""
    fleet = Fleet(_soaked(folder), pg.database())
    for _ in range(runs):
        fleet.soaked.train()
    try:
        for number in range(machines):
            fleet.start("worker" if number else "run")
        fleet.await_done(runs, 60 + 5.0 * runs)
        by = Counter(event["by"] for event in fleet.events("audit.published"))
        return {"machines": machines, "runs": runs, "verdicts_per_second": round(fleet.rate(), 2), "by": dict(by)}
    finally:
        fleet.end()


def killed_at_random(pg: Postgres, folder: Path, *, runs: int, kills: int, machines: int, seed: int) -> dict[str, Any]:
    """Machines die at any moment, also the one that notices, and others come, while runs end and are audited."""
    chance = random.Random(seed)
    fleet = Fleet(_soaked(folder, seed), pg.database())
    for _ in range(runs // 2):
        fleet.soaked.train()
    began, victims = time.monotonic(), 0
    try:
        for number in range(machines):
            fleet.start("worker" if number % 2 else "run")
        for life in range(kills):
            while len(fleet.soaked.runs) < runs // 2 + (runs - runs // 2) * (life + 1) // kills:
                fleet.soaked.train()
            goal = min(runs, (life + 1) * runs // (kills + 1))
            fleet.await_done(goal, 120 + 5.0 * runs)
            time.sleep(chance.uniform(0.0, 0.5))
            victim = fleet.noticing() if life % 2 == 0 else chance.choice(fleet.alive)
            victim = victim or chance.choice(fleet.alive)
            fleet.kill(victim)
            victims += 1
            fleet.start(victim.partition("-")[0])
        fleet.await_done(runs, 120 + 5.0 * runs)
        seconds = time.monotonic() - began
    finally:
        fleet.end()
    return {
        "runs": runs,
        "kills": victims,
        "machines": machines,
        "seconds": round(seconds),
        "taken_over": sum(event["jobs"] for event in fleet.events("machine.gone")),
        "noticed_by": len({event["by"] for event in fleet.events("service.noticing")}),
        "broken": fleet.broken_promises(),
    }


def cut_off(folder: Path, *, runs: int) -> dict[str, Any]:
    """Two machines in networks of their own; the one that notices loses the way to the state in the midst of audits."""
    with ExitStack() as stack:
        segment = stack.enter_context(Segment())
        pg = stack.enter_context(postgres(host=segment.host))
        fleet = Fleet(_soaked(folder), pg.database())
        stack.callback(fleet.end)
        for _ in range(runs):
            fleet.soaked.train()
        names = {fleet.start(inside=segment.inside(number)): number for number in range(2)}
        fleet.await_done(max(2, runs // 6), 240)
        victim = fleet.noticing()
        fleet.await_work_of(victim)
        segment.cut(names[victim])
        cut_at, known = time.time(), len(fleet.events("service.noticing"))
        while len(fleet.events("service.noticing")) == known and time.time() - cut_at < 120:
            time.sleep(0.1)
        taken_after = time.time() - cut_at
        fleet.await_done(runs, 120 + 5.0 * runs)
        segment.mend(names[victim])
        fleet.soaked.train()  # and the one that comes back takes part again
        fleet.await_done(runs + 1, 120)
        time.sleep(5)
        back = len([one for one in fleet.events("service.helping") if one["by"] == victim])
        broken = fleet.broken_promises()
        return {
            "runs": runs + 1,
            "taken_over_after_seconds": round(taken_after, 1),
            "taken_over": sum(event["jobs"] for event in fleet.events("machine.gone")),
            "stepped_down": back,
            "broken": broken,
        }


def _soaked(folder: Path, seed: int = 1) -> Soak:
    folder.mkdir(parents=True)
    return prepared(folder, seed=seed)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=int(os.environ.get("SOAK_RUNS", "1000")))
    options.add_argument("--kills", type=int, default=int(os.environ.get("SOAK_KILLS", "20")))
    options.add_argument("--machines", type=int, default=int(os.environ.get("SOAK_MACHINES", "3")))
    options.add_argument("--seed", type=int, default=int(os.environ.get("SOAK_SEED", str(time.time_ns() % 10**6))))
    options.add_argument("--only", choices=["throughput", "kills", "cut"], help="one part alone")
    given = options.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak-machines-"))
    figures: dict[str, Any] = {"seed": given.seed, "cores": os.cpu_count()}
    with postgres(durable=True) as pg:
        if given.only in (None, "throughput"):
            few = max(20, given.runs // 10)
            figures["throughput"] = []
            for machines in range(1, given.machines + 1):
                figures["throughput"].append(throughput(pg, folder / f"of-{machines}", machines, few))
                print(json.dumps(figures["throughput"][-1]), file=sys.stderr)
        if given.only in (None, "kills"):
            figures["killed"] = killed_at_random(
                pg, folder / "killed", runs=given.runs, kills=given.kills, machines=given.machines, seed=given.seed
            )
    if given.only in (None, "cut"):
        if os.geteuid() == 0:
            figures["cut_off"] = cut_off(folder / "cut", runs=min(given.runs, 60))
        else:
            figures["cut_off"] = "not run: networks of their own need root"
    print(json.dumps(figures, indent=2))
    if any(part.get("broken") for part in figures.values() if isinstance(part, dict)):
        sys.exit(f"promises were broken; everything is in {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
