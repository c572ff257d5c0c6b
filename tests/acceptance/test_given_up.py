"""A run whose verdict can't be written holds up no other, is listed with its reason, and is tried again when told."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
import training
from mlflow import MlflowClient
from workplace import Workplace, eventually

from venturalitica_agent.errors import ConfigError

SELF_PREDICTED = "      prediction: prediction\n"


def poisoned(uri: str, run_id: str) -> Path:
    """A folder at the place of a file that is written beside the evidence."""
    location = MlflowClient(uri).get_run(run_id).info.artifact_uri.removeprefix("file://")
    place = Path(location) / "policy_snapshot" / "tiny.yaml"
    place.mkdir(parents=True)
    return place


def test_what_was_given_up_is_listed_and_tried_again(place: Workplace, uri: str) -> None:
    agent = place.folder / "agent.yaml"
    agent.write_text(agent.read_text() + SELF_PREDICTED)
    table = training.table().assign(prediction=training.table().y)
    good = [training.log_table(uri, table) for _ in range(5)]
    bad = [training.log_table(uri, table) for _ in range(2)]
    in_the_way = [poisoned(uri, run) for run in bad]

    place.here("audit", check=3)
    assert training.search(uri, "pass") == set(good)
    known = place.here("status")
    assert sorted(row["run_id"] for row in known["given_up"]) == sorted(bad)
    assert all("could be written back" in row["reason"] for row in known["given_up"])
    assert known["queue"] == {"depth": 0, "oldest": 0.0, "retries": 0}
    with pytest.raises(ConfigError, match="was not given up"):
        place.here("audit", "--retry", "--run", good[0], check=None)

    in_the_way[0].rmdir()
    assert place.here("audit", "--retry", "--run", bad[0])["audited"] == 1
    assert training.status(uri, bad[0]) == "pass"
    assert [row["run_id"] for row in place.here("status")["given_up"]] == [bad[1]]

    in_the_way[1].rmdir()
    with place.service():
        place.await_log("service.started")
        assert place.here("audit", "--retry") == {"handed_over": 1}
        eventually(lambda: training.status(uri, bad[1]) == "pass", workplace=place)
    assert place.here("status")["given_up"] == []
    with closing(sqlite3.connect(place.folder / ".venturalitica" / "agent.db")) as db:
        entries = [json.loads(row[0]) for row in db.execute("SELECT content FROM log_entries")]
    # What was logged and could not be published is what is published in the end.
    given = Counter((entry["run_id"], entry["status"]) for entry in entries if entry["kind"] == "verdict")
    assert given == Counter([(run, "pass") for run in good + bad] + [(run, "error") for run in bad])
