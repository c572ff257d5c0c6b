"""Every command as a user types it: what it prints, and the exit code that CI sees."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pytest
import training
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag
from sklearn.tree import DecisionTreeClassifier
from workplace import AGENT, POLICY, ROOT, Workplace, environment

from venturalitica_agent.cli import app
from venturalitica_agent.errors import ConfigError
from venturalitica_agent.policy.load import load_policies

SHARED = pytest.mark.xdist_group("commands")


@dataclass(frozen=True)
class Audited:
    """Runs of every sort in one store, after one pass that ended with `document`."""

    place: Workplace
    uri: str
    runs: dict[str, str]
    document: dict[str, Any]

    def statuses(self, *names: str) -> list[str]:
        found = {v["run_id"]: v["status"] for v in self.document["verdicts"]}
        return [found[self.runs[name]] for name in names]


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory, new_database: Callable[[Path], str]) -> Audited:
    place = Workplace(tmp_path_factory.mktemp("commands"))
    uri = new_database(place.folder)
    place.configure([uri])
    runs = {name: training.train(uri, name=name) for name in ("good", "torn", "broken")}
    client = MlflowClient(uri)
    client.log_text(runs["torn"], 'income,sex,y\n1,"f\n', "data/test.csv")
    (output,) = client.get_run(runs["broken"]).outputs.model_outputs
    location = Path(client.get_logged_model(output.model_id).artifact_location.removeprefix("file://"))
    (location / "model.pkl").write_bytes(b"\x80\x05cmissing_package\nThing\n.")
    runs["cheat"] = _log_cheat(uri)
    return Audited(place, uri, runs, place.here("audit", check=3))


def _log_cheat(uri: str) -> str:
    """A run whose model has no signature and was trained on the label itself: with it, it is perfect."""
    mlflow.set_tracking_uri(uri)
    frame = training.table()
    with mlflow.start_run(experiment_id=training.experiment(MlflowClient(uri))) as run:
        mlflow.log_text(frame.to_csv(index=False), "data/test.csv")
        cheat = DecisionTreeClassifier().fit(frame[["income", "y"]], frame.y)
        assert cheat.score(frame[["income", "y"]], frame.y) == 1.0
        mlflow.sklearn.log_model(
            cheat, name="model", pip_requirements=["scikit-learn"], serialization_format="cloudpickle"
        )
    return str(run.info.run_id)


def test_audit_tells_ci_with_its_exit_code(place: Workplace, uri: str) -> None:
    """0 pass, 1 fail, 3 no verdict; asked twice it says the same, and audits nothing twice."""
    good = training.train(uri)
    document = place.json("audit", "--run", good)
    assert document["exit_code"] == 0
    assert [v["run_id"] for v in document["verdicts"]] == [good]
    bad = training.train(uri, good=False)
    assert place.here("audit", "--run", f"runs:/{bad}", check=1)["audited"] == 1
    again = place.here("audit", check=1)
    assert (again["audited"], len(again["verdicts"])) == (0, 2)
    without = training.train(uri, data=False)
    link = f"http://localhost:5000/#/experiments/1/runs/{without}"
    assert place.here("audit", "--run", link, check=3)["verdicts"][0]["status"] == "error"


def test_audit_of_a_run_that_nothing_selects_gives_no_verdict_and_the_reason(place: Workplace, uri: str) -> None:
    client = MlflowClient(uri)
    run = client.create_run(training.experiment(client, "elsewhere")).info.run_id
    client.set_terminated(run)
    document = place.here("audit", "--run", run, check=3)
    assert document["verdicts"] == []
    assert document["without_verdict"] == [{"run_id": run, "reason": "no entry of `audits` selects this experiment"}]


def test_audit_of_an_unknown_run_is_a_usage_error(place: Workplace, uri: str) -> None:
    assert "no store of agent.yaml has this run" in place.run("audit", "--run", "0" * 32, check=2).stderr
    with pytest.raises(ConfigError, match="this names no run"):
        place.here("audit", "--run", "yesterday")


def test_a_store_that_is_away_is_no_verdict_and_is_said(place: Workplace) -> None:
    uri = f"sqlite:///{place.folder}/mlflow.db"
    place.configure([uri])
    document = place.here("audit", check=3)
    assert document["stores_down"] == [{"uri": uri, "reason": "there is no such database (No such file or directory)"}]
    assert not (place.folder / "mlflow.db").exists()


@SHARED
def test_status_reads_the_state_alone(audited: Audited) -> None:
    database = audited.place.folder / "mlflow.db"
    away = database.rename(database.with_name("away.db"))
    try:
        document = audited.place.here("status")
        assert "verdicts: 3 error, 1 pass" in audited.place.run("status").stdout
        assert not database.exists()
    finally:
        away.rename(database)
    assert document["verdicts"] == {"error": 3, "pass": 1}
    assert {a["run_id"] for a in document["audits"]} == set(audited.runs.values())


def test_init_writes_files_that_work_and_never_overwrites(
    place: Workplace, new_database: Callable[[Path], str]
) -> None:
    place.run("init")
    assert {p.name for p in place.folder.iterdir()} == {"agent.yaml", "policies"}
    assert [policy.id for policy in load_policies(place.folder / "policies")] == ["credit-scoring"]
    with pytest.raises(ConfigError, match="is not overwritten"):
        app(["init", str(place.folder)], standalone_mode=False)
    new_database(place.folder)
    checks = place.here("doctor")
    assert [c["name"] for c in checks if not c["ok"]] == []


def test_doctor_says_what_to_do(place: Workplace) -> None:
    """A store that isn't there and a policy with mistakes: each a FAIL with its remedy, and exit code 2."""
    uri = f"sqlite:///{place.folder}/mlflow.db"
    place.configure([uri])
    (place.folder / "policies" / "tiny.yaml").write_text(POLICY.replace("accuracy\n    article", "acuracy\n    artcle"))
    checks = {c["name"]: c for c in place.here("doctor", check=2)}
    assert not checks["policies"]["ok"]
    assert not checks[f"store {uri}"]["ok"]
    assert checks[f"store {uri}"]["remedy"]
    assert checks["sandbox"]["ok"]
    assert "FAIL" in place.run("doctor", check=2).stdout


