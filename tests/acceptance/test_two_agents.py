"""Two agents that know nothing of each other, each with a state and a key of its own, on one store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import training
from workplace import AUDITS, Workplace, eventually


def test_two_agents_with_separate_states_leave_one_verdict_and_one_evidence_set(
    place: Workplace, new_database: Callable[[Path], str]
) -> None:
    uri = new_database(place.folder)
    one, other = Workplace(place.folder / "one"), Workplace(place.folder / "other")
    table = training.table()
    good, bad = table.assign(prediction=table.y), table.assign(prediction=1 - table.y)
    for agent in (one, other):
        agent.folder.mkdir()
        agent.configure([uri], audits=AUDITS + "      prediction: prediction\n")
    with one.service(), other.service():
        for agent in (one, other):
            agent.await_log("store.up")
        runs = {training.log_table(uri, bad if number % 3 else good): number % 3 for number in range(6)}
        for agent in (one, other):
            eventually(lambda agent=agent: len(agent.events("audit.published")) >= len(runs), workplace=agent)
        eventually(lambda: len(training.search(uri, "fail")) == 4, workplace=one)
    for run, number in runs.items():
        assert training.status(uri, run) == ("fail" if number else "pass"), one.log() + other.log()
        assert len(training.evidence_folders(uri, run)) == 1
    for agent in (one, other):
        assert sorted(event["run"] for event in agent.events("audit.published")) == sorted(runs)
        assert agent.json("status")["given_up"] == []
