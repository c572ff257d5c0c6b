"""A folder of runs keeps the promises of every store, with what the companion writes there as its runs."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from venturalitica.trackers import folder_run
from venturalitica.trackers.folder_run import FolderRun
from venturalitica_agent.detect.poll import Poll
from venturalitica_agent.domain.run import RunRef, RunStatus
from venturalitica_agent.errors import AgentError, PermanentError, RunGone, StoreUnavailable, UntrustedInput
from venturalitica_agent.settings import load_settings
from venturalitica_agent.stores.folder import RunFolderStore
from venturalitica_agent.stores.opening import WandbServer, open_configured


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / ".venturalitica" / "runs"


@pytest.fixture
def run(home: Path) -> FolderRun:
    run = folder_run.begin("the name", "loan")
    assert run.folder.parent == home
    return run


def store_of(run: FolderRun) -> RunFolderStore:
    return RunFolderStore(Path(run.place.uri))


def rewrite(run: FolderRun, **changes: Any) -> None:
    file = run.folder / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_every_way_to_find_a_run_gives_the_same_reference(run: FolderRun) -> None:
    store = store_of(run)
    running = store.look(run.place.run_id)
    assert running is not None
    assert (running.status, running.end_time) == (RunStatus.RUNNING, None)
    assert list(store.recent(1 << 62)) == [running]
    run.end()
    ref = store.look(run.place.run_id)
    assert ref is not None
    assert (ref.status, ref.experiment_id) == (RunStatus.FINISHED, "loan")
    assert ref.end_time is not None
    found = {ref, *store.scan(), *store.recent(ref.end_time), store.get_run(run.place.run_id).ref}
    assert found == {ref}
    assert list(store.recent(ref.end_time + 1)) == []
    assert store.experiments() == {"loan": "loan"}
    assert ref.revision != running.revision


def test_a_failed_run_is_seen_as_what_it_is(run: FolderRun) -> None:
    run.end(failed=True)
    (ref,) = store_of(run).scan()
    assert ref.status is RunStatus.FAILED


def test_tags_and_artifacts_of_ours_change_neither_the_revision_nor_the_run(run: FolderRun) -> None:
    run.end()
    store, run_id = store_of(run), run.place.run_id
    before, content = store.look(run_id), (run.folder / "run.json").read_bytes()
    store.put_files(run_id, {"venturalitica/p/a/evidence.json": b"{}"})
    store.set_tags(run_id, {"venturalitica.status": "pass", "venturalitica.failed": ""})
    store.set_tags(run_id, {"venturalitica.status": "fail"}, remove=["venturalitica.failed", "never-set"])
    assert store.get_tags(run_id) == {"venturalitica.status": "fail"}
    assert store.read_file(run_id, "venturalitica/p/a/evidence.json") == b"{}"
    assert store.look(run_id) == before
    assert (run.folder / "run.json").read_bytes() == content


def test_two_writers_of_tags_lose_none(run: FolderRun) -> None:
    stores = [store_of(run) for _ in range(4)]

    def write(number: int) -> None:
        for i in range(10):
            stores[number].set_tags(run.place.run_id, {f"venturalitica.{number}.{i}": "x"})

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stores[0].get_tags(run.place.run_id)) == 40


def test_get_run_carries_what_an_audit_reads(run: FolderRun, tmp_path: Path) -> None:
    files = {
        "venturalitica_model/MLmodel": b"flavors: {}",
        "venturalitica_model/data/m.pkl": b"x",
        "data/test.csv": b"22",
    }
    run.put(files)
    run.end()
    store = store_of(run)
    found = store.get_run(run.place.run_id)
    assert (found.name, found.experiment) == ("the name", "loan")
    (model,) = found.models
    assert (model.path, model.ready) == ("venturalitica_model", True)
    store.fetch_model(run.place.run_id, model, tmp_path / "model")
    assert (tmp_path / "model" / "data" / "m.pkl").read_bytes() == b"x"
    assert {f.path: f.size for f in store.list_files(run.place.run_id)} == {k: len(v) for k, v in files.items()}
    store.fetch_file(run.place.run_id, "data/test.csv", tmp_path / "copy.csv")
    assert (tmp_path / "copy.csv").read_bytes() == b"22"


@pytest.mark.parametrize("run_id", ["0" * 32, "nosuchrun", "x" * 100, "../../etc", "a b", "", "é" * 32])
def test_an_id_that_is_no_run_is_none_or_refused(run: FolderRun, run_id: str) -> None:
    store = store_of(run)
    assert store.look(run_id) is None
    with pytest.raises(RunGone):
        store.get_run(run_id)
    with pytest.raises(RunGone):
        store.set_tags(run_id, {"venturalitica.status": "pass"})


@pytest.mark.parametrize("path", ["/etc/passwd", "../run.json", "a/../../x", "a\nb", "a\\b", ""])
def test_hostile_artifact_paths_are_refused(run: FolderRun, tmp_path: Path, path: str) -> None:
    store = store_of(run)
    with pytest.raises(AgentError):
        store.fetch_file(run.place.run_id, path, tmp_path / "x")
    with pytest.raises(AgentError):
        store.read_file(run.place.run_id, path)
    with pytest.raises(AgentError):
        store.put_files(run.place.run_id, {path: b"x"})


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"status": "DONE"}', b'{"status": ["FINISHED"]}'],
    ids=["empty", "cut", "list", "bytes", "deep", "status", "list status"],
)
def test_a_record_that_is_none_hides_no_other_run(run: FolderRun, content: bytes) -> None:
    other = folder_run.begin("other", "loan")
    other.end()
    (run.folder / "run.json").write_bytes(content)
    store = store_of(run)
    assert store.look(run.place.run_id) is None
    assert [ref.run_id for ref in store.scan()] == [other.place.run_id]
    with pytest.raises(AgentError):
        store.get_run(run.place.run_id)


@pytest.mark.parametrize("time", [True, "1", 1.5, 1 << 70, None, [1]])
def test_times_that_no_clock_shows_are_none(run: FolderRun, time: object) -> None:
    rewrite(run, status="FINISHED", end_time=time, experiment=time, name=["x"])
    ref = store_of(run).look(run.place.run_id)
    assert ref is not None
    assert ref.end_time is None
    assert store_of(run).get_run(run.place.run_id).name == run.place.run_id


def test_links_are_not_followed_whatever_they_stand_for(run: FolderRun, home: Path, tmp_path: Path) -> None:
    run.end()
    secret = tmp_path / "secret.csv"
    secret.write_bytes(b"secret")
    (run.folder / "artifacts" / "link.csv").symlink_to(secret)
    (home / ("b" * 32)).symlink_to(run.folder)
    store = store_of(run)
    with pytest.raises(UntrustedInput):
        store.fetch_file(run.place.run_id, "link.csv", tmp_path / "x")
    with pytest.raises(UntrustedInput):
        store.list_files(run.place.run_id)
    assert store.look("b" * 32) is None
    store.put_files(run.place.run_id, {"link.csv": b"ours"})  # takes the link's place, not the file's behind it
    assert secret.read_bytes() == b"secret"
    (run.folder / "tags.json").symlink_to(secret)
    store.set_tags(run.place.run_id, {"venturalitica.status": "pass"})
    assert secret.read_bytes() == b"secret"
    assert store.get_tags(run.place.run_id) == {"venturalitica.status": "pass"}


def test_a_folder_that_is_not_there_yet_is_away_and_not_empty(tmp_path: Path) -> None:
    store = RunFolderStore(tmp_path / "none")
    with pytest.raises(StoreUnavailable):
        store.ping()
    with pytest.raises(StoreUnavailable):
        list(store.scan())
    with pytest.raises(PermanentError, match="no W&B artifacts"):
        store.resolve("evalset:latest")


def test_a_poll_sees_a_run_begin_end_and_vanish(run: FolderRun) -> None:
    seen: list[RunRef] = []
    poll = Poll(store_of(run), every=0.01, on_runs=seen.extend, on_error=lambda error, _: pytest.fail(str(error)))
    poll.turn()
    run.end()
    poll.turn()
    assert [ref.status for ref in seen] == [RunStatus.RUNNING, RunStatus.FINISHED]


def test_agent_yaml_names_it_and_a_bare_folder_has_it(run: FolderRun, tmp_path: Path) -> None:
    (tmp_path / "model_policy.yaml").write_text("policy: p\n")
    (found,) = load_settings(None, env={}, cwd=tmp_path).stores
    assert (found.kind, found.uri) == ("folder", run.place.uri)
    (tmp_path / "agent.yaml").write_text(
        "stores: [{folder: ./.venturalitica/runs, poll: 1s}]\npolicies: model_policy.yaml\n"
    )
    settings = load_settings(None, env=os.environ, cwd=tmp_path)
    ((given, store),) = open_configured(settings, WandbServer(settings), ())
    assert (given.poll, store.id) == (1.0, store_of(run).id)