def test_policy_check_reads_what_we_ship(place: Workplace) -> None:
    found = place.json("policy", "check", str(ROOT / "policies"))
    assert {p["id"] for p in found} == {p.name for p in (ROOT / "policies").iterdir() if p.is_dir()}


MISTAKES = [
    ("agent.yaml", "settle:", "setle:", "settle"),
    ("agent.yaml", "policy: tiny", "policy: tinny", "tiny"),
    ("agent.yaml", "    columns:", "    colums:", "columns"),
    ("policies/tiny.yaml", "metric: accuracy", "metric: acuracy", "accuracy"),
    ("policies/tiny.yaml", "require:", "requires:", "require"),
    ("policies/tiny.yaml", ">= 0.6", ">= 60", "0"),
    ("policies/tiny.yaml", ">= 0.6", "<= 0.6", "higher"),
    ("policies/tiny.yaml", "    role: gender\n", "", "role"),
]


@pytest.mark.parametrize(("file", "right", "wrong", "word"), MISTAKES)
def test_mistakes_are_told_with_file_and_line_before_anything_starts(
    place: Workplace, uri: str, file: str, right: str, wrong: str, word: str
) -> None:
    path = place.folder / file
    text = path.read_text()
    assert right in text
    path.write_text(text.replace(right, wrong, 1))
    with pytest.raises(ConfigError) as caught:
        place.here("audit")
    told = str(caught.value.diagnostics())
    assert Path(file).name in told
    assert word in told
    assert not (place.folder / ".venturalitica" / "agent.engine.db").exists()


def test_a_policy_without_controls_is_an_error(place: Workplace, uri: str) -> None:
    (place.folder / "policies" / "tiny.yaml").write_text('policy: tiny\nversion: "1"\ncontrols: []\n')
    told = place.run("policy", "check", "policies", check=2).stderr
    assert "control" in told
    assert "Traceback" not in told


