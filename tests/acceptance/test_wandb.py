"""The whole way on Weights & Biases: plain training with the real SDK, a server that speaks its protocol, the real
service as a process of its own, and W&B's own client to see what was written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.wandb_training import train, training_env, wandb_here
from wandb_server import WandbServer
from workplace import POLICY, Workplace, environment, eventually, stop

from venturalitica_agent.checkup import check_up
from venturalitica_agent.settings import load_settings

pytestmark = pytest.mark.xdist_group("wandb-acceptance")

PROJECT = "tiny-credit"
AUDITS: dict[str, Any] = {
    "policies": "./policies",
    "settle": "0s",
    "audits": [
        {
            "name": "tiny",
            "runs": {"experiment": "tiny*"},
            "policy": "tiny",
            "data": {"evaluation": {"artifact": "evalset:*/test.csv"}},
            "columns": {"target": {"column": "y", "positive": 1}, "gender": "sex"},
        }
    ],
}


def training(runs: list[list[str]]) -> None:
    """[name, model] each: "fair" looks at the number, "unfair" at the sex, "bare" logs a model and no data."""
    import joblib
    import numpy as np
    import pandas as pd
    import wandb
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(0)
    frame = pd.DataFrame({"sex": random.choice(["f", "m"], 600), "man": 0.0, "x": random.normal(size=600)})
    frame["man"] = (frame["sex"] == "m") * 8.0
    for name, kind in runs:
        truth = frame["x"] if kind != "unfair" else frame["man"] - 4
        table = frame.assign(y=(truth + random.normal(size=600) / 4 > 0).astype(int))
        model = LogisticRegression().fit(table[["man", "x"]], table["y"])
        joblib.dump(model, "model.joblib")
        table.to_csv("test.csv", index=False)
        with wandb.init(id=name, name=name, tags=["baseline"], notes="ours", config={"kind": kind}) as run:
            run.log({"loss": 0.5})
            run.summary["nested"] = {"a": 1.5, "b": "two"}
            artifact = wandb.Artifact("loan-model", "model")
            artifact.add_file("model.joblib")
            run.log_artifact(artifact)
            if kind != "bare":
                data = wandb.Artifact("evalset", "dataset")
                data.add_file("test.csv")
                run.log_artifact(data)
            if kind == "crash":
                raise SystemExit(3)


@dataclass
class Scene:
    """A server with three trained runs, and a workplace whose agent.yaml names its project."""

    server: WandbServer
    place: Workplace

    def configure(self, store: dict[str, Any], **more: Any) -> None:
        (self.place.folder / "policies").mkdir(exist_ok=True)
        (self.place.folder / "policies" / "tiny.yaml").write_text(POLICY)
        document = {"stores": [store], **AUDITS, **more}
        (self.place.folder / "agent.yaml").write_text(yaml.safe_dump(document))
        (self.place.folder / ".env").write_text(f"WANDB_API_KEY={self.server.key}\nWANDB_BASE_URL={self.server.url}\n")

    def train(self, *runs: list[str], check: bool = True) -> None:
        train(self.server, self.place.folder / "training", training, list(runs), project=PROJECT, check=check)

    def tags(self, run: str) -> list[str]:
        return sorted(self.server.run("acme", PROJECT, run).tags)

    def verdict(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = self.server.run("acme", PROJECT, run).summary_metrics.get("venturalitica", {})
        return found

    def evidence(self, run: str) -> list[str]:
        files = self.server.run("acme", PROJECT, run).stored_files
        return sorted(name for name in files if name.endswith("evidence.json"))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with WandbServer(tmp_path / "server") as server:
        yield Scene(server, Workplace(tmp_path))


def test_runs_of_a_project_are_audited_before_and_while_the_service_watches(scene: Scene) -> None:
    scene.train(["unfair-before", "unfair"], ["bare-before", "bare"])
    scene.train(["crashed-before", "crash"], check=False)
    scene.configure({"wandb": f"acme/{PROJECT}", "poll": "1s", "ui": "https://wandb.example.org"})
    with scene.place.service():
        eventually(lambda: "vl:error" in scene.tags("bare-before"), 120, scene.place)
        eventually(lambda: "vl:fail" in scene.tags("unfair-before"), 120, scene.place)
        scene.train(["fair-live", "fair"])
        eventually(lambda: "vl:pass" in scene.tags("fair-live"), 120, scene.place)
        scene.place.await_log("audit.published", count=3)
        # Once the audit runs have been looked at too, a quiet project is asked one question a poll.
        eventually(lambda: [seen.name for seen in scene.server.requests[-4:]] == ["Runs"] * 4, 30, scene.place)
    assert scene.tags("fair-live") == ["baseline", "vl:pass", "vl:tiny@1.0"]
    verdict = scene.verdict("unfair-before")
    assert (verdict["status"], verdict["policy"]) == ("fail", "tiny@1.0")
    assert scene.evidence("unfair-before") == [verdict["evidence"]]
    status = scene.place.here("status")
    store = status["stores"][0]
    assert store["runs"] == {"done": 3, "ignored": 4}
    assert any("FAILED" in reason for reason in store["ignored"])
    assert any("audit run" in reason for reason in store["ignored"])
    links = {row["run"]: row["link"] for row in status["audits"]}
    assert links["fair-live"] == f"https://wandb.example.org/acme/{PROJECT}/runs/fair-live"
    for file in (scene.place.folder / "agent.log", *scene.place.folder.glob(".venturalitica/*.db")):
        assert scene.server.key.encode() not in file.read_bytes()

    with wandb_here(scene.server, scene.place.folder / "reader", project=PROJECT) as wandb:
        run = wandb.Api().run(f"acme/{PROJECT}/fair-live")
        assert (run.state, run.notes, run.config) == ("finished", "ours", {"kind": "fair"})
        assert dict(run.summary["nested"]) == {"a": 1.5, "b": "two"}
        assert run.summary["venturalitica"]["status"] == "pass"
        assert {f.name for f in run.files()} >= {"policy_snapshot/tiny.yaml", verdict_path(run)}
        audit = wandb.Api().run(f"acme/{PROJECT}/vl-audit-fair-live")
        assert (audit.job_type, audit.state) == ("audit", "finished")
        assert {a.type for a in audit.used_artifacts()} == {"model", "dataset"}
        (evidence,) = (a for a in audit.logged_artifacts() if a.type == "venturalitica-evidence")
        assert verdict_path(run) in evidence.manifest.entries
        model = next(a for a in run.logged_artifacts() if a.type == "model")
        assert "vl-audit-fair-live" in {user.id for user in model.used_by()}


def verdict_path(run: Any) -> str:
    return str(run.summary["venturalitica"]["evidence"])


def test_a_service_that_is_killed_while_it_writes_ends_in_one_verdict(scene: Scene) -> None:
    scene.train(["victim", "fair"])
    scene.configure({"wandb": f"acme/{PROJECT}", "poll": "1s"}, wandb={"audit_runs": False})
    for operation in ("CreateRunFiles", "SetSummary", "ChangeTags"):
        with scene.server.faults.slow(3.0, on=operation) as slow:
            service = scene.place.start()
            eventually(lambda slow=slow: slow.hits > 0, 120, scene.place)  # type: ignore[misc]
            stop(service, signal.SIGKILL)
    with scene.place.service():
        eventually(lambda: "vl:pass" in scene.tags("victim"), 120, scene.place)
        scene.place.await_log("audit.published")
    assert scene.evidence("victim") == [scene.verdict("victim")["evidence"]]
    assert scene.tags("victim") == ["baseline", "vl:pass", "vl:tiny@1.0"]
    assert scene.server.run("acme", PROJECT, "victim").state == "finished"
    assert [row["status"] for row in scene.place.here("status")["audits"]] == ["pass"]


def test_projects_of_an_entity_are_followed_and_a_server_that_was_away_is_caught_up_with(scene: Scene) -> None:
    scene.configure({"wandb": "acme/*", "poll": "1s"}, reconcile="1s", wandb={"audit_runs": False})
    scene.train(["first", "fair"])
    with scene.place.service():
        eventually(lambda: "vl:pass" in scene.tags("first"), 120, scene.place)
        scene.server.stop()
        scene.place.await_log("store.down")
        scene.server.start()
        scene.train(["second", "unfair"])
        eventually(lambda: "vl:fail" in scene.tags("second"), 120, scene.place)
    assert len(scene.place.events("store.down")) == 1


@pytest.fixture(scope="module")
def server_with_project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WandbServer]:
    """One server for all the ways in which access to it can be wrong: an SDK run that makes a project takes seconds."""
    folder = tmp_path_factory.mktemp("access")
    with WandbServer(folder / "server") as server:
        with wandb_here(server, folder / "first", project=PROJECT) as wandb:
            wandb.init().finish()
        yield server


@pytest.fixture
def reached(server_with_project: WandbServer, tmp_path: Path) -> Iterator[Scene]:
    """The server with one run, as it was before the test, and a workplace of the test's own."""
    yield Scene(server_with_project, Workplace(tmp_path))
    server_with_project.world.anonymous = False
    server_with_project.stop()
    server_with_project.start()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"key": "0" * 40}, "HTTP 401"),
        ({"anonymous": True}, "names no user"),
        ({"project": "acme/absent"}, "has no project acme/absent"),
        ({"read": True}, "may read and not write"),
        ({"away": True}, "can't be reached"),
        ({"key": ""}, "there is no API key"),
    ],
)
def test_doctor_tells_what_is_wrong_with_the_access(
    reached: Scene, change: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached.configure({"wandb": change.get("project", f"acme/{PROJECT}")})
    key = reached.server.read_key if "read" in change else change.get("key", reached.server.key)
    reached.server.world.anonymous = "anonymous" in change
    if "anonymous" in change:
        key = "0" * 40
    url = reached.server.url
    if "away" in change:
        reached.server.stop()
    (reached.place.folder / ".env").write_text(f"WANDB_API_KEY={key}\nWANDB_BASE_URL={url}\n")
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(reached.place.folder / "no-netrc"))
    (store,) = (
        c for c in check_up(load_settings(None, env={}, cwd=reached.place.folder)) if c.name.startswith("store")
    )
    assert not store.ok
    assert words in store.detail
    assert store.remedy
    assert key not in store.detail + store.remedy or not key


