"""A machine that runs short: of disk for the state, of a state that nobody else holds, of watches, of room for events.

The service runs in namespaces of its own, where a small file system and a low limit can be given to it without root;
that needs user namespaces, as the sandbox does. No model runs in there: it would need a second user.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import training
from mlflow import MlflowClient
from workplace import AGENT, AUDITS, Workplace, environment, eventually, stop

SMALL = """
mount -t tmpfs -o size=3m none small && echo {watches} > /proc/sys/user/max_inotify_watches && exec "$@"
"""
READ_ONLY = 'mount --bind small small && mount -o remount,bind,ro small && exec "$@"'
HOLD = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
db.execute("ROLLBACK")
"""
SETTINGS = "state: ./small/agent.db\ncache: {{folder: ./cache}}\n"
SELF_PREDICTED = "      prediction: prediction\n"
EVENTS = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())


def within(script: str, *args: str) -> list[str]:
    """A command of the agent in a mount and a user namespace that the script has prepared."""
    return ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", *AGENT, *args]


@contextmanager
def small_service(place: Workplace, watches: int) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """The service, and its small disk as it is seen from here."""
    with (place.folder / "agent.log").open("ab") as log:
        process = subprocess.Popen(
            within(SMALL.format(watches=watches), "run", "-v"), cwd=place.folder, env=environment(), stderr=log
        )
    try:
        yield process, Path(f"/proc/{process.pid}/root{place.folder}/small")
    finally:
        stop(process)


def fill(disk: Path) -> None:
    descriptor = os.open(disk / "filler", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        while True:
            os.write(descriptor, bytes(4096))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
    finally:
        os.close(descriptor)


@contextmanager
def held(database: Path, pid: int) -> Iterator[None]:
    """Another process is in the middle of writing to a database, which it sees as the process `pid` does."""
    enter = ["nsenter", "--preserve-credentials", "--user", "--mount", f"--target={pid}", "--"]
    with subprocess.Popen(
        [*enter, sys.executable, "-c", HOLD, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        yield
        other.communicate(b"enough")
    assert other.returncode == 0


def run(uri: str, name: str = training.EXPERIMENT) -> str:
    table = training.table()
    return training.log_table(uri, table.assign(prediction=table.y), into=name)


def test_what_runs_short_delays_verdicts_and_loses_none(place: Workplace, new_database: Callable[[Path], str]) -> None:
    uri, files = new_database(place.folder), str(place.folder / "files")
    experiment = Path(files) / training.experiment(MlflowClient(files))
    (place.folder / "small").mkdir()
    place.configure([uri, files], audits=SETTINGS + AUDITS + SELF_PREDICTED)
    runs = {run(uri): uri, run(files): files}

    def audited() -> bool:
        return all(training.status(where, run_id) == "pass" for run_id, where in runs.items())

    # Watches for the store, for "0" (which MLflow makes) and for the experiment, and for no run.
    with small_service(place, watches=3) as (process, disk):
        eventually(audited, workplace=place)
        client = MlflowClient(files)
        unwatched = client.create_run(experiment.name).info.run_id
        place.await_log("watch.limit_reached")
        client.log_text(
            unwatched, training.table().assign(prediction=lambda t: t.y).to_csv(index=False), "data/test.csv"
        )
        client.set_terminated(unwatched)
        runs[unwatched] = files
        eventually(audited, workplace=place)

        fill(disk)
        runs |= {run(uri): uri, run(files): files}
        place.await_log("state.unavailable")
        time.sleep(1)
        assert not audited()
        (disk / "filler").unlink()
        eventually(audited, workplace=place)

        with held(place.folder / "small" / "agent.db", process.pid):
            runs |= {run(uri): uri, run(files): files}
            time.sleep(2)
            assert not audited()
        eventually(audited, workplace=place)

        process.send_signal(signal.SIGSTOP)
        for number in range(EVENTS + 100):
            (experiment / f".{number}").touch()
        runs |= {run(files): files, run(files, "tiny-new"): files}
        process.send_signal(signal.SIGCONT)
        eventually(audited, workplace=place)
        fill(disk)  # it can't even write down what it counted, and ends in order all the same
    assert process.returncode == 0, place.log()
    assert any("overflow" in event["reason"] for event in place.events("watch.blind"))
    for run_id, where in runs.items():
        assert len(training.evidence_folders(where, run_id)) == 1
    assert "Traceback" not in (place.folder / "agent.log").read_text()
    reasons = {event["reason"] for event in place.events("state.unavailable")}
    assert reasons == {"the state can't be used: database or disk is full"}
    assert place.events("store.down") == []  # the stores answered all the time


def test_a_state_that_cant_be_written_is_said_before_anything_is_done(place: Workplace, uri: str) -> None:
    (place.folder / "small").mkdir()
    place.configure([uri], audits=SETTINGS + AUDITS)
    done = subprocess.run(
        within(READ_ONLY, "audit"), cwd=place.folder, env=environment(), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2, done.stderr
    assert "the state can't be opened" in done.stderr
    assert "check `state:` in agent.yaml and the permissions of its folder" in done.stderr
    assert "Traceback" not in done.stderr
