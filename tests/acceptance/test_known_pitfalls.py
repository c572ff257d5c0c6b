"""What has gone wrong in tools of this kind, each shown not to happen here: by the whole program, as a process.

Most tables go to experiments of one store that a single pass audits, each under a policy of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
import training
import yaml
from mlflow import MlflowClient
from workplace import AGENT, GERMAN, Served, Workplace, environment, eventually

HEAD = 'policy: {name}\nversion: "1.0"\ncontrols:\n'
SHARED = pytest.mark.xdist_group("pitfalls")
CASES: dict[str, Case] = {}


@dataclass(frozen=True)
class Case:
    """A table with its own predictions, the controls that it is held to, and what its columns mean."""

    frame: pd.DataFrame
    controls: str
    columns: dict[str, Any]


def case(name: str, frame: pd.DataFrame, *controls: str, **columns: Any) -> str:
    """Have the table audited by the shared pass, under the policy `name`."""
    CASES[name] = Case(frame, "".join(controls), columns)
    return name


def control(name: str, metric: str, require: str, **more: object) -> str:
    lines = {"id": json.dumps(name), "metric": metric, "require": json.dumps(require), **more}
    return "  - " + "\n    ".join(f"{key}: {value}" for key, value in lines.items()) + "\n"


@dataclass(frozen=True)
class Audited:
    """All cases after one pass."""

    place: Workplace
    uri: str
    runs: dict[str, str]

    def findings(self, name: str) -> dict[str, dict[str, Any]]:
        return training.findings(self.uri, self.runs[name])

    def declare(self, name: str, **columns: Any) -> None:
        """Say in agent.yaml what the columns mean after all."""
        agent = self.place.folder / "agent.yaml"
        document = yaml.safe_load(agent.read_text())
        (entry,) = (entry for entry in document["audits"] if entry["name"] == name)
        entry["columns"] = columns
        agent.write_text(yaml.safe_dump(document))


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory, new_database: Callable[[Path], str]) -> Audited:
    place = Workplace(tmp_path_factory.mktemp("pitfalls"))
    uri = new_database(place.folder)
    (place.folder / "policies").mkdir()
    audits = []
    for name, given in CASES.items():
        (place.folder / "policies" / f"{name}.yaml").write_text(HEAD.format(name=name) + given.controls)
        data = {"evaluation": {"artifact": "data/test.csv"}}
        entry = {"runs": {"experiment": name}, "policy": name, "data": data, "columns": given.columns}
        audits.append({"name": name} | entry)
    document = {"stores": [{"mlflow": uri}], "policies": "./policies", "settle": "0s", "audits": audits}
    (place.folder / "agent.yaml").write_text(yaml.safe_dump(document))
    runs = {name: training.log_table(uri, given.frame, into=name) for name, given in CASES.items()}
    assert place.here("audit", check=1)["audited"] == len(CASES)
    return Audited(place, uri, runs)


def test_the_verdict_does_not_depend_on_an_optional_package(place: Workplace, uri: str) -> None:
    """With fairlearn impossible to import, German Credit's ratio by sex is still 0.818, not 0.905."""
    mlflow.set_tracking_uri(uri)
    with mlflow.start_run(experiment_id=training.experiment(MlflowClient(uri))) as run:
        mlflow.log_text(GERMAN.read_text(), "data/test.csv")
    (place.folder / "policies" / "tiny.yaml").write_text(
        HEAD.format(name="tiny")
        + control("sex", "disparate_impact", "> 0.8", role="Attribute9", of="labels", decide_on="point")
    )
    agent = place.folder / "agent.yaml"
    agent.write_text(
        agent.read_text().split("    columns:")[0] + "    columns: {target: {column: class, positive: 1}}\n"
    )
    blocked = "import sys; sys.modules['fairlearn'] = None; from venturalitica_agent.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", blocked, "audit"], cwd=place.folder, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = training.findings(uri, run.info.run_id)
    assert round(found["sex"]["measurement"]["value"], 6) == 0.817910


MISSING = case(
    "missing-column",
    pd.DataFrame({"gender": ["f", "m"] * 60, "y": [0, 1, 1, 0] * 30}),
    control("race", "disparate_impact", ">= 0.1", role="race", of="labels"),
    control("gender", "disparate_impact", ">= 0.1", role="gender", of="labels"),
    target={"column": "y", "positive": 1},
)


@SHARED
def test_a_control_on_a_missing_column_is_never_measured_on_another(audited: Audited) -> None:
    """`race` has no column: `error`, with the columns that there are; `gender` is not taken for it."""
    found = audited.findings(MISSING)
    assert found["race"]["status"] == "error"
    assert "gender" in found["race"]["sentence"] + found["race"]["remedy"]
    assert found["gender"]["status"] == "pass"


TEXT = case(
    "text-labels",
    pd.DataFrame({"sex": ["f", "m"] * 60, "y": (["good"] * 6 + ["bad"] * 2) * 15, "prediction": ["good"] * 120}),
    control("gap", "equalized_odds_diff", "<= 0.5", role="sex"),
    control("ratio", "disparate_impact", ">= 0.5", role="sex"),
    target="y",
    prediction="prediction",
)


@SHARED
def test_text_labels_without_a_positive_class_pass_nothing(audited: Audited) -> None:
    """`good`/`bad` labels: not 0 and not 1.0, but `error` until somebody says which is the good outcome."""
    found = audited.findings(TEXT)
    assert {f["status"] for f in found.values()} == {"error"}
    assert all("positive" in f["sentence"] + f["remedy"] for f in found.values())
    audited.declare(TEXT, target={"column": "y", "positive": "good"}, prediction="prediction")
    audited.place.here("audit", "--run", audited.runs[TEXT])
    assert {f["status"] for f in audited.findings(TEXT).values()} == {"pass"}


