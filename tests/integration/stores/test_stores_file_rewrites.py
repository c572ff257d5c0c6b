"""The file store read while it is written: MLflow rewrites `meta.yaml` in place, so a reader meets it empty."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.trackers import Tracker, track

from venturalitica_agent.detect.reconcile import Reconciler
from venturalitica_agent.domain.ledger import Phase
from venturalitica_agent.domain.run import RunRef, RunStatus
from venturalitica_agent.errors import PermanentError, StoreUnavailable, UntrustedInput
from venturalitica_agent.state.ledger import Ledger
from venturalitica_agent.state.opening import open_state
from venturalitica_agent.stores.mlflow_file import MlflowFileStore

_REWRITER = """
import os, sys, time
path = sys.argv[1]
content = open(path, "rb").read()
print("started", flush=True)
while True:
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
    os.write(fd, content)
    os.close(fd)
    time.sleep(0.0001)
"""


@pytest.fixture
def tracker(request: pytest.FixtureRequest, tmp_path: Path) -> Tracker:
    return track("file", request, tmp_path)


@pytest.fixture
def store(tracker: Tracker) -> MlflowFileStore:
    assert isinstance(tracker.store, MlflowFileStore)
    return tracker.store


def meta_of(tracker: Tracker, run_id: str) -> Path:
    return Path(tracker.uri, tracker.experiment, run_id, "meta.yaml")


def change(path: Path, **fields: object) -> None:
    text = path.read_text()
    for name, value in fields.items():
        text = re.sub(rf"(?m)^{name}: .*$", f"{name}: {value}", text)
    path.write_text(text)


@contextmanager
def rewritten_in_a_loop(path: Path) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", _REWRITER, str(path)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        yield
    finally:
        process.kill()
        process.communicate()


def test_a_run_that_is_rewritten_in_a_loop_is_never_wrong_and_never_gone(
    tracker: Tracker, store: MlflowFileStore, tmp_path: Path
) -> None:
    run_id = tracker.finished(end_time=1_700_000_000_000)
    truth = store.look(run_id)
    others = {tracker.finished() for _ in range(3)}
    ledger = Ledger(open_state(f"sqlite:///{tmp_path}/state.db"))
    reconciler = Reconciler(ledger, settle=0.0)
    reconciler.sweep(store, backlog=True)
    seen_empty = False
    with rewritten_in_a_loop(meta_of(tracker, run_id)):
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            seen_empty |= meta_of(tracker, run_id).stat().st_size == 0
            fresh = MlflowFileStore(store.root)  # as after a restart: it has no memory to fall back on
            assert {r.run_id: r for r in fresh.scan()}[run_id] == truth
            assert {r.run_id for r in store.scan()} == {run_id, *others}
            assert store.look(run_id) == truth
            assert fresh.look_at(meta_of(tracker, run_id).parent) == truth
            assert store.get_run(run_id).ref == truth
            assert reconciler.sweep(fresh, backlog=False).changed == 0
            entry = ledger.get(store.id, run_id)
            assert entry is not None
            assert entry.phase is Phase.DUE
    assert seen_empty, "the rewriter was never caught in the act: this test proved nothing"


def test_an_experiment_that_is_rewritten_in_a_loop_keeps_its_name(tracker: Tracker, store: MlflowFileStore) -> None:
    meta = Path(tracker.uri, tracker.experiment, "meta.yaml")
    assert store.experiments()[tracker.experiment] == tracker.experiment_name
    with rewritten_in_a_loop(meta):
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            assert store.experiments()[tracker.experiment] == tracker.experiment_name
    meta.write_bytes(b"")  # the writer was put to sleep, or died, in the middle
    assert store.experiments()[tracker.experiment] == tracker.experiment_name
    shutil.rmtree(meta.parent)
    assert tracker.experiment not in store.experiments()


def test_a_rewrite_within_the_grain_of_the_clock_is_noticed(tracker: Tracker, store: MlflowFileStore) -> None:
    """Same size, same inode, and a time that was set back: only the content differs."""
    run_id = tracker.finished(end_time=1_700_000_000_000)
    path = meta_of(tracker, run_id)
    for end in range(1_700_000_000_001, 1_700_000_000_050):
        about = path.stat()
        change(path, end_time=end)
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
        (ref,) = store.scan()
        assert ref.end_time == end


def test_an_old_run_is_known_by_its_stamps_and_not_read_again(
    tracker: Tracker, store: MlflowFileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = tracker.finished()
    from venturalitica_agent.stores import mlflow_file

    later = time.time_ns() + 10_000_000_000
    monkeypatch.setattr(mlflow_file.time, "time_ns", lambda: later)
    first = store.look(run_id)
    monkeypatch.setattr(mlflow_file, "_content", lambda path: pytest.fail(f"{path} was read again"))
    assert list(store.scan()) == [first]


@pytest.mark.parametrize(
    "end_time", ["--5", "²", "9" * 30, "9" * 5000, "0x10", "1e9", "nan", "'1'", "-", "[1, 2]", "2026-01-01"]
)
def test_an_absurd_end_time_costs_nobody_a_scan(
    tracker: Tracker, store: MlflowFileStore, tmp_path: Path, end_time: str
) -> None:
    bad, good = tracker.finished(), tracker.finished()
    change(meta_of(tracker, bad), end_time=end_time)
    ledger = Ledger(open_state(f"sqlite:///{tmp_path}/state.db"))
    assert Reconciler(ledger, settle=0.0).sweep(store, backlog=True).seen == 2
    assert set(ledger.of_store(store.id)) == {bad, good}


def test_what_is_no_run_is_passed_over(tracker: Tracker, store: MlflowFileStore) -> None:
    run_id = tracker.finished()
    experiment = Path(tracker.uri, tracker.experiment)
    (experiment / "notes.txt").write_text("x")
    (experiment / ("f" * 32)).mkdir()
    (experiment / ("e" * 32)).mkdir()
    (experiment / ("e" * 32) / "meta.yaml").write_text("status: 3\nrun_id: somebody-else\n")
    (experiment / ("d" * 32)).mkdir()
    os.mkfifo(experiment / ("d" * 32) / "meta.yaml")
    (experiment / ("c" * 32)).mkdir()
    (experiment / ("c" * 32) / "meta.yaml").symlink_to(meta_of(tracker, run_id))
    (experiment / ("b" * 32)).symlink_to("/nonexistent")
    (Path(tracker.uri) / ".trash").mkdir(exist_ok=True)
    (Path(tracker.uri) / "empty").mkdir()
    assert [r.run_id for r in store.scan()] == [run_id]
    for name in "fedcb":
        assert store.look(name * 32) is None


def test_a_name_cannot_forge_the_fields_of_its_run(tracker: Tracker, store: MlflowFileStore) -> None:
    run_id = tracker.start("x\nstatus: 3\nend_time: 5\nlifecycle_stage: deleted\n")
    ref = store.look(run_id)
    assert ref is not None
    assert (ref.status, ref.end_time, ref.deleted) == (RunStatus.RUNNING, None, False)


def test_a_run_with_a_removed_folder_is_gone(tracker: Tracker, store: MlflowFileStore, tmp_path: Path) -> None:
    run_id, other = tracker.finished(), tracker.finished()
    ledger = Ledger(open_state(f"sqlite:///{tmp_path}/state.db"))
    reconciler = Reconciler(ledger, settle=0.0)
    reconciler.sweep(store, backlog=True)
    shutil.rmtree(meta_of(tracker, run_id).parent)
    assert reconciler.sweep(store, backlog=False).changed == 1
    assert {e.ref.run_id: e.phase for e in ledger.of_store(store.id).values()} == {run_id: Phase.GONE, other: Phase.DUE}


def test_an_unreadable_experiment_folder_is_trouble_and_not_the_end_of_its_runs(
    tracker: Tracker, store: MlflowFileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker.finished()
    real = os.scandir

    def broken(path: object) -> object:
        if str(path).endswith(tracker.experiment):
            raise OSError(5, "Input/output error")
        return real(path)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "scandir", broken)
    with pytest.raises(StoreUnavailable):
        list(store.scan())


def test_runs_copied_in_from_another_store_are_seen_and_never_written_elsewhere(
    tracker: Tracker, store: MlflowFileStore, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Their `artifact_uri` still names the folder they came from; nothing is read or written there."""
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "mlruns"
    run_id = tracker.finished()
    source = meta_of(tracker, run_id).parent
    elsewhere.mkdir(parents=True)
    shutil.copytree(source, elsewhere / run_id)
    shutil.rmtree(source)
    change(elsewhere / run_id / "meta.yaml", artifact_uri=elsewhere / run_id / "artifacts")
    assert store.look(run_id) is None
    shutil.copytree(elsewhere / run_id, source)
    ref = store.look(run_id)
    assert ref is not None
    assert ref.status is RunStatus.FINISHED
    (model,) = store.get_run(run_id).models  # the refusal comes when somebody fetches it
    with pytest.raises(UntrustedInput, match="outside the folders") as caught:
        store.fetch_model(run_id, model, tmp_path / "model")
    assert "artifacts:" in caught.value.remedy
    with pytest.raises(UntrustedInput):
        store.put_files(run_id, {"venturalitica/x": b"x"})
    assert not list((elsewhere / run_id / "artifacts").iterdir())
    trusting = MlflowFileStore(store.root, roots=[elsewhere])
    trusting.put_files(run_id, {"venturalitica/x": b"x"})
    assert trusting.read_file(run_id, "venturalitica/x") == b"x"


