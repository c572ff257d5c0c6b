"""Runs that the real SDK trained, against what the SDK says of them; and audits in W&B's lineage graph, made by it."""

from __future__ import annotations

import copy
import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.wandb_trained import Training
from support.wandb_training import wandb_here
from wandb_server import WandbServer

from venturalitica_agent.domain.run import Run
from venturalitica_agent.errors import RetryableError
from venturalitica_agent.stores import wandb_lineage
from venturalitica_agent.stores.wandb_http import Key, WandbHttp
from venturalitica_agent.stores.wandb_project import WandbProject

pytestmark = pytest.mark.xdist_group("wandb-server")

EVIDENCE = {"venturalitica/credit/ab12/evidence.json": b'{"a": 1}\n', "policy_snapshot/credit.yaml": b"x: 1\n"}
VERDICT = {"venturalitica.policy": "credit@1", "venturalitica.status": "fail"}
DATA = "evalset:v0/test.csv"


@pytest.fixture
def server(wandb_trained: Training) -> Iterator[WandbServer]:
    wandb_trained.server.reset_log()
    yield wandb_trained.server
    wandb_trained.server.faults.clear()


@pytest.fixture
def store(server: WandbServer) -> WandbProject:
    return open_store(server)


@pytest.fixture(scope="module")
def api(wandb_trained: Training, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Any]]:
    """The SDK's own way to read, as an oracle; a new one each time, because it keeps what it has read."""
    with wandb_here(wandb_trained.server, tmp_path_factory.mktemp("oracle")) as wandb:
        yield wandb.Api


def open_store(server: WandbServer, **options: Any) -> WandbProject:
    http = WandbHttp(server.url, lambda: Key(server.key, "the test"))
    return WandbProject(http, server.entity, "audits", **options)


def renamed(run: Run, run_id: str) -> Run:
    """The run under another id, so that a test has an audit run of its own."""
    return replace(run, ref=replace(run.ref, run_id=run_id))


# -- reading ----------------------------------------------------------------------------------------------------------
def test_a_run_is_what_the_sdk_says_of_it(store: WandbProject, api: Callable[[], Any]) -> None:
    run, theirs = store.get_run("rich"), api().run("acme/audits/rich")
    assert (run.name, run.experiment) == (theirs.name, theirs.project)
    assert run.tags == {"baseline": "", "team": "risk", "group": theirs.group, "job_type": theirs.job_type}
    assert {k: json.loads(v) for k, v in run.params.items()} == theirs.config
    finite = {
        k: v
        for k, v in dict(theirs.summary).items()
        if isinstance(v, int | float) and not k.startswith("_") and math.isfinite(v)
    }
    assert run.metrics == {k: float(v) for k, v in finite.items()}
    assert set(run.metrics) == {"accuracy", "steps", "loss"}
    assert [m.location for m in run.models] == [
        a.qualified_name for a in theirs.logged_artifacts() if a.type == "model"
    ]
    assert [m.model_id for m in run.models] == [a.id for a in theirs.logged_artifacts() if a.type == "model"]
    assert list(run.tables) == [f.name for f in theirs.files() if f.name.startswith("media/table/")]
    assert run.tables


def test_datasets_carry_the_digests_that_the_sdk_computes(store: WandbProject, api: Callable[[], Any]) -> None:
    found = {d.name: d for d in store.get_run("rich").datasets}
    entry = api().artifact("acme/audits/evalset:best").manifest.entries["test.csv"]
    assert found["evalset/test.csv"].digest == f"md5:{entry.digest}"
    assert found["evalset/test.csv"].context == "test"
    assert found["raw"].context == "train"
    assert json.loads(found["raw"].source)["uri"] == "wandb-run://acme/audits/rich/acme/sources/raw:v0/deep/train.csv"
    raw = api().artifact("acme/sources/raw:v0").manifest.entries["deep/train.csv"]
    assert found["raw"].digest == f"xxh128:{raw.digest}"


def test_the_bytes_are_those_that_training_left(store: WandbProject, wandb_trained: Training, tmp_path: Path) -> None:
    run = store.get_run("rich")
    for path in (DATA, "acme/sources/raw:v0/deep/train.csv"):
        store.fetch_file("rich", path, tmp_path / "data.csv")
        assert (tmp_path / "data.csv").read_bytes() == (wandb_trained.folder / "evalset.csv").read_bytes()
    store.fetch_model("rich", run.models[0], tmp_path / "model")
    assert (tmp_path / "model" / "model.joblib").read_bytes() == (wandb_trained.folder / "loan.joblib").read_bytes()
    store.fetch_file("rich", run.tables[0], tmp_path / "table")
    assert json.loads((tmp_path / "table").read_text())["columns"] == ["y", "p"]