REJECTED = case(
    "every-woman-rejected",
    pd.DataFrame({"sex": ["f", "m"] * 100, "y": [1, 1, 2, 2] * 50, "prediction": [2, 1] * 100}),
    control("odds", "equalized_odds_ratio", ">= 0.5", role="sex"),
    control("impact", "disparate_impact", ">= 0.5", role="sex"),
    target={"column": "y", "positive": 1},
    prediction="prediction",
)


@SHARED
def test_a_model_that_rejects_every_woman_is_not_perfect(audited: Audited) -> None:
    """Labels coded 1/2, no woman selected: the ratio is 0 and fails; it is not undefined into a pass."""
    found = audited.findings(REJECTED)
    assert {name: (f["status"], f["measurement"]["value"]) for name, f in found.items()} == {
        "odds": ("fail", 0),
        "impact": ("fail", 0),
    }


ODD_ID = case(
    "odd-id",
    pd.DataFrame({"sex": ["f", "m"] * 100, "y": [0, 1] * 100}),
    control("Art.10(2)(f)", "disparate_impact", ">= 0.8", role="sex", of="labels"),
    target={"column": "y", "positive": 1},
)


@SHARED
def test_any_control_id_is_written_and_a_failing_run_keeps_its_evidence(audited: Audited) -> None:
    """`Art.10(2)(f)` once made all logging vanish; a blocked run once left no evidence at all."""
    assert audited.findings(ODD_ID)["Art.10(2)(f)"]["status"] == "fail"
    run = audited.runs[ODD_ID]
    assert training.tags(audited.uri, run)["venturalitica.failed"] == "Art.10(2)(f)"
    snapshot = MlflowClient(audited.uri).download_artifacts(run, f"policy_snapshot/{ODD_ID}.yaml")
    assert Path(snapshot).read_bytes() == (audited.place.folder / "policies" / f"{ODD_ID}.yaml").read_bytes()


def test_skipped_controls_are_counted_apart_and_alone_never_pass(place: Workplace, uri: str) -> None:
    """An SDK policy for the monitoring phase only: the run's status is `skip`, and it is tagged so."""
    policy = """
- {id: later, metric_key: class_imbalance, operator: gt, threshold: "0.2", severity: low, lifecycle_phase: monitoring,
   "input.target": y}
"""
    (place.folder / "policies" / "tiny.yaml").write_text(policy)
    run = training.log_table(uri, pd.DataFrame({"y": [0, 1] * 50}))
    place.here("audit", check=3)
    assert training.status(uri, run) == "skip"
    assert training.tags(uri, run)["venturalitica.counts"] == "p0 f0 i0 w0 e0 s1 x0"


ACROSS = case(
    "across-the-threshold",
    pd.DataFrame({"sex": ["f"] * 50 + ["m"] * 50, "y": [1] * 27 + [0] * 23 + [1] * 33 + [0] * 17}),
    control("impact", "disparate_impact", "> 0.8", role="sex", of="labels"),
    target={"column": "y", "positive": 1},
)


@SHARED
def test_a_point_above_the_threshold_with_an_interval_across_it_does_not_pass(audited: Audited) -> None:
    """0.818 > 0.8 with an interval of [0.61, 0.91] was once a PASS."""
    found = audited.findings(ACROSS)
    measured = found["impact"]["measurement"]
    assert measured["value"] > 0.8
    assert measured["interval"]["low"] < 0.8 < measured["interval"]["high"]
    assert found["impact"]["status"] == "inconclusive"


def test_an_empty_store_is_not_green(place: Workplace, uri: str) -> None:
    training.experiment(MlflowClient(uri))
    document = place.here("audit", check=3)
    assert (document["verdicts"], document["audited"]) == ([], 0)
    assert place.here("status")["verdicts"] == {}


@pytest.mark.xdist_group("service")
def test_two_processes_that_write_at_once_lose_nothing(served: Served) -> None:
    """Forty runs trained by two processes while the agent audits: forty verdicts (once 58 of 100 rows survived)."""
    uri, place = served.uris["crowded"], served.place
    trainer = (
        "import sys; sys.path.insert(0, sys.argv[1]); import training; from mlflow import MlflowClient\n"
        "client = MlflowClient(sys.argv[2]); experiment = training.experiment(client)\n"
        "for _ in range(20):\n"
        "    run = client.create_run(experiment).info.run_id\n"
        "    client.log_text(run, training.table().to_csv(index=False), 'data/test.csv')\n"
        "    client.set_terminated(run)\n"
    )
    command = [sys.executable, "-c", trainer, str(Path(__file__).parent), uri]
    writers = [subprocess.Popen(command, env=environment(), cwd=place.folder) for _ in range(2)]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    client = MlflowClient(uri)
    runs = {run.info.run_id for run in client.search_runs([training.experiment(client)])}
    assert len(runs) == 40
    eventually(lambda: len(served.published(*runs)) >= 40, 120, place)
    assert sorted(served.published(*runs)) == sorted(runs)
    assert training.search(uri, "error") == runs  # they logged no model, so there is no verdict to give


def test_the_console_scripts_are_the_same_program() -> None:
    for script in ("venturalitica-agent", "venturalitica"):
        path = Path(sys.executable).with_name(script)
        done = subprocess.run([str(path), "--version"], capture_output=True, text=True, check=True)
        assert done.stdout == subprocess.run([*AGENT, "--version"], capture_output=True, text=True, check=True).stdout
