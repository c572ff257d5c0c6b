"""A clock that jumps, forward and back, while the service runs: every run gets its verdict in time, once."""

from __future__ import annotations

import time

import training
from mlflow import MlflowClient
from support.turned_clock import TurnedClock
from workplace import AUDITS, Workplace, eventually

DAY = 86_400
OFTEN = "drift: {{every: 2s}}\n"


def test_a_clock_that_jumps_delays_nothing_and_undoes_nothing(place: Workplace, store_uris: list[str]) -> None:
    """A day ahead, then two days behind that: quiet times, polls, sweeps and the look for drift go on; and the verdict
    that was given last counts, though its clock showed less than that of the one before it."""
    clock = TurnedClock(place.folder)
    place.configure(store_uris, settle="1s", audits=OFTEN + AUDITS)
    uri, files = store_uris
    first = training.train(uri)
    with place.service(**clock.environment):
        eventually(lambda: training.status(uri, first) == "pass", workplace=place)
        clock.turn(DAY)
        ahead = {training.train(uri): uri, training.train(files): files}
        for run, where in ahead.items():
            eventually(lambda run=run, where=where: training.status(where, run) == "pass", workplace=place)
            assert training.tags(where, run)["venturalitica.audited_at"] > now()
        waiting = training.train(uri)
        time.sleep(0.5)  # it is noticed, and its quiet time is not over
        clock.turn(-DAY)
        behind = {training.train(uri, good=False): uri, training.train(files, good=False): files}
        for run, where in behind.items():
            eventually(lambda run=run, where=where: training.status(where, run) == "fail", workplace=place)
            assert training.tags(where, run)["venturalitica.audited_at"] < now()
        eventually(lambda: training.status(uri, waiting) == "pass", workplace=place)
        assert place.events("clock.set_back")

        # What is looked at by the calendar: other data for a run that was audited a day ahead.
        (changed,) = (run for run, where in ahead.items() if where == uri)
        MlflowClient(uri).log_text(
            changed, training.table().assign(y=lambda t: 1 - t.y).to_csv(index=False), "data/test.csv"
        )
        eventually(lambda: training.status(uri, changed) == "fail", workplace=place)
        shown = {row["run_id"]: row["status"] for row in place.here("status")["audits"]}
        assert shown[changed] == "fail"
        MlflowClient(uri).set_tag(changed, "venturalitica.status", "pass")
        eventually(lambda: training.status(uri, changed) == "fail", workplace=place)
    runs = [first, waiting, *ahead, *behind]
    assert sorted(e["run"] for e in place.events("audit.published")) == sorted([*runs, changed])
    place.run("verify", "--all")


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