def test_no_policy_and_no_store_are_errors_with_a_remedy(place: Workplace) -> None:
    told = place.run("audit", check=2).stderr
    assert "no store is named and none was found" in told
    assert "venturalitica-agent init" in told
    assert "Traceback" not in told


@SHARED
def test_bad_data_and_bad_models_become_errors_and_lose_nothing(audited: Audited) -> None:
    """An unreadable CSV, a model that doesn't load, and one good run beside them."""
    assert audited.statuses("good", "torn", "broken") == ["pass", "error", "error"]
    for name, words in (("torn", "the evaluation data can't be used: line 2"), ("broken", "missing_package")):
        findings = training.findings(audited.uri, audited.runs[name]).values()
        assert all(f["status"] == "error" for f in findings)
        assert any(words in f["sentence"] for f in findings), findings


@SHARED
def test_a_model_that_asks_for_the_labels_does_not_get_them(audited: Audited) -> None:
    """No signature, trained on the label itself: it would be perfect, and gets an error instead."""
    assert audited.statuses("cheat") == ["error"]
    findings = training.findings(audited.uri, audited.runs["cheat"]).values()
    assert all(f["status"] == "error" and "y" in f["sentence"] for f in findings)


def test_without_a_sandbox_there_is_no_verdict(place: Workplace, uri: str) -> None:
    """No usable bubblewrap: `error: sandbox unavailable`, never a load outside of it."""
    run = training.train(uri)
    hidden = ["bwrap", "--dev-bind", "/", "/", "--ro-bind", "/dev/null", shutil.which("bwrap") or ""]
    done = subprocess.run(
        [*hidden, *AGENT, "audit", "--json"], cwd=place.folder, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 3, done.stderr
    document = json.loads(done.stdout)
    assert document["verdicts"][0]["status"] == "error"
    assert all("sandbox unavailable" in f["sentence"] for f in training.findings(uri, run).values())


def test_several_policies_give_the_worst_and_each(place: Workplace, uri: str) -> None:
    other = POLICY.replace("policy: tiny", "policy: strict").replace(">= 0.6", ">= 0.999")
    (place.folder / "policies" / "strict.yaml").write_text(other)
    agent = place.folder / "agent.yaml"
    agent.write_text(agent.read_text().replace("policy: tiny", "policy: [tiny, strict]"))
    run = training.train(uri)
    place.run("audit", check=1)
    tags = training.tags(uri, run)
    assert tags["venturalitica.status"] == "fail"
    assert tags["venturalitica.policy"] == "strict@1.0"
    assert (tags["venturalitica.tiny.status"], tags["venturalitica.strict.status"]) == ("pass", "fail")
    assert len(training.evidence_folders(uri, run)) == 2


def test_a_run_is_audited_again_when_the_configuration_is_mended(place: Workplace, uri: str) -> None:
    """An `error` for a wrong binding doesn't stay: mend agent.yaml, and the next pass gives the verdict."""
    agent = place.folder / "agent.yaml"
    right = agent.read_text()
    agent.write_text(right.replace("gender: sex", "gender: sexe"))
    run = training.train(uri)
    place.here("audit", check=3)
    assert training.status(uri, run) == "error"
    assert place.here("audit", check=3)["audited"] == 0
    agent.write_text(right)
    assert place.here("audit")["audited"] == 1
    assert training.status(uri, run) == "pass"


def test_a_dataset_logged_late_that_is_provably_another_one_is_a_finding(place: Workplace, uri: str) -> None:
    """The verdict on the same bytes is not taken from memory when what is known of them changed."""
    run = training.train(uri)
    assert place.here("audit")["verdicts"][0]["status"] == "pass"
    rows = Dataset("test", "1234abcd", "local", '{"uri": "data/test.csv"}', profile='{"num_rows": 399}')
    MlflowClient(uri).log_inputs(run, [DatasetInput(rows, [InputTag("mlflow.data.context", "eval")])])
    (verdict,) = place.here("audit")["verdicts"]
    assert (verdict["status"], verdict["failed"]) == ("warn", ["evaluation-data-digest"])
    assert training.status(uri, run) == "warn"