def test_a_run_copied_under_another_experiment_is_one_error_and_not_a_loop(
    tracker: Tracker, store: MlflowFileStore
) -> None:
    """MLflow calls its record invalid; that is permanent, and not the same as a run that was deleted."""
    run_id = tracker.finished()
    source = meta_of(tracker, run_id).parent
    store.look(run_id)
    shutil.move(source, Path(tracker.uri, "0", run_id))
    ref = store.look(run_id)
    assert ref is not None
    assert ref.experiment_id == "0"
    with pytest.raises(PermanentError, match="invalid state"):
        store.get_run(run_id)


def test_a_link_among_the_artifacts_becomes_the_models_problem(
    tracker: Tracker, store: MlflowFileStore, tmp_path: Path
) -> None:
    """The run itself stays readable and writable, so that it gets its `error` verdict."""
    run_id = tracker.finished()
    folder = meta_of(tracker, run_id).parent / "artifacts"
    (folder / "model").symlink_to("/etc")
    run = store.get_run(run_id)
    (model,) = run.models
    with pytest.raises(UntrustedInput, match="link"):
        store.fetch_model(run_id, model, tmp_path / "model")
    store.put_files(run_id, {"venturalitica/x": b"x"})
    assert store.read_file(run_id, "venturalitica/x") == b"x"


