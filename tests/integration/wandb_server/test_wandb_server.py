"""The server as the real SDK meets it: what training logs comes back, and states move only when they do for real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.wandb_training import training_env
from wandb_asking import CSV, Trained, ask, http
from wandb_server import WandbServer
from wandb_server.runs import Run

pytestmark = pytest.mark.xdist_group("wandb-server")
TESTS = Path(__file__).parents[2]

RUNS = """query Runs($filters: JSONString, $order: String, $first: Int, $after: String) {
  project(name: "credit", entityName: "acme") {
    runCount(filters: $filters)
    runs(filters: $filters, order: $order, first: $first, after: $after) {
      edges { node { name } cursor } pageInfo { endCursor hasNextPage }
    }
  }
}"""


def names(server: WandbServer, filters: dict[str, Any], order: str = "+created_at") -> list[str]:
    runs = ask(server, RUNS, filters=json.dumps(filters), order=order).data["project"]["runs"]
    return [edge["node"]["name"] for edge in runs["edges"]]


def test_what_training_logs_comes_back_by_the_sdk(trained: Trained, wandb: Any) -> None:
    run = wandb.Api().run("acme/credit/finished")
    assert (run.state, run.name, run.tags) == ("finished", "first", ["baseline"])
    assert (run.group, run.job_type) == ("loans", "train")
    assert run.config == {"lr": 0.1}
    assert run.summary["accuracy"] == 0.75
    assert [row["loss"] for row in run.scan_history(keys=["loss"])] == [1, 0.5, 1 / 3]
    kinds = {artifact.type: artifact.name for artifact in run.logged_artifacts()}
    assert kinds == {
        "dataset": "evalset:v0",
        "model": "loan-model:v0",
        "run_table": "run-finished-predictions:v0",
        "wandb-history": "run-finished-history:v0",
    }


def test_training_that_fails_leaves_a_failed_run(server: WandbServer, wandb: Any) -> None:
    def training() -> None:
        with wandb.init(id="failed") as run:
            run.log({"loss": 9.0})
            raise RuntimeError("no convergence")

    with pytest.raises(RuntimeError, match="no convergence"):
        training()
    assert server.run("acme", "credit", "failed").state == "failed"
    assert "failed" in names(server, {"state": "failed"})


def test_artifacts_come_back_with_their_bytes_digests_and_aliases(trained: Trained, wandb: Any, tmp_path: Path) -> None:
    api = wandb.Api()
    model = api.artifact("acme/credit/loan-model:latest")
    data = api.artifact("acme/credit/evalset:test")
    assert (
        Path(model.download(str(tmp_path)), "model.joblib").read_bytes()
        == Path(trained.folder, "model.joblib").read_bytes()
    )
    model.verify(str(tmp_path))
    assert data.digest == data.manifest.digest()
    assert (data.version, data.metadata, data.size) == ("v0", {"rows": 2}, len(CSV))
    (file,) = data.files()
    assert (file.name, file.size, file.md5) == ("test.csv", len(CSV), data.manifest.entries["test.csv"].digest)
    assert data.logged_by().id == "finished"


def test_versions_count_up_and_the_same_content_is_the_same_version(wandb: Any, tmp_path: Path) -> None:
    def log(content: str) -> str:
        path = tmp_path / "rows.csv"
        path.write_text(content)
        with wandb.init(project="versions") as run:
            artifact = wandb.Artifact("rows", "dataset")
            artifact.add_file(str(path))
            return str(run.log_artifact(artifact).wait().version)

    assert [log("a\n"), log("b\n"), log("a\n")] == ["v0", "v1", "v0"]
    assert wandb.Api().artifact("acme/versions/rows:latest").version == "v0"


def test_lineage_goes_both_ways_and_nothing_of_it_runs_the_used_run_again(server: WandbServer, wandb: Any) -> None:
    with wandb.init(id="audit", job_type="audit") as run:
        run.use_artifact("loan-model:latest")
    api = wandb.Api()
    assert [r.id for r in api.artifact("acme/credit/loan-model:v0").used_by()] == ["audit"]
    assert [a.name for a in api.run("acme/credit/audit").used_artifacts()] == ["loan-model:v0"]
    assert server.run("acme", "credit", "finished").state == "finished"


def test_writing_back_to_a_finished_run_does_not_change_its_state(
    server: WandbServer, wandb: Any, tmp_path: Path
) -> None:
    report = tmp_path / "venturalitica" / "report.md"
    report.parent.mkdir()
    report.write_text("# Report\n")
    run = wandb.Api().run("acme/credit/finished")
    run.upload_file(str(report), root=str(tmp_path))
    run.summary.update({"venturalitica": {"verdict": "pass"}})
    stored = run.file("venturalitica/report.md")
    assert (stored.size, bool(stored.updated_at)) == (9, True)
    assert stored.download(str(tmp_path / "back")).read() == "# Report\n"
    assert run.file("venturalitica/none.md").md5 == "0"
    now = server.run("acme", "credit", "finished")
    assert (now.state, now.summary_metrics["accuracy"], now.tags) == ("finished", 0.75, ["baseline"])


def test_resuming_a_finished_run_flips_it_to_running_as_the_real_server_does(server: WandbServer, wandb: Any) -> None:
    with wandb.init(id="resumed") as run:
        run.log({"loss": 1.0})
    assert server.run("acme", "credit", "resumed").state == "finished"
    path = f"{server.url}/files/acme/credit/resumed/file_stream"
    assert http("POST", path, key=server.key, body=b"{}").status == 200
    assert server.run("acme", "credit", "resumed").state == "running"
    server.crash(server.run("acme", "credit", "resumed"))
    assert wandb.Api().run("acme/credit/resumed").state == "crashed"


def test_an_offline_run_is_synced(server: WandbServer, wandb: Any, tmp_path: Path) -> None:
    with wandb.init(id="offline", mode="offline", dir=str(tmp_path)) as run:
        run.log({"loss": 0.5})
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    env = os.environ | training_env(server, tmp_path)
    subprocess.run([sys.executable, "-m", "wandb", "sync", str(folder)], env=env, check=True, capture_output=True)
    synced = server.run("acme", "credit", "offline")
    assert (synced.state, synced.summary_metrics["loss"]) == ("finished", 0.5)


def test_upsert_changes_only_what_is_given_and_replaces_that_as_a_whole(server: WandbServer) -> None:
    upsert = """mutation UpsertBucket($id: String, $name: String, $tags: [String!], $summary: JSONString) {
      upsertBucket(input: {modelName: "upserts", name: $name, id: $id, tags: $tags, summaryMetrics: $summary}) {
        bucket { id } inserted
      }
    }"""
    made = ask(server, upsert, name="one", tags=["a", "b"], summary='{"x": 1, "y": 2}').data["upsertBucket"]
    again = ask(server, upsert, id=made["bucket"]["id"], tags=["c"]).data["upsertBucket"]
    run = server.run("acme", "upserts", "one")
    assert (made["inserted"], again["inserted"]) == (True, False)
    assert (run.tags, run.summary_metrics) == (["c"], {"x": 1, "y": 2})
    ask(server, upsert, name="one", summary='{"z": 3}')
    assert (run.tags, run.summary_metrics, run.state) == (["c"], {"z": 3}, "running")
    assert ask(server, upsert, name="one", tags=["t" * 65]).status == 400
    assert run.tags == ["c"]


def test_modify_runs_adds_and_removes_tags_where_the_server_has_it(
    server: WandbServer, run: Run, tmp_path: Path
) -> None:
    modify = """mutation ModifyRuns($ids: [ID], $add: [String], $remove: [String]) {
      modifyRuns(input: {ids: $ids, addTags: $add, removeTags: $remove}) { runs { name } }
    }"""
    run.tags = ["baseline"]
    answer = ask(server, modify, ids=[run.id], add=["vl:fail"], remove=["baseline"])
    assert answer.data == {"modifyRuns": {"runs": [{"name": run.name}]}}
    assert run.tags == ["vl:fail"]
    with WandbServer(tmp_path, modify_runs=False) as without:
        refused = ask(without, modify, ids=[], add=["vl:fail"])
    assert refused.status == 400
    assert b"Cannot query field 'modifyRuns'" in refused.body


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("query Q { viewer { shoeSize } }", b"Cannot query field 'shoeSize'"),
        ("query Q { project(nickname: 1) { id } }", b"Unknown argument 'nickname'"),
        ("query Q($x: Nothing) { viewer { id } }", b"Unknown type 'Nothing'"),
        ("query Q { viewer { id }", b"Syntax Error"),
    ],
)
def test_what_the_schema_does_not_have_is_refused(server: WandbServer, query: str, complaint: bytes) -> None:
    answer = ask(server, query)
    assert answer.status == 400
    assert complaint in answer.body


def test_filters_orders_and_pages_choose_runs_as_asked(server: WandbServer) -> None:
    base = datetime(2024, 5, 1, tzinfo=UTC)
    upsert = 'mutation U($n: String) { upsertBucket(input: {modelName: "credit", name: $n}) { bucket { id } } }'
    for hours in range(3):
        ask(server, upsert, n=f"old-{hours}")
        run = server.run("acme", "credit", f"old-{hours}")
        run.heartbeat_at, run.tags, run.job_type = base + timedelta(hours=hours), [f"t{hours}"], "old"
    old = {"jobType": "old"}
    since = {"heartbeatAt": {"$gte": "2024-05-01T01:00:00Z"}}
    assert names(server, {"$and": [old, since]}) == ["old-1", "old-2"]
    assert names(server, {"$and": [old, {"heartbeatAt": {"$gte": "2024-05-01T01:00:00"}}]}) == []
    assert names(server, old | {"tags": {"$in": ["t0", "t2"]}}, "-heartbeat_at") == ["old-2", "old-0"]
    assert names(server, old | {"$or": [{"name": "old-1"}, {"tags": {"$ne": "t0"}}]}) == ["old-1", "old-2"]
    assert names(server, old | {"state": {"$nin": ["finished", "failed"]}, "tags": "t1"}) == ["old-1"]
    assert ask(server, RUNS, filters='{"shoeSize": 1}').status == 400

    seen, after = [], None
    while True:
        answer = ask(server, RUNS, filters=json.dumps(old), order="+heartbeat_at", first=1, after=after)
        project = answer.data["project"]
        seen += [edge["node"]["name"] for edge in project["runs"]["edges"]]
        after = project["runs"]["pageInfo"]["endCursor"]
        if not project["runs"]["pageInfo"]["hasNextPage"]:
            break
    assert (seen, project["runCount"]) == (["old-0", "old-1", "old-2"], 3)


def test_keys_differ_in_what_they_may_do(server: WandbServer) -> None:
    viewer, write = (
        "query Viewer { viewer { username } }",
        'mutation M { upsertBucket(input: {name: "x"}) { inserted } }',
    )
    assert ask(server, viewer, key="0" * 40).status == 401
    assert ask(server, viewer, key=server.read_key).data == {"viewer": {"username": "ana"}}
    refused = ask(server, write, key=server.read_key)
    assert (refused.status, b"permission denied" in refused.body) == (403, True)
    stream = f"{server.url}/files/acme/credit/finished/file_stream"
    assert http("POST", stream, key=server.read_key, body=b"{}").status == 403
    assert ask(server, 'query P { project(name: "none", entityName: "acme") { id } }').data == {"project": None}
    server.world.anonymous = True
    try:
        assert ask(server, viewer, key="0" * 40).data == {"viewer": None}
        assert ask(server, write, key="0" * 40).status == 403
    finally:
        server.world.anonymous = False


def test_storage_addresses_need_their_token_and_no_key(server: WandbServer) -> None:
    file = server.artifact("acme", "credit", "evalset:v0").stored_files["test.csv"]
    address = f"{server.url}/storage/{file.download_token}/test.csv"
    answer = http("GET", address)
    assert (answer.body, answer.headers["Content-Length"]) == (CSV, str(len(CSV)))
    assert http("GET", address.replace(file.download_token, "0" * 32)).status == 404
    assert http("PUT", address, body=b"forged").status == 403
    assert http("GET", f"{server.url}{file.owner_path}").status == 401
    assert http("GET", f"{server.url}{file.owner_path}", key=server.read_key).body == CSV


def test_the_server_runs_as_a_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "wandb_server", "--port", "0", "--folder", str(tmp_path)]
    with subprocess.Popen(command, cwd=TESTS, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        about = json.loads(process.stdout.readline())
        answer = http("POST", f"{about['url']}/graphql", key=about["key"], body=b'{"query": "{ viewer { entity } }"}')
        process.terminate()
    assert (answer.data, process.returncode) == ({"viewer": {"entity": "acme"}}, 0)