def test_writing_leaves_what_the_sdk_wrote_as_it_was(store: WandbProject, server: WandbServer) -> None:
    run = server.run("acme", "audits", "rich")
    kept = ("state", "notes", "config", "group", "job_type", "display_name", "history_lines")
    before = copy.deepcopy({name: getattr(run, name) for name in kept}), json.dumps(run.summary_metrics)
    store.set_tags("rich", VERDICT)
    summary = {k: v for k, v in run.summary_metrics.items() if k != "venturalitica"}
    assert ({name: getattr(run, name) for name in kept}, json.dumps(summary)) == before
    assert "Infinity" in before[1]
    assert run.notes == "keep this"
    run.tags, run.summary_metrics = ["baseline", "team:risk"], summary


# -- lineage ----------------------------------------------------------------------------------------------------------
def test_an_audit_is_in_the_lineage_both_ways_once(
    store: WandbProject, server: WandbServer, api: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_RUN_ID", "rich")
    monkeypatch.setenv("WANDB_PROJECT", "elsewhere")
    monkeypatch.setenv("WANDB_DISABLED", "true")
    run = store.get_run("rich")
    audited = server.run("acme", "audits", "rich")
    before = (audited.state, audited.heartbeat_at, list(audited.tags), dict(audited.summary_metrics))
    used = [run.models[0].model_id, DATA, "acme/sources/raw:v0/deep/train.csv", run.tables[0]]
    fresh = open_store(server)  # as after a crash: it has not read the run
    for evidence in (EVIDENCE, EVIDENCE, EVIDENCE | {"policy_snapshot/credit.yaml": b"x: 2\n"}):
        fresh.link_audit(run, used, evidence, VERDICT)
    assert (audited.state, audited.heartbeat_at, audited.tags, audited.summary_metrics) == before
    theirs = api()
    audit = theirs.run("acme/audits/vl-audit-rich")
    assert (audit.state, audit.job_type, dict(audit.config)) == ("finished", "audit", {"audited_run": "rich"})
    assert {a.qualified_name for a in audit.used_artifacts()} == {
        "acme/audits/loan:v0",
        "acme/audits/evalset:v0",
        "acme/sources/raw:v0",
    }
    for name in ("acme/audits/loan:v0", "acme/audits/evalset:v0", "acme/sources/raw:v0"):
        assert "vl-audit-rich" in [r.id for r in theirs.artifact(name).used_by()]
    versions = [a for a in audit.logged_artifacts() if a.type == "venturalitica-evidence"]
    assert [a.name for a in versions] == ["venturalitica-evidence-rich:v0", "venturalitica-evidence-rich:v1"]
    assert versions[0].metadata == VERDICT
    assert set(versions[0].manifest.entries) == set(EVIDENCE)
    assert versions[0].logged_by().id == "vl-audit-rich"
    assert [r.run_id for r in store.scan()].count("vl-audit-rich") == 1


def descendants(pid: int) -> dict[int, str]:
    """Ids and names of all processes below one."""
    found, seen = {}, [pid]
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, fields = stat.read_text().split("(", 1)[1].rsplit(")", 1)
        except (OSError, IndexError):
            continue
        parents[int(stat.parent.name)] = (int(fields.split()[1]), name)
    while seen:
        above = seen.pop()
        below = {child: name for child, (parent, name) in parents.items() if parent == above}
        found |= below
        seen += below
    return found


def cores() -> list[int]:
    return [pid for pid, name in descendants(os.getpid()).items() if name.startswith("wandb-core")]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except OSError:
        return False


def test_an_audit_run_survives_the_death_of_wandb_core(
    store: WandbProject, server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wandb_lineage, "_DEADLINE", 15.0)
    run, before, killed = renamed(store.get_run("rich"), "twice"), set(cores()), []

    def kill() -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not stalled.hits:
            time.sleep(0.01)
        killed.extend(set(cores()) - before)
        for pid in killed:
            os.kill(pid, signal.SIGKILL)

    stalled = server.faults.slow(1.0, on="CreateArtifact", times=1)  # in the middle: the run is there
    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with pytest.raises(RetryableError) as failed:
            store.link_audit(run, [DATA], EVIDENCE, VERDICT)
    finally:
        killer.join(25)
    assert len(killed) == 1
    assert server.key not in str(failed.value.diagnostics())
    assert "audit_runs" in failed.value.remedy
    assert not [pid for pid in killed if alive(pid)]
    store.link_audit(run, [DATA], EVIDENCE, VERDICT)
    audit = server.run("acme", "audits", "vl-audit-twice")
    assert audit.state == "finished"
    assert [a.version_index for a in audit.logged if a.state == "COMMITTED"] == [0]


def test_at_the_deadline_all_that_was_started_is_ended(
    store: WandbProject, server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a server that stops answering, wandb-core waits on in a session of its own."""
    monkeypatch.setattr(wandb_lineage, "_DEADLINE", 12.0)
    run, before, started = renamed(store.get_run("rich"), "slow"), set(cores()), set()
    stalled = server.faults.slow(30.0, on="CreateArtifact")
    communicate = wandb_lineage.subprocess.Popen.communicate

    def until_stalled(process: Any, given: bytes, timeout: float) -> Any:
        process.stdin.write(given)
        process.stdin.close()
        deadline = time.monotonic() + timeout
        while not stalled.hits and time.monotonic() < deadline:
            time.sleep(0.01)
        started.update({process.pid}, descendants(process.pid))
        process.stdin = None
        return communicate(process, timeout=0.1)

    monkeypatch.setattr(wandb_lineage.subprocess.Popen, "communicate", until_stalled)
    with pytest.raises(RetryableError, match="did not finish"):
        store.link_audit(run, [DATA], EVIDENCE, VERDICT)
    assert len(started) >= 2
    assert not [pid for pid in started if alive(pid)]  # at once: their folder is gone too
    assert set(cores()) <= before


@pytest.mark.parametrize("run_id", ["größe 1", "a" * 100, "50%", "~x"])
def test_the_audit_run_of_an_unusual_id_has_a_usual_one(run_id: str) -> None:
    audit = wandb_lineage.audit_run_id(run_id)
    assert audit.startswith("vl-audit-~")
    assert len(wandb_lineage.evidence_name(run_id)) <= 128
    assert set(audit) <= set("abcdefghijklmnopqrstuvwxyz0123456789-~")
    assert audit != wandb_lineage.audit_run_id(f"{run_id}x")
    assert wandb_lineage.audit_run_id("ab-1.C_2") == "vl-audit-ab-1.C_2"


# -- what it costs ----------------------------------------------------------------------------------------------------
def costs(server: WandbServer) -> tuple[int, int]:
    kinds = [seen.kind for seen in server.requests]
    return sum(k in ("query", "mutation") for k in kinds), sum(k in ("download", "upload", "filestream") for k in kinds)


@pytest.mark.parametrize(("audit_runs", "graphql", "blobs"), [(False, 15, 9), (True, 33, 16)])
def test_an_audited_run_costs_what_the_readme_says(
    server: WandbServer, tmp_path: Path, audit_runs: bool, graphql: int, blobs: int
) -> None:
    """One model, two datasets, two files of evidence: what the pipeline asks for, in its order. The first verdict on a
    server costs one question more, whether single tags can be changed there."""
    store = open_store(server, audit_runs=audit_runs)
    server.reset_log()
    store.look("rich")
    run = store.get_run("rich")
    store.list_files("rich")
    store.fetch_file("rich", DATA, tmp_path / "data.csv")
    store.fetch_model("rich", run.models[0], tmp_path / "model")
    store.put_files("rich", EVIDENCE)
    for path, content in EVIDENCE.items():
        assert store.read_file("rich", path) == content
    store.look("rich")
    store.link_audit(renamed(run, f"cost-{audit_runs}"), [run.models[0].model_id, DATA], EVIDENCE, VERDICT)
    store.get_tags("rich")
    store.set_tags("rich", VERDICT | {"venturalitica.status": f"s{audit_runs}"})
    store.get_tags("rich")
    found = costs(server)
    assert found[0] == graphql, [seen.name for seen in server.requests]
    assert blobs <= found[1] <= blobs + 2 * audit_runs  # wandb-core also sends what it has every few seconds
