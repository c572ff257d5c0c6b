"""A model or a dataset that is replaced after its audit: the verdict is stale, and given anew by itself."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import training
from mlflow import MlflowClient
from workplace import AUDITS, Workplace, eventually

OFTEN = "drift: {{every: 1s}}\n"
BY_FILE = """
  - name: by-file
    runs: {{experiment: "file*"}}
    policy: tiny
    data:
      evaluation: {{file: "current.csv"}}
    columns:
      target: {{column: y, positive: 1}}
      gender: sex
      prediction: prediction
"""


def model_folder(uri: str, run_id: str) -> Path:
    client = MlflowClient(uri)
    (output,) = client.get_run(run_id).outputs.model_outputs
    return Path(client.get_logged_model(output.model_id).artifact_location.removeprefix("file://"))


def logged(place: Workplace, kind: str) -> list[dict[str, str]]:
    with closing(sqlite3.connect(place.folder / ".venturalitica" / "agent.db")) as db:
        entries = [json.loads(row[0]) for row in db.execute("SELECT content FROM log_entries ORDER BY number")]
    return [entry for entry in entries if entry["kind"] == kind]


def test_what_changed_after_its_audit_is_stale_and_audited_again(
    place: Workplace, new_database: Callable[[Path], str]
) -> None:
    """The model behind one run, the logged data of another, and the file that agent.yaml names for a third."""
    uri = new_database(place.folder)
    place.configure([uri], audits=OFTEN + AUDITS + BY_FILE)
    table = training.table()
    good, bad = table.assign(prediction=table.y), table.assign(prediction=1 - table.y)
    for name, frame in (("good.csv", good), ("bad.csv", bad)):
        frame.to_csv(place.folder / name, index=False)
    (place.folder / "current.csv").symlink_to("good.csv")
    model, data, untouched = training.train(uri), training.train(uri), training.train(uri)
    named = training.log_table(uri, table, into="file")
    runs = (model, data, named)
    with place.service():
        eventually(lambda: training.search(uri, "pass") == {model, data, untouched}, workplace=place)
        eventually(lambda: training.status(uri, named) == "pass", workplace=place)
        before = {run: training.tags(uri, run)["venturalitica.evidence"] for run in runs}

        # As somebody would who may write to the store and knows of the audit.
        shutil.copy(training.saved(good=False) / "model.pkl", model_folder(uri, model) / "model.pkl")
        artifacts = Path(MlflowClient(uri).get_run(data).info.artifact_uri.removeprefix("file://"))
        table.assign(y=1 - table.y).to_csv(artifacts / "data" / "test.csv", index=False)
        (place.folder / "current.csv").unlink()
        (place.folder / "current.csv").symlink_to("bad.csv")

        for run in runs:
            eventually(lambda run=run: training.status(uri, run) == "fail", workplace=place)
        stale = place.events("verdict.stale")
        document = place.here("status")
    assert sorted(event["run"] for event in stale) == sorted(runs)
    assert sorted(row["run_id"] for row in document["stale"]) == sorted(runs)
    told = {entry["run_id"]: entry["found"] for entry in logged(place, "stale")}
    assert told[model].startswith("the model changed: audited was SHA-256")
    assert told[data].startswith("the evaluation data changed")
    assert told[named].startswith("the evaluation data changed")
    for run in runs:
        assert len(training.evidence_folders(uri, run)) == 2
        after = training.tags(uri, run)["venturalitica.evidence"]
        assert after != before[run]
        MlflowClient(uri).download_artifacts(run, before[run])  # what proves the older verdict is still there
    assert training.status(uri, untouched) == "pass"
    assert len(training.evidence_folders(uri, untouched)) == 1
    assert document["verdicts"] == {"pass": 1, "fail": 3}
    place.run("verify", "--all")
