"""One engine in a process of its own (the engine's library is a singleton per process), driven by a list of commands.

Usage: python engine_process.py FOLDER COMMAND…; each step and each answer is one line in FOLDER/log. With a PostgreSQL
URL in ENGINE_STATE it is one of many machines, and takes up what dead ones had in hand.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from venturalitica_agent.claim.crew import Crew
from venturalitica_agent.claim.engine import ALIVE, Engine, EngineBusy, Step
from venturalitica_agent.state.machines import Machines

FOLDER = Path(sys.argv[1])


def note(line: str) -> None:
    with (FOLDER / "log").open("a") as log:
        log.write(f"{line}\n")


def execute(job: dict[str, Any], step: Step) -> None:
    first = step("first", lambda: note(f"first {job['name']}") or {"token": job["name"], "nothing": None, "half": 0.5})
    if job.get("kill") and not (FOLDER / "killed").exists():
        (FOLDER / "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if job.get("poison"):
        note(f"poison {job['name']}")
        os.kill(os.getpid(), signal.SIGKILL)
    step("second", lambda: note(f"second {job['name']} {first['token']} {first['half']}"))
    note(f"end {job['name']}")


def main() -> None:
    now = [0.0]
    shared = os.environ.get("ENGINE_STATE")
    crew = Crew(Machines(shared, version="1"), version="1") if shared else None
    engine = Engine(
        shared or f"sqlite:///{FOLDER}/engine.db",
        lock=None if shared else FOLDER / "lock",
        execute=execute,
        width=2,
        machine=crew.machines.id if crew else "",
        clock=lambda: now[0],
    )
    try:
        with crew.joining() if crew else nullcontext():
            engine.open()
    except EngineBusy as error:
        note(f"busy: {error.remedy}")
        return
    if crew:
        note(f"rescued {crew.rescue(engine)}")
    for command in sys.argv[2:]:
        what, _, name = command.partition(":")
        match what:
            case "submit" | "kill" | "poison":
                engine.submit(f"job-{name}", {"name": name, what: True})
            case "wait":
                deadline = time.monotonic() + 60
                while engine.status(f"job-{name}") in (None, *ALIVE) and time.monotonic() < deadline:
                    time.sleep(0.02)
                note(f"status {name} {engine.status(f'job-{name}')}")
            case "status":
                note(f"status {name} {engine.status(f'job-{name}')}")
            case "linger":
                time.sleep(float(name))
            case "forget":
                note(f"forgot {engine.forget(time.time() - float(name))}")
            case "rest":
                now[0] += float(name)
                engine.rest(busy=False)
                note(f"awake {engine._awake}")
            case "busy":
                now[0] += float(name)
                engine.rest(busy=True)
                note(f"awake {engine._awake}")
            case "reopen":
                engine.close()
                engine.open()
    engine.close()
    note("closed")


if __name__ == "__main__":
    main()
