"""The service as its user runs it: a process, on real stores, killed and restarted."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
import training
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import Dataset, DatasetInput, InputTag
from workplace import AUDITS, Workplace, eventually, stop


def test_runs_that_end_are_audited_tagged_and_proven(place: Workplace, store_uri: str, tmp_path: Path) -> None:
    """Backlog and live runs alike get the tags, evidence and snapshot of the contract, and keep everything else."""
    place.configure([store_uri])
    good = training.train(store_uri)
    before = training.run_info(store_uri, good)
    with place.service():
        eventually(lambda: training.status(store_uri, good) is not None, workplace=place)
        bad = training.train(store_uri, good=False)
        eventually(lambda: training.status(store_uri, bad) is not None, workplace=place)
    assert training.search(store_uri, "pass") == {good}
    assert training.search(store_uri, "fail") == {bad}
    assert training.run_info(store_uri, good) == before

    tags = training.tags(store_uri, bad)
    assert tags["venturalitica.policy"] == "tiny@1.0"
    assert tags["venturalitica.failed"] == "accuracy"
    assert tags["venturalitica.counts"] == "p1 f1 i0 w0 e0 s0 x0"
    policy = (place.folder / "policies" / "tiny.yaml").read_bytes()
    assert tags["venturalitica.policy_digest"] == hashlib.sha256(policy).hexdigest()

    copy = Path(download_artifacts(run_id=bad, tracking_uri=store_uri, dst_path=str(tmp_path / "copy")))
    evidence = (copy / tags["venturalitica.evidence"]).read_bytes()
    assert hashlib.sha256(evidence).hexdigest() == tags["venturalitica.evidence_digest"]
    assert (copy / "policy_snapshot" / "tiny.yaml").read_bytes() == policy
    folder = (copy / tags["venturalitica.evidence"]).parent
    sums = [line for line in (folder / "SHA256SUMS").read_text().splitlines(True) if "  model/" not in line]
    subprocess.run(["sha256sum", "--check", "--strict", "-"], cwd=folder, input="".join(sums), text=True, check=True)
    document = json.loads(evidence)
    assert document["verdict"]["status"] == "fail"
    assert document["sandbox"]["tier"] == "bwrap"

    client = MlflowClient(store_uri)
    (output,) = client.get_run(bad).outputs.model_outputs
    assert client.get_logged_model(output.model_id).tags["venturalitica.status"] == "fail"


def test_what_is_missing_is_an_error_with_its_remedy(place: Workplace, store_uri: str) -> None:
    """A run without data or without a model gets `error`, never a pass, and says what to do."""
    place.configure([store_uri])
    without_data = training.train(store_uri, data=False)
    without_model = training.train(store_uri, model=False)
    document = place.json("audit", check=3)
    assert {v["run_id"]: v["status"] for v in document["verdicts"]} == {without_data: "error", without_model: "error"}
    for run in (without_data, without_model):
        evidence = training.tags(store_uri, run)["venturalitica.evidence"]
        report = download_artifacts(
            run_id=run, artifact_path=evidence.replace("evidence.json", "report.md"), tracking_uri=store_uri
        )
        assert "What to do:" in Path(report).read_text()


def test_a_killed_service_goes_on_where_it_was(place: Workplace, store_uri: str) -> None:
    """SIGKILL at four moments: every run ends with one verdict and one evidence set, and MLflow's data is whole."""
    place.configure([store_uri])
    runs = {training.train(store_uri, good=n % 2 == 0, name=f"run {n}"): n % 2 == 0 for n in range(8)}
    before = {run: training.run_info(store_uri, run) for run in runs}
    for seen in (1, 2, 3, 5):
        process = place.start()
        try:
            eventually(lambda seen=seen: _with_verdict(store_uri, runs) >= seen, workplace=place)
        finally:
            stop(process, signal.SIGKILL)
    with place.service():
        eventually(lambda: all(training.status(store_uri, r) for r in runs), workplace=place)
    for run, good in runs.items():
        assert training.status(store_uri, run) == ("pass" if good else "fail")
        assert len(training.evidence_folders(store_uri, run)) == 1
        assert training.run_info(store_uri, run) == before[run]


def _with_verdict(uri: str, runs: Iterable[str]) -> int:
    return sum(training.status(uri, run) is not None for run in runs)


def test_two_agents_on_one_state_do_not_audit_twice(place: Workplace) -> None:
    """The second is refused with a sentence; nothing is done twice."""
    uri = f"sqlite:///{place.folder}/mlflow.db"
    place.configure([uri])
    run = training.train(uri)
    with place.service():
        eventually(lambda: training.status(uri, run) is not None, workplace=place)
        refused = place.run("audit", check=3)
        assert "another venturalitica-agent works on this state" in refused.stderr
    assert len(training.evidence_folders(uri, run)) == 1


def test_a_store_that_appears_later_is_caught_up_with(place: Workplace, store_uri: str) -> None:
    """Unreachable at start: said once, tried again, and what was missed is audited."""
    place.configure([store_uri])
    with place.service():
        place.await_log("store.down")
        run = training.train(store_uri)
        eventually(lambda: training.status(store_uri, run) == "pass", workplace=place)
        assert len(place.events("store.down")) == 1
        assert place.events("store.up")


def test_late_inputs_and_resumed_runs_are_audited_again(place: Workplace, store_uri: str) -> None:
    """A dataset logged after the end, and a run that resumes and ends anew, each lead to one more audit."""
    place.configure([store_uri])
    run = training.train(store_uri)
    client = MlflowClient(store_uri)
    with place.service():
        eventually(lambda: training.status(store_uri, run) is not None, workplace=place)
        first = len(place.events("audit.published"))
        client.update_run(run, status="RUNNING")
        client.set_terminated(run)
        eventually(lambda: len(place.events("audit.published")) == first + 1, workplace=place)
        late = Dataset(name="late", digest="1234abcd", source_type="local", source='{"uri": "elsewhere.csv"}')
        client.log_inputs(run, [DatasetInput(late, [InputTag("mlflow.data.context", "eval")])])
        eventually(lambda: len(place.events("audit.published")) == first + 2, workplace=place)
    # the same model, data and policy: the same evidence place
    assert len(training.evidence_folders(store_uri, run)) == 1
    assert place.json("status")["due"] == 0


def test_failed_deleted_and_endless_runs_are_counted_not_audited(place: Workplace, store_uri: str) -> None:
    place.configure([store_uri], audits="stale_running: 1s\n" + AUDITS)
    client = MlflowClient(store_uri)
    experiment = training.experiment(client)
    failed, endless, deleted = (client.create_run(experiment).info.run_id for _ in range(3))
    client.set_terminated(failed, "FAILED")
    client.set_terminated(deleted)
    client.delete_run(deleted)
    place.run("audit", check=3)
    status = place.json("status")
    (store,) = status["stores"]
    assert store["runs"] == {"gone": 1, "ignored": 1, "running": 1}
    assert [reason for reason in store["ignored"] if reason.startswith("FAILED runs are not audited")]
    eventually(lambda: [r["run_id"] for r in place.json("status")["running_too_long"]] == [endless])
    client.restore_run(deleted)
    document = place.json("audit", check=3)
    assert [v["run_id"] for v in document["verdicts"]] == [deleted]
    assert all(training.status(store_uri, run) is None for run in (failed, endless))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_service_stops_when_asked(place: Workplace, number: int) -> None:
    uri = f"sqlite:///{place.folder}/mlflow.db"
    place.configure([uri])
    process = place.start()
    place.await_log("service.started")
    stop(process, number)
    assert process.returncode == 0
    assert place.events("service.stopped")