def test_evidence_is_never_written_through_a_link(tracker: Tracker, store: MlflowFileStore, tmp_path: Path) -> None:
    run_id = tracker.finished()
    folder = meta_of(tracker, run_id).parent / "artifacts"
    (tmp_path / "outside").mkdir()
    (folder / "venturalitica").symlink_to(tmp_path / "outside")
    with pytest.raises(UntrustedInput):
        store.put_files(run_id, {"venturalitica/evidence.json": b"x"})
    assert not list((tmp_path / "outside").iterdir())


def test_noticing_never_asks_mlflow_itself(
    tracker: Tracker, store: MlflowFileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.store.tracking.file_store import FileStore

    run_id = tracker.finished()
    for name in ("search_runs", "_search_runs", "get_run", "search_experiments"):
        monkeypatch.setattr(FileStore, name, lambda *_, name=name, **__: pytest.fail(f"{name} was called"))
    assert isinstance(store.look(run_id), RunRef)
    assert len(list(store.scan())) == 1
    assert tracker.experiment in store.experiments()
    store.ping()


def test_a_store_that_is_not_there_is_awaited_and_not_made(tmp_path: Path) -> None:
    store = MlflowFileStore(tmp_path / "later" / "mlruns")
    with pytest.raises(StoreUnavailable):
        list(store.scan())
    with pytest.raises(StoreUnavailable):
        store.ping()
    store.prepare()
    assert not (tmp_path / "later").exists()


@pytest.mark.parametrize("name", ["with space", "ha#sh", "ünï"])
def test_store_folders_with_odd_names_work(tmp_path: Path, name: str) -> None:
    from mlflow import MlflowClient

    root = tmp_path / name / "mlruns"
    root.mkdir(parents=True)
    client = MlflowClient(str(root))
    run_id = client.create_run(client.create_experiment("e")).info.run_id
    client.set_terminated(run_id)
    store = MlflowFileStore(root)
    store.put_files(run_id, {"venturalitica/x": b"x"})
    assert store.read_file(run_id, "venturalitica/x") == b"x"
    assert [f.path for f in client.list_artifacts(run_id, "venturalitica")] == ["venturalitica/x"]
