"""The service as its user runs it: a process, on real stores, killed and restarted."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import sqlite3
import subprocess
import uuid
from contextlib import closing
from pathlib import Path

import pytest
import training
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import Dataset, DatasetInput, InputTag
from workplace import AUDITS, KINDS, Served, Workplace, eventually, stop


@pytest.mark.xdist_group("service")
@pytest.mark.parametrize("kind", KINDS)
def test_runs_that_end_are_audited_tagged_and_proven(served: Served, kind: str, tmp_path: Path) -> None:
    """Backlog and live runs alike get the tags, evidence and snapshot of the contract, and keep everything else."""
    uri, (good, before) = served.uris[kind], served.backlog[kind]
    eventually(lambda: training.status(uri, good) is not None, workplace=served.place)
    bad = training.train(uri, good=False)
    eventually(lambda: training.status(uri, bad) is not None, workplace=served.place)
    assert training.status(uri, bad) == "fail", training.findings(uri, bad)
    assert {good, bad} & training.search(uri, "pass") == {good}  # other tests train runs for the same service
    assert {good, bad} & training.search(uri, "fail") == {bad}
    assert training.run_info(uri, good) == before

    tags = training.tags(uri, bad)
    assert tags["venturalitica.policy"] == "tiny@1.0"
    assert tags["venturalitica.failed"] == "accuracy"
    assert tags["venturalitica.counts"] == "p1 f1 i0 w0 e0 s0 x0"
    policy = (served.place.folder / "policies" / "tiny.yaml").read_bytes()
    assert tags["venturalitica.policy_digest"] == hashlib.sha256(policy).hexdigest()

    copy = Path(download_artifacts(run_id=bad, tracking_uri=uri, dst_path=str(tmp_path / "copy")))
    evidence = (copy / tags["venturalitica.evidence"]).read_bytes()
    assert hashlib.sha256(evidence).hexdigest() == tags["venturalitica.evidence_digest"]
    assert (copy / "policy_snapshot" / "tiny.yaml").read_bytes() == policy
    folder = (copy / tags["venturalitica.evidence"]).parent
    sums = [line for line in (folder / "SHA256SUMS").read_text().splitlines(True) if "  model/" not in line]
    subprocess.run(["sha256sum", "--check", "--strict", "-"], cwd=folder, input="".join(sums), text=True, check=True)
    document = json.loads(evidence)
    assert document["verdict"]["status"] == "fail"
    assert document["sandbox"]["tier"] == "bwrap"

    client = MlflowClient(uri)
    (output,) = client.get_run(bad).outputs.model_outputs
    assert client.get_logged_model(output.model_id).tags["venturalitica.status"] == "fail"


@pytest.mark.xdist_group("service")
@pytest.mark.parametrize("kind", KINDS)
def test_late_inputs_and_resumed_runs_are_audited_again(served: Served, kind: str) -> None:
    """A dataset logged after the end, and a run that resumes and ends anew, each lead to one more audit."""
    uri = served.uris[kind]
    run = training.train(uri, into="tiny-late")
    client = MlflowClient(uri)
    eventually(lambda: len(served.published(run)) == 1, workplace=served.place)
    client.update_run(run, status="RUNNING")
    client.set_terminated(run)
    eventually(lambda: len(served.published(run)) == 2, workplace=served.place)
    late = Dataset(name="late", digest="1234abcd", source_type="local", source='{"uri": "elsewhere.csv"}')
    client.log_inputs(run, [DatasetInput(late, [InputTag("mlflow.data.context", "eval")])])
    eventually(lambda: len(served.published(run)) == 3, workplace=served.place)
    eventually(lambda: served.place.here("status")["due"] == 0, workplace=served.place)
    # the same model, data and policy: the same evidence place
    assert len(training.evidence_folders(uri, run)) == 1
    assert len(served.published(run)) == 3


@pytest.mark.xdist_group("service")
def test_two_agents_on_one_state_do_not_audit_twice(served: Served) -> None:
    """The second is refused with a sentence; nothing is done twice."""
    uri = served.uris["sqlite"]
    run = training.train(uri, into="tiny-twice")
    eventually(lambda: training.status(uri, run) is not None, workplace=served.place)
    refused = served.place.run("audit", check=3)
    assert "another venturalitica-agent works on this state" in refused.stderr
    assert len(training.evidence_folders(uri, run)) == 1
    assert served.published(run) == [run]


def test_what_is_missing_is_an_error_with_its_remedy(place: Workplace, store_uris: list[str]) -> None:
    """A run without data or without a model gets `error`, never a pass, and says what to do."""
    runs = {training.train(uri, **{part: False}): uri for uri in store_uris for part in ("data", "model")}
    document = place.here("audit", check=3)
    assert {v["run_id"]: v["status"] for v in document["verdicts"]} == dict.fromkeys(runs, "error")
    for run, uri in runs.items():
        evidence = training.tags(uri, run)["venturalitica.evidence"]
        report = download_artifacts(
            run_id=run, artifact_path=evidence.replace("evidence.json", "report.md"), tracking_uri=uri
        )
        assert "What to do:" in Path(report).read_text()


def test_a_store_that_appears_later_is_caught_up_with(place: Workplace) -> None:
    """Unreachable at start: said once, tried again, and what was missed is audited."""
    uris = [f"sqlite:///{place.folder}/mlflow.db", str(place.folder / "mlruns")]
    place.configure(uris)
    with place.service():
        place.await_log("store.down", count=2)
        runs = {uri: training.train(uri) for uri in uris}
        for uri, run in runs.items():
            eventually(lambda uri=uri, run=run: training.status(uri, run) == "pass", workplace=place)
        for event in ("store.down", "store.up"):
            assert sorted(e["store"] for e in place.events(event)) == sorted(uris)


def test_failed_deleted_and_endless_runs_are_counted_not_audited(place: Workplace, store_uris: list[str]) -> None:
    place.configure(store_uris, audits="stale_running: 1s\n" + AUDITS)
    clients = {uri: MlflowClient(uri) for uri in store_uris}
    failed, endless, deleted = (
        {uri: c.create_run(training.experiment(c)).info.run_id for uri, c in clients.items()} for _ in range(3)
    )
    for uri, client in clients.items():
        client.set_terminated(failed[uri], "FAILED")
        client.set_terminated(deleted[uri])
        client.delete_run(deleted[uri])
    place.here("audit", check=3)
    for store in place.here("status")["stores"]:
        assert store["runs"] == {"gone": 1, "ignored": 1, "running": 1}
        assert [reason for reason in store["ignored"] if reason.startswith("FAILED runs are not audited")]
    too_long = sorted(endless.values())
    eventually(lambda: sorted(r["run_id"] for r in place.here("status")["running_too_long"]) == too_long)
    for uri, client in clients.items():
        client.restore_run(deleted[uri])
    document = place.here("audit", check=3)
    assert sorted(v["run_id"] for v in document["verdicts"]) == sorted(deleted.values())
    assert all(training.status(uri, run) is None for runs in (failed, endless) for uri, run in runs.items())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_service_stops_when_asked(place: Workplace, number: int) -> None:
    uri = f"sqlite:///{place.folder}/mlflow.db"
    place.configure([uri])
    process = place.start()
    place.await_log("service.started")
    stop(process, number)
    assert process.returncode == 0
    assert place.events("service.stopped")


@pytest.mark.xdist_group("service")
def test_runs_that_come_go_and_come_back_while_the_service_runs(served: Served) -> None:
    """Copied in file by file as rsync does, moved in, linked in; deleted and restored; half written and then whole."""
    uri = served.uris["files"]
    client = MlflowClient(uri)
    home = Path(uri) / training.experiment(client)
    aside = served.place.folder / "aside"
    aside.mkdir()
    runs = dict.fromkeys(("copied", "moved", "linked"), "")
    for name in runs:
        runs[name] = training.log_table(uri, training.table(), into="tiny-aside")
        eventually(lambda name=name: served.published(runs[name]) != [], workplace=served.place)
    assert {training.status(uri, run) for run in runs.values()} == {"error"}  # no model, and no predictions

    # A copy of a run under another id is another run, wherever it comes from.
    there = {name: uuid.uuid4().hex for name in runs}
    for name, run in runs.items():
        shutil.copytree(Path(client.get_run(run).info.artifact_uri).parent, aside / there[name])
        shutil.rmtree(aside / there[name] / "artifacts" / "venturalitica")
        for tag in (aside / there[name] / "tags").glob("venturalitica.*"):
            tag.unlink()
        meta = aside / there[name] / "meta.yaml"
        text = meta.read_text().replace(f"experiment_id: '{Path(client.get_run(run).info.artifact_uri).parts[-3]}'", "")
        text = text.replace(str(home.parent / client.get_run(run).info.experiment_id / run), str(home / there[name]))
        meta.write_text(text.replace(run, there[name]) + f"experiment_id: '{home.name}'\n")

    (aside / there["moved"]).rename(home / there["moved"])
    (home / there["linked"]).symlink_to(aside / there["linked"])
    broken = uuid.uuid4().hex
    shutil.copytree(aside / there["copied"], aside / broken)
    (aside / broken / "meta.yaml").write_text(
        (aside / broken / "meta.yaml").read_text().replace(there["copied"], broken)
    )
    shutil.rmtree(aside / broken / "params")  # MLflow lists it, and can't find it
    (aside / broken).rename(home / broken)
    for path in sorted((aside / there["copied"]).rglob("*")):
        target = home / there["copied"] / path.relative_to(aside / there["copied"])
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            target.mkdir()
            continue
        half = target.with_name(f".{target.name}.Xa81Qz")
        half.write_bytes(path.read_bytes()[:20])
        half.write_bytes(path.read_bytes())
        half.rename(target)
    for name in ("copied", "moved"):
        eventually(lambda name=name: served.published(there[name]) == [there[name]], workplace=served.place)
        assert training.status(uri, there[name]) == "error"

    client.delete_run(there["moved"])
    eventually(lambda: phase(served, there["moved"]) == "gone", workplace=served.place)
    client.restore_run(there["moved"])
    eventually(lambda: phase(served, there["moved"]) == "done", workplace=served.place)
    shutil.rmtree(home / there["copied"])
    eventually(lambda: phase(served, there["copied"]) == "gone", workplace=served.place)
    eventually(lambda: phase(served, broken) == "stuck", workplace=served.place)
    # A folder behind a link gives no event of its own: the sweep finds it.
    eventually(lambda: served.published(there["linked"]) == [there["linked"]], workplace=served.place)
    assert sorted(served.published(*there.values())) == sorted(there.values())


def phase(served: Served, run: str) -> str:
    with closing(sqlite3.connect(served.place.folder / ".venturalitica" / "agent.db")) as db:
        found = db.execute("SELECT phase FROM runs WHERE run_id = ?", (run,)).fetchone()
    return str(found[0]) if found else ""
