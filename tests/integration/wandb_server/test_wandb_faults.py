"""Each fault does what it says, to the requests that it names and to no others."""

from __future__ import annotations

import http.client
import time
import urllib.error
from pathlib import Path
from typing import Any

import pytest
from wandb_asking import CSV, ask
from wandb_asking import http as request
from wandb_server import WandbServer
from wandb_server.runs import Run

pytestmark = pytest.mark.xdist_group("wandb-server")

VIEWER = "query Viewer { viewer { username } }"
TAG = "mutation Tag($id: String, $tags: [String!]) { upsertBucket(input: {id: $id, tags: $tags}) { bucket { id } } }"
RUNS = """query Runs($after: String) { project(name: "credit", entityName: "acme") {
  runs(after: $after) { edges { node { name } } pageInfo { endCursor hasNextPage } } } }"""


def download(server: WandbServer) -> bytes:
    file = server.artifact("acme", "credit", "evalset:v0").stored_files["test.csv"]
    return request("GET", f"{server.url}/storage/{file.download_token}/test.csv").body


def test_a_status_comes_the_asked_number_of_times_with_its_waits(server: WandbServer) -> None:
    fault = server.faults.status(429, on="Viewer", times=2, retry_after=7, rate_limit_reset=9)
    refused = ask(server, VIEWER)
    assert (refused.status, refused.headers["Retry-After"], refused.headers["RateLimit-Reset"]) == (429, "7", "9")
    assert ask(server, RUNS).status == 200
    assert [ask(server, VIEWER).status, ask(server, VIEWER).status, fault.hits] == [429, 200, 2]
    with server.faults.status(503, on="^/graphql$"):
        assert ask(server, RUNS).status == 503
        assert download(server) == CSV
    assert ask(server, RUNS).status == 200
    assert [(seen.kind, seen.name, seen.status) for seen in server.requests[:2]] == [
        ("query", "Viewer", 429),
        ("query", "Runs", 200),
    ]


def test_a_slow_answer_takes_its_time(server: WandbServer) -> None:
    server.faults.slow(0.2, on="Viewer", times=1)
    start = time.monotonic()
    assert ask(server, VIEWER).status == 200
    assert time.monotonic() - start >= 0.2


@pytest.mark.parametrize("applied", [False, True])
def test_a_dropped_mutation_has_taken_effect_or_has_not(server: WandbServer, run: Run, applied: bool) -> None:
    server.faults.drop(applied=applied, on="Tag", times=1)
    with pytest.raises(ConnectionError):
        ask(server, TAG, id=run.id, tags=["new"])
    assert run.tags == (["new"] if applied else [])
    assert server.requests[-1].status == (200 if applied else None)


def test_corrupt_bytes_have_the_right_length_and_one_wrong_byte(server: WandbServer) -> None:
    with server.faults.corrupt(on=r"/storage/.*\.csv$"):
        got = download(server)
    assert len(got) == len(CSV)
    assert sum(a != b for a, b in zip(got, CSV, strict=True)) == 1
    assert download(server) == CSV


def test_truncated_bytes_are_short_of_what_the_length_says_or_honestly_short(server: WandbServer) -> None:
    server.faults.truncate(on="/storage/", times=1)
    with pytest.raises(http.client.IncompleteRead) as cut:
        download(server)
    assert CSV.startswith(cut.value.partial)
    server.faults.truncate(honest=True, on="/storage/", times=1)
    assert download(server) == CSV[: len(CSV) // 2]


def test_a_hidden_page_ends_the_sdks_list_but_not_a_reader_of_page_info(server: WandbServer, wandb: Any) -> None:
    server.faults.hide_pages(on="Runs", times=1)
    assert [run.id for run in wandb.Api().runs("acme/credit", per_page=1)] == []
    server.faults.hide_pages(on="Runs", times=2)
    seen, after = [], None
    for _ in range(3):
        page = ask(server, RUNS, after=after).data["project"]["runs"]
        seen.append(len(page["edges"]))
        after = page["pageInfo"]["endCursor"]
    assert seen[:2] == [0, 0]
    assert seen[2] == len(server.world.project("acme", "credit").runs_by_name)


@pytest.mark.parametrize("listed", [False, True])
def test_a_file_that_never_registers_is_accepted_and_not_there(
    server: WandbServer, wandb: Any, tmp_path: Path, listed: bool
) -> None:
    name = f"lost-{listed}.txt"
    (tmp_path / name).write_text("evidence")
    run = wandb.Api().run("acme/credit/finished")
    server.faults.unregistered(listed=listed, on=f"/storage/.*{name}")
    run.upload_file(str(tmp_path / name), root=str(tmp_path))
    assert [file.size for file in run.files() if file.name == name] == ([0] if listed else [])


def test_a_write_moves_the_heartbeat_where_the_server_does_so(server: WandbServer, run: Run) -> None:
    before = run.heartbeat_at = run.heartbeat_at.replace(year=2020)
    ask(server, TAG, id=run.id, tags=["x"])
    assert run.heartbeat_at == before
    server.world.bump_heartbeat = True
    try:
        ask(server, TAG, id=run.id, tags=["y"])
    finally:
        server.world.bump_heartbeat = False
    assert run.heartbeat_at > before


def test_a_server_that_was_away_comes_back_with_its_data(tmp_path: Path) -> None:
    with WandbServer(tmp_path) as server:
        ask(server, 'mutation M { upsertBucket(input: {modelName: "p", name: "kept"}) { inserted } }')
        url = server.url
        server.stop()
        with pytest.raises(urllib.error.URLError):
            ask(server, VIEWER)
        server.start()
        assert server.url == url
        assert server.run("acme", "p", "kept").state == "running"
        assert ask(server, VIEWER).status == 200
