"""Model and data of an audit compared with what is there now, in real stores and in files beside them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from support.trackers import REAL_KINDS, Tracker, track

from venturalitica_agent.domain.subject import DataSubject, FileDigest, ModelSubject, Subject, files_digest
from venturalitica_agent.errors import RunGone, StoreUnavailable
from venturalitica_agent.fetch import changed
from venturalitica_agent.fetch.cache import Cache
from venturalitica_agent.fetch.changed import Inputs
from venturalitica_agent.stores.memory import MemoryStore, finished
from venturalitica_agent.stores.mlflow_remote import MlflowRemoteStore

MODEL = {"MLmodel": b"flavors: {}\n", "model.pkl": b"one"}
TABLE = b"a,y\n1,0\n"


class Audited:
    """A run with a model and a table, and what an audit of it had noted."""

    def __init__(self, tracker: Tracker, folder: Path) -> None:
        self.tracker = tracker
        self.run_id = tracker.start()
        self.model_id = tracker.log_model(self.run_id, MODEL)
        tracker.log_files(self.run_id, {"data/test.csv": TABLE})
        tracker.end(self.run_id)
        self.cache = Cache(folder / "cache")
        self.roots = [folder / "sources"]
        self.roots[0].mkdir()
        (self.roots[0] / "eval.csv").write_bytes(TABLE)
        files = tuple(FileDigest(n, len(c), sha256(c).hexdigest()) for n, c in MODEL.items())
        model = ModelSubject("classifier", "", files_digest(files), files, "sklearn", "model.pkl", "pickle")
        self.model = Subject(replace(model, model_id=self.model_id))
        self.table = self.of("artifact:data/test.csv")
        self.file = self.of(f"file:{self.roots[0]}/eval.csv")

    def of(self, place: str) -> Subject:
        file = FileDigest("test.csv", len(TABLE), sha256(TABLE).hexdigest())
        return Subject(None, {"evaluation": DataSubject("test", "", "csv", "", file, ("a", "y"), 1, place=place)})

    def inputs(self) -> Inputs:
        run = self.tracker.store.get_run(self.run_id)
        return Inputs(self.tracker.store, run, self.cache, self.roots)

    def changed(self, subject: Subject) -> list[str]:
        return self.inputs().changed(subject)

    def folders(self) -> tuple[Path, Path]:
        """Where the model's and the run's files are."""
        run = self.tracker.client.get_run(self.run_id).info.artifact_uri
        model = self.tracker.client.get_logged_model(self.model_id).artifact_location
        return Path(model.removeprefix("file://")), Path(run.removeprefix("file://"))


@pytest.fixture(params=REAL_KINDS)
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Audited:
    return Audited(track(request.param, request, tmp_path), tmp_path)


@pytest.fixture
def audited(request: pytest.FixtureRequest, tmp_path: Path) -> Audited:
    return Audited(track("sqlite", request, tmp_path), tmp_path)


@pytest.fixture(autouse=True)
def _coarse_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as settled at once; otherwise each test would wait for two seconds."""
    monkeypatch.setattr(changed, "_GRAIN_NS", 0)


def test_what_was_replaced_is_told_and_what_was_not_is_the_same(anywhere: Audited) -> None:
    for subject in (anywhere.model, anywhere.table, anywhere.file):
        assert anywhere.changed(subject) == []
    anywhere.tracker.log_files(anywhere.run_id, {"data/test.csv": TABLE + b"2,1\n"})
    (words,) = anywhere.changed(anywhere.table)
    assert words.startswith(
        f"the evaluation data changed: audited was SHA-256 {sha256(TABLE).hexdigest()}, now there is"
    )
    assert anywhere.changed(anywhere.model) == []
    client = anywhere.tracker.client
    folder = Path(anywhere.tracker.scratch) / "other"
    folder.mkdir()
    (folder / "model.pkl").write_bytes(b"two")
    client.log_model_artifacts(anywhere.model_id, str(folder))
    assert anywhere.changed(anywhere.model)[0].startswith("the model changed")
    local = not isinstance(anywhere.tracker.store, MlflowRemoteStore)
    assert bool(anywhere.inputs().mark([anywhere.model, anywhere.table])) is local