def test_offline_runs_are_judged_without_a_server_and_the_verdict_follows_the_sync(scene: Scene) -> None:
    folder = scene.place.folder / "training"
    offline = folder / "wandb_dir" / "wandb"
    train(scene.server, folder, training, [["away", "unfair"]], project=PROJECT, env={"WANDB_MODE": "offline"})
    scene.server.stop()
    scene.configure({"wandb_offline": str(offline), "artifacts": str(folder)})
    done = scene.place.json_with(("audit",), check=1)
    assert [row["status"] for row in done["verdicts"]] == ["fail"]
    (run,) = offline.glob("offline-run-*")
    assert (run / "files" / "policy_snapshot" / "tiny.yaml").read_text() == POLICY
    status = json.loads((run / "files" / "venturalitica" / "status.json").read_text())
    evidence = (run / "files" / status["venturalitica.evidence"]).read_bytes()
    assert json.loads(evidence)["verdict"]["status"] == "fail"

    scene.server.start()
    sync = [sys.executable, "-m", "wandb", "sync", str(run)]
    variables = {**environment(), **training_env(scene.server, folder, project=PROJECT)}
    done = subprocess.run(sync, cwd=folder, env=variables, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert scene.tags("away") == ["baseline"]
    # The project is watched as well: the run that came there by the sync is the same run, not a second one.
    scene.configure({"wandb_offline": str(offline), "artifacts": str(folder)})
    document = yaml.safe_load((scene.place.folder / "agent.yaml").read_text())
    document["stores"].append({"wandb": f"acme/{PROJECT}"})
    (scene.place.folder / "agent.yaml").write_text(yaml.safe_dump(document))
    again = scene.place.json_with(("audit",), check=1)
    assert [row["status"] for row in again["verdicts"]] == ["fail"]
    assert scene.tags("away") == ["baseline", "vl:fail", "vl:tiny@1.0"]
    assert scene.evidence("away") == [status["venturalitica.evidence"]]
    stored = scene.server.run("acme", PROJECT, "away").stored_files[status["venturalitica.evidence"]]
    assert stored.blob.read_bytes() == evidence
    assert scene.server.run("acme", PROJECT, "vl-audit-away").job_type == "audit"
