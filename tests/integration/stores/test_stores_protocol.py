"""What every real store promises: one revision however a run is found, and nothing of ours changes it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from support.trackers import Tracker

from venturalitica_agent.domain.run import RunRef, RunStatus
from venturalitica_agent.errors import AgentError, PermanentError, RunGone
from venturalitica_agent.stores.base import Store


def scanned(tracker: Tracker, run_id: str) -> RunRef:
    return next(r for r in tracker.store.scan() if r.run_id == run_id)


def run_info(tracker: Tracker, run_id: str) -> dict[str, Any]:
    return dict(tracker.client.get_run(run_id).info)


def test_every_way_to_find_a_run_gives_the_same_reference(tracker: Tracker) -> None:
    run_id = tracker.start()
    tracker.log_dataset(run_id)
    tracker.log_model(run_id)
    tracker.end(run_id)
    found = {
        "scan": scanned(tracker, run_id),
        "look": tracker.store.look(run_id),
        "get_run": tracker.store.get_run(run_id).ref,
    }
    if tracker.kind != "file":
        since = int(tracker.client.get_run(run_id).info.end_time)
        found["recent"] = next(r for r in tracker.store.recent(since) if r.run_id == run_id)
    assert len(set(found.values())) == 1, found
    ref = found["scan"]
    assert (ref.status, ref.deleted, ref.experiment_id) == (RunStatus.FINISHED, False, tracker.experiment)
    assert ref.inputs
    assert ref.end_time == run_info(tracker, run_id)["end_time"]


def test_a_running_run_has_no_end_and_is_among_the_recent(tracker: Tracker) -> None:
    run_id = tracker.start()
    ref = tracker.store.look(run_id)
    assert ref is not None
    assert (ref.status, ref.end_time, ref.status.ended) == (RunStatus.RUNNING, None, False)
    assert scanned(tracker, run_id) == ref
    if tracker.kind != "file":
        assert ref in list(tracker.store.recent(10**15))


def test_a_scheduled_run_counts_as_unfinished(tracker: Tracker) -> None:
    run_id = tracker.start()
    tracker.client.update_run(run_id, status="SCHEDULED")
    ref = tracker.store.look(run_id)
    assert ref is not None
    assert ref.status is RunStatus.SCHEDULED
    if tracker.kind != "file":
        assert ref in list(tracker.store.recent(10**15))


def test_our_tags_and_artifacts_change_neither_the_revision_nor_the_run(tracker: Tracker) -> None:
    run_id = tracker.finished()
    model = tracker.log_model(run_id)
    before, info = tracker.store.look(run_id), run_info(tracker, run_id)
    run = tracker.store.get_run(run_id)
    tracker.store.put_files(run_id, {"venturalitica/p/a/evidence.json": b"{}", "policy_snapshot/p.yaml": b"x"})
    tracker.store.set_tags(run_id, {"venturalitica.status": "pass", "venturalitica.failed": ""})
    tracker.store.set_tags(run_id, {"venturalitica.status": "fail"}, remove=["venturalitica.failed", "never-set"])
    tracker.store.tag_models(run_id, run.models, {"venturalitica.status": "fail"})
    assert tracker.store.look(run_id) == before
    assert scanned(tracker, run_id) == before
    assert run_info(tracker, run_id) == info
    tags = tracker.store.get_tags(run_id)
    assert tags["venturalitica.status"] == "fail"
    assert "venturalitica.failed" not in tags
    assert tracker.store.read_file(run_id, "venturalitica/p/a/evidence.json") == b"{}"
    assert tracker.client.get_logged_model(model).tags["venturalitica.status"] == "fail"


def test_get_run_carries_everything_that_an_audit_reads(tracker: Tracker) -> None:
    run_id = tracker.start("the name")
    tracker.client.set_tag(run_id, "team", "risk")
    tracker.client.log_param(run_id, "depth", 3)
    tracker.client.log_metric(run_id, "accuracy", 0.75)
    tracker.client.log_metric(run_id, "diverged", float("inf"))
    tracker.log_dataset(run_id, "eval", "eval")
    ready, failed = tracker.log_model(run_id), tracker.log_model(run_id, ready=False)
    tracker.end(run_id)
    run = tracker.store.get_run(run_id)
    assert (run.name, run.experiment, run.tags["team"]) == ("the name", tracker.experiment_name, "risk")
    assert run.params == {"depth": "3"}
    assert run.metrics["accuracy"] == 0.75
    (data,) = run.datasets
    assert (data.name, data.digest, data.context, data.source_type) == ("eval", "0123abcd", "eval", "local")
    assert data.source == '{"uri": "data/test.csv"}'
    assert {m.model_id: m.ready for m in run.models} == {ready: True, failed: False}


def test_a_model_of_mlflow_2_is_found_among_the_artifacts(tracker: Tracker, tmp_path: Path) -> None:
    run_id = tracker.start()
    tracker.log_files(
        run_id, {"model/MLmodel": b"flavors: {}\n", "model/data/model.pkl": b"\x80\x04", "note.txt": b"x"}
    )
    tracker.end(run_id)
    (model,) = tracker.store.get_run(run_id).models
    assert (model.path, model.model_id, model.ready) == ("model", "", True)
    tracker.store.fetch_model(run_id, model, tmp_path / "copy")
    assert (tmp_path / "copy" / "MLmodel").read_bytes() == b"flavors: {}\n"
    assert (tmp_path / "copy" / "data" / "model.pkl").read_bytes() == b"\x80\x04"
    assert not (tmp_path / "copy" / "note.txt").exists()


def test_all_files_of_a_logged_model_are_copied(tracker: Tracker, tmp_path: Path) -> None:
    files = {"MLmodel": b"a", "model.pkl": b"b" * 100_000, "metadata/deep/er.txt": b"c"}
    run_id = tracker.start()
    tracker.log_model(run_id, files)
    tracker.end(run_id)
    (model,) = tracker.store.get_run(run_id).models
    tracker.store.fetch_model(run_id, model, tmp_path / "copy")
    copied = {p.relative_to(tmp_path / "copy").as_posix(): p.read_bytes() for p in (tmp_path / "copy").rglob("*.*")}
    assert copied | {"MLmodel": (tmp_path / "copy" / "MLmodel").read_bytes()} == files


def test_a_deleted_model_is_not_ready_and_stops_nothing(tracker: Tracker) -> None:
    run_id = tracker.start()
    gone, kept = tracker.log_model(run_id), tracker.log_model(run_id)
    tracker.end(run_id)
    tracker.client.delete_logged_model(gone)
    run = tracker.store.get_run(run_id)
    assert {m.model_id: m.ready for m in run.models}[kept] is True
    assert all(not m.ready for m in run.models if m.model_id == gone)
    tracker.store.tag_models(run_id, run.models, {"venturalitica.status": "pass"})
    assert tracker.client.get_logged_model(kept).tags["venturalitica.status"] == "pass"


def test_inputs_logged_after_the_end_make_a_new_revision(tracker: Tracker) -> None:
    run_id = tracker.finished()
    first = scanned(tracker, run_id)
    tracker.log_dataset(run_id)
    second = scanned(tracker, run_id)
    tracker.log_model(run_id)
    third = tracker.store.look(run_id)
    assert third is not None
    assert len({first.revision, second.revision, third.revision}) == 3
    assert {first.end_time} == {second.end_time, third.end_time}


def test_a_resumed_run_keeps_its_old_end_until_it_ends_anew(tracker: Tracker) -> None:
    run_id = tracker.finished(end_time=1_700_000_000_000)
    first = tracker.store.look(run_id)
    tracker.client.update_run(run_id, status="RUNNING")
    resumed = tracker.store.look(run_id)
    tracker.end(run_id, end_time=1_700_000_009_000)
    again = tracker.store.look(run_id)
    assert first is not None
    assert resumed is not None
    assert again is not None
    assert (resumed.status, resumed.end_time) == (RunStatus.RUNNING, first.end_time)
    assert (again.status, again.end_time) == (RunStatus.FINISHED, 1_700_000_009_000)
    assert len({first.revision, resumed.revision, again.revision}) == 3


@pytest.mark.parametrize("status", ["FAILED", "KILLED"])
def test_other_endings_are_seen_as_what_they_are(tracker: Tracker, status: str) -> None:
    run_id = tracker.finished(status=status)
    assert scanned(tracker, run_id).status is RunStatus(status)


@pytest.mark.parametrize("end_time", [1, 4_102_444_800_000])
def test_forged_end_times_hide_no_run_from_a_scan(tracker: Tracker, end_time: int) -> None:
    run_id = tracker.finished(end_time=end_time)
    ref = scanned(tracker, run_id)
    assert (ref.end_time, ref.status, tracker.store.get_run(run_id).ref) == (end_time, RunStatus.FINISHED, ref)


def test_a_deleted_run_is_seen_as_deleted_and_can_come_back(tracker: Tracker) -> None:
    run_id = tracker.finished()
    before = tracker.store.look(run_id)
    tracker.client.delete_run(run_id)
    ref = tracker.store.look(run_id)
    assert ref is not None
    assert ref.deleted
    assert scanned(tracker, run_id).deleted
    with pytest.raises(RunGone):
        tracker.store.get_run(run_id)
    with pytest.raises(RunGone):
        tracker.store.set_tags(run_id, {"venturalitica.status": "pass"})
    tracker.client.restore_run(run_id)
    assert tracker.store.look(run_id) == before


def test_runs_of_a_deleted_experiment_are_gone_and_come_back_with_it(tracker: Tracker) -> None:
    run_id = tracker.finished()
    before = tracker.store.look(run_id)
    assert tracker.store.experiments()[tracker.experiment] == tracker.experiment_name
    tracker.client.delete_experiment(tracker.experiment)
    there = tracker.store.look(run_id)
    assert there is None or there.deleted
    assert all(r.deleted for r in tracker.store.scan() if r.run_id == run_id)
    assert tracker.experiment not in tracker.store.experiments()
    with pytest.raises(RunGone):
        tracker.store.get_run(run_id)
    tracker.client.restore_experiment(tracker.experiment)
    assert tracker.store.experiments()[tracker.experiment] == tracker.experiment_name
    assert tracker.store.look(run_id) == before


def test_experiments_have_their_exact_names(tracker: Tracker) -> None:
    names = ['100% "quoted"', "  spaces  ", "naïve ☃ 信用", "yes", "1e5", "a: b # c", "long " * 40 + "end"]
    location = None if tracker.kind != "sqlite" else f"{tracker.scratch}/artifacts"
    made = {}
    for name in names:
        unique = f"{name}|{tracker.experiment_name}"
        made[tracker.client.create_experiment(unique, artifact_location=location)] = unique
    found = tracker.store.experiments()
    assert {e: found[e] for e in made} == made


@pytest.mark.parametrize("run_id", ["0" * 32, "nosuchrun", "x" * 100, "../../etc", "a b", "' OR 1=1", "", "é" * 32])
def test_an_id_that_is_no_run_is_none_or_refused_and_never_a_raw_error(tracker: Tracker, run_id: str) -> None:
    store: Store = tracker.store
    with contextlib.suppress(PermanentError):
        assert store.look(run_id) is None
    with pytest.raises(PermanentError):
        store.get_run(run_id)


def test_a_missing_artifact_is_the_artifacts_problem_not_the_runs(tracker: Tracker, tmp_path: Path) -> None:
    run_id = tracker.finished()
    tracker.log_files(run_id, {"a.txt": b"a"})
    with pytest.raises(PermanentError) as caught:
        tracker.store.fetch_file(run_id, "data/none.csv", tmp_path / "none")
    assert not isinstance(caught.value, RunGone)
    with pytest.raises(PermanentError) as caught:
        tracker.store.read_file(run_id, "none.csv")
    assert not isinstance(caught.value, RunGone)


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "a\nb", "a\\b", ""])
def test_hostile_artifact_paths_are_refused_everywhere(tracker: Tracker, tmp_path: Path, path: str) -> None:
    run_id = tracker.finished()
    with pytest.raises(AgentError):
        tracker.store.fetch_file(run_id, path, tmp_path / "x")
    with pytest.raises(AgentError):
        tracker.store.read_file(run_id, path)
    with pytest.raises(AgentError):
        tracker.store.put_files(run_id, {path: b"x"})
    assert not (tmp_path / "x").exists()


def test_files_are_listed_with_their_sizes_however_deep(tracker: Tracker) -> None:
    run_id = tracker.finished()
    files = {"a.txt": b"1", "data/test set.csv": b"22", "data/deep/er/é.bin": b"333", "data/data/x": b"4444"}
    tracker.log_files(run_id, files)
    assert {f.path: f.size for f in tracker.store.list_files(run_id)} == {k: len(v) for k, v in files.items()}


def test_more_tags_than_mlflow_takes_at_once(tracker: Tracker) -> None:
    run_id = tracker.finished()
    tags = {f"venturalitica.p{i}.status": "pass" for i in range(130)}
    tracker.store.set_tags(run_id, tags)
    assert {k: v for k, v in tracker.store.get_tags(run_id).items() if k in tags} == tags


def test_hostile_names_are_carried_as_text_that_can_be_written(tracker: Tracker) -> None:
    run_id = tracker.start("<img src=x onerror=alert(1)>\x1b[31m ☃")
    tracker.client.set_tag(run_id, "note", "line one\nline two")
    tracker.end(run_id)
    run = tracker.store.get_run(run_id)
    assert "<img src=x onerror=alert(1)>" in run.name
    assert run.tags["note"] == "line one\nline two"
    run.name.encode()


def test_links_name_the_run(tracker: Tracker) -> None:
    run_id = tracker.finished()
    link = tracker.store.run_link(tracker.store.get_run(run_id))
    assert link == (f"{tracker.uri}/#/experiments/{tracker.experiment}/runs/{run_id}" if tracker.kind == "http" else "")