def test_a_mark_is_the_same_until_a_file_is_another(audited: Audited) -> None:
    subjects = [audited.model, audited.table, audited.file]
    mark = audited.inputs().mark(subjects)
    assert mark
    assert audited.inputs().mark(subjects) == mark
    model, run = audited.folders()
    about = (run / "data" / "test.csv").stat()
    (run / "data" / "test.csv").write_bytes(TABLE[::-1])
    os.utime(run / "data" / "test.csv", ns=(about.st_atime_ns, about.st_mtime_ns))  # as somebody would who hides it
    marks = {mark, audited.inputs().mark(subjects)}
    (model / "more").touch()
    marks.add(audited.inputs().mark(subjects))
    (audited.roots[0] / "eval.csv").write_bytes(b"a,y\n")
    marks.add(audited.inputs().mark(subjects))
    assert len(marks) == 4


def test_a_file_that_was_written_just_now_gives_no_mark(audited: Audited, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changed, "_GRAIN_NS", 3_600 * 10**9)
    assert audited.inputs().mark([audited.file]) == ""


Replace = Callable[[Audited], Subject]


def model_by_links(audited: Audited) -> Subject:
    file = audited.folders()[0] / "model.pkl"
    file.rename(file.with_name("elsewhere"))
    file.symlink_to("elsewhere")
    return audited.model


def artifact_by_a_link(audited: Audited) -> Subject:
    file = audited.folders()[1] / "data" / "test.csv"
    file.rename(audited.roots[0] / "same.csv")
    file.symlink_to(audited.roots[0] / "same.csv")
    return audited.table


def file_by_a_pipe(audited: Audited) -> Subject:
    (audited.roots[0] / "eval.csv").unlink()
    os.mkfifo(audited.roots[0] / "eval.csv")
    return audited.file


@pytest.mark.parametrize("replace_it", [model_by_links, artifact_by_a_link, file_by_a_pipe])
def test_a_link_or_a_device_in_the_place_of_a_file_is_a_change(audited: Audited, replace_it: Replace) -> None:
    (words,) = audited.changed(replace_it(audited))
    assert "replaced by" in words


def test_what_is_gone_or_unknown_has_not_changed(audited: Audited) -> None:
    model, run = audited.folders()
    for file in (model / "model.pkl", model / "MLmodel", run / "data" / "test.csv", audited.roots[0] / "eval.csv"):
        file.unlink()
    for subject in (audited.table, audited.file, audited.of(""), audited.of("file:/elsewhere.csv"), Subject()):
        assert audited.changed(subject) == []
    assert audited.changed(audited.model) == []
    audited.tracker.client.delete_logged_model(audited.model_id)
    assert audited.changed(audited.model) == []


def test_a_name_in_agent_yaml_is_followed_to_where_it_leads_now(audited: Audited) -> None:
    (audited.roots[0] / "next.csv").write_bytes(b"a,y\n5,1\n")
    name = audited.roots[0] / "current.csv"
    name.symlink_to("eval.csv")
    subject = audited.of(f"named:{name}")
    mark = audited.inputs().mark([subject])
    assert audited.changed(subject) == []
    name.unlink()
    name.symlink_to("next.csv")
    assert audited.inputs().mark([subject]) != mark
    assert audited.changed(subject)[0].startswith("the evaluation data changed")


def test_versions_of_artifacts_that_never_change_are_not_read_again(tmp_path: Path) -> None:
    store = MemoryStore()
    run = store.add(finished("r", artifact_uri="wandb:/r"), {"evalset:v3/test.csv": TABLE, "test.csv": TABLE})
    inputs = Inputs(store, run, Cache(tmp_path), ())
    file = FileDigest("test.csv", len(TABLE), sha256(TABLE).hexdigest())
    version, own = (
        Subject(None, {"evaluation": DataSubject("test", "", "csv", "", file, ("a", "y"), 1, place=f"artifact:{path}")})
        for path in ("evalset:v3/test.csv", "test.csv")
    )
    assert inputs.mark([version]) == ""
    store.versioned = True
    assert inputs.mark([version])
    assert inputs.mark([own]) == ""
    store.down = True
    with pytest.raises(StoreUnavailable):
        inputs.changed(own)
    store.down = False
    store.change("r", deleted=True)
    with pytest.raises(RunGone):
        Inputs(store, run, Cache(tmp_path), ()).changed(own)
