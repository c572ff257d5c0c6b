"""A folder of real offline runs as a store: noticed in every state, read safely, nothing of W&B's changed."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from hashlib import md5
from pathlib import Path

import pytest
from support.verdicts import decision, policy
from support.wandb_offline import Offline, copied_to, framed, trained_beside
from support.wandb_training import training_env
from wandb.proto import wandb_internal_pb2 as pb
from wandb_server import WandbServer

from venturalitica_agent.attest.bundle import build_bundle
from venturalitica_agent.detect.poll import Poll
from venturalitica_agent.domain.run import Run, RunRef, RunStatus
from venturalitica_agent.domain.verdict import Status
from venturalitica_agent.errors import AgentError, PermanentError, RunGone, StoreUnavailable, UntrustedInput
from venturalitica_agent.publish.writeback import publish
from venturalitica_agent.stores.base import PolledStore
from venturalitica_agent.stores.wandb_folders import QUIET, RunFolders
from venturalitica_agent.stores.wandb_offline import WandbOfflineStore

pytestmark = pytest.mark.xdist_group("wandb-offline")


class Clock:
    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def offline(tmp_path: Path) -> Offline:
    return copied_to(tmp_path / "work")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(offline: Offline, clock: Clock) -> WandbOfflineStore:
    """A store that may read what W&B staged beside the original of the runs."""
    return WandbOfflineStore(offline.root, roots=[trained_beside()], clock=clock)


def by_hand(root: Path, *records: bytes, name: str = "made", time_: str = "20260101_000000") -> str:
    """A run whose log holds these records; returns its id."""
    folder = root / f"offline-run-{time_}-{name}"
    folder.mkdir()
    (folder / f"run-{name}.wandb").write_bytes(framed(records))
    return folder.name


def a_run(project: str = "credit", **about: object) -> bytes:
    return bytes(pb.Record(run=pb.RunRecord(run_id="made", project=project, **about)).SerializeToString())


def an_exit(code: int = 0) -> bytes:
    return bytes(pb.Record(exit=pb.RunExitRecord(exit_code=code)).SerializeToString())


def an_artifact(
    files: Mapping[str, Path],
    name: str = "made-model",
    type_: str = "model",
    contents: Mapping[str, bytes] | None = None,
) -> bytes:
    """A logged artifact whose files are staged at these places; `contents` where a place is not to be read here."""
    entries, lines = [], b"wandb-artifact-manifest-v1\n"
    for path, place in sorted(files.items()):
        content = contents[path] if contents else place.read_bytes()
        digest = base64.b64encode(md5(content).digest()).decode()
        lines += f"{path}:{digest}\n".encode()
        entries.append(pb.ArtifactManifestEntry(path=path, digest=digest, size=len(content), local_path=str(place)))
    record = pb.ArtifactRecord(
        name=name,
        type=type_,
        digest=md5(lines).hexdigest(),
        aliases=["latest"],
        finalize=True,
        manifest=pb.ArtifactManifest(contents=entries),
    )
    return bytes(pb.Record(artifact=record).SerializeToString())


def the_model(run: Run, folder: Path, store: WandbOfflineStore) -> dict[str, bytes]:
    store.fetch_model(run.ref.run_id, run.models[-1], folder)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def log_bytes(offline: Offline) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in offline.root.glob("*/*.wandb")}


# -- noticing -------------------------------------------------------------------------------------------------------
def test_it_is_a_polled_store(store: WandbOfflineStore) -> None:
    polled: PolledStore = store
    polled.ping()
    polled.prepare()
    assert polled.uri == str(store.root)


def test_each_run_has_the_state_that_its_log_tells(offline: Offline, store: WandbOfflineStore, clock: Clock) -> None:
    def states() -> dict[str, RunStatus]:
        return {ref.run_id: ref.status for ref in store.scan()}

    expected = {
        offline.run("good"): RunStatus.FINISHED,
        offline.run("bad"): RunStatus.FAILED,
        offline.run("twice", 0): RunStatus.FINISHED,
        offline.run("twice", 1): RunStatus.FINISHED,
        offline.run("killed"): RunStatus.RUNNING,
    }
    assert states() == expected
    clock.ahead = QUIET + 60
    assert states() == expected | {offline.run("killed"): RunStatus.FAILED}


def test_every_way_to_find_a_run_gives_the_same_reference(offline: Offline, store: WandbOfflineStore) -> None:
    scanned = {ref.run_id: ref for ref in store.scan()}
    recent = {ref.run_id: ref for ref in store.recent(0)}
    assert scanned == recent
    for run_id, ref in scanned.items():
        assert ref == store.look(run_id) == store.get_run(run_id).ref
    good = scanned[offline.run("good")]
    assert (good.experiment_id, good.inputs, good.deleted) == ("credit", "", False)
    assert good.start_time is not None
    assert good.end_time is not None
    assert 0 < good.end_time - good.start_time < 60_000
    assert store.experiments() == {"credit": "credit", "other": "other"}


def test_two_folders_of_one_wandb_id_are_two_runs(offline: Offline, store: WandbOfflineStore) -> None:
    first, second = (store.get_run(offline.run("twice", n)) for n in (0, 1))
    assert (first.experiment, second.experiment) == ("credit", "other")
    assert first.name == second.name == "twice"
    assert first.ref.run_id != second.ref.run_id


def test_a_poll_hears_of_ends_of_growth_of_silence_and_of_arrivals(
    offline: Offline, store: WandbOfflineStore, clock: Clock
) -> None:
    seen: dict[str, RunRef] = {}
    errors: list[AgentError] = []
    poll = Poll(
        store,
        every=1,
        on_runs=lambda refs: seen.update((r.run_id, r) for r in refs),
        on_error=lambda error, _: errors.append(error),
        clock=clock,
    )
    poll.ask()
    killed = offline.run("killed")
    assert seen[killed].status is RunStatus.RUNNING
    clock.ahead = QUIET + 60
    poll.ask()
    assert seen[killed].status is RunStatus.FAILED
    with offline.log("killed").open("ab") as log:
        log.write(b"more")
    clock.ahead = 0
    poll.ask()
    assert seen[killed].status is RunStatus.RUNNING
    # A run of long ago is copied here from another machine.
    old = by_hand(offline.root, a_run(start_time={"seconds": 1_700_000_000}), an_exit())
    poll.ask()
    assert seen[old].status is RunStatus.FINISHED
    assert seen[old].end_time == 1_700_000_001_000
    shutil.rmtree(offline.root / old)
    poll.ask()
    assert store.look(old) is None
    assert errors == []


def test_what_is_written_after_the_end_makes_a_new_revision(offline: Offline, store: WandbOfflineStore) -> None:
    run_id = offline.run("good")
    before = store.look(run_id)
    with offline.log("good").open("ab") as log:
        log.write(b"x")
    after = next(ref for ref in store.scan() if ref.run_id == run_id)
    assert before is not None
    assert (before.status, after.status) == (RunStatus.FINISHED, RunStatus.FINISHED)
    assert before.revision != after.revision
    assert store.look(run_id) == after


def test_an_unchanged_folder_is_never_opened_again(
    offline: Offline, store: WandbOfflineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    refs = list(store.scan())
    version = store.version()

    def opened(*_: object) -> None:
        raise AssertionError("a log was opened")

    monkeypatch.setattr(RunFolders, "opened", opened)
    assert store.version() == version
    assert list(store.scan()) == refs
    assert list(store.recent(0)) == refs
    (offline.folder("good") / "run-good.wandb.synced").touch()
    assert store.version() != version


def test_reading_a_folder_imports_neither_wandb_nor_an_http_client(offline: Offline) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from venturalitica_agent.stores.wandb_offline import WandbOfflineStore\n"
        "store = WandbOfflineStore(Path(sys.argv[1])); [store.get_run(r.run_id) for r in store.scan()]\n"
        "print([m for m in ('wandb', 'google.protobuf', 'requests', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, offline.root], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_folder_that_is_not_there_yet_is_unavailable(tmp_path: Path) -> None:
    store = WandbOfflineStore(tmp_path / "wandb")
    calls: list[Callable[[], object]] = [store.ping, store.version, lambda: list(store.scan())]
    for call in calls:
        with pytest.raises(StoreUnavailable, match="folder"):
            call()
    (tmp_path / "wandb").mkdir()
    assert list(store.scan()) == []


# -- reading --------------------------------------------------------------------------------------------------------
def test_a_run_is_read_with_all_that_it_logged(offline: Offline, store: WandbOfflineStore) -> None:
    run = store.get_run(offline.run("good"))
    assert (run.name, run.experiment) == ("first", "credit")
    assert run.tags == {"team": "risk", "baseline": "", "group": "nightly", "job_type": "train"}
    assert run.params == {"lr": "0.1", "deep": '{"a": [1, 2]}'}
    assert (run.metrics["acc"], run.metrics["nested.x"]) == (0.95, 1.5)
    assert "loss" not in run.metrics
    assert run.artifact_uri.startswith("wandb-run:")
    assert [(m.name.partition(":")[0], m.ready) for m in run.models] == [("loan-model", True)]
    contexts = {d.name: (d.context, d.source_type) for d in run.datasets}
    assert contexts == {"evalset/test.csv": ("test", "wandb"), "evalset/web.csv": ("", "wandb")}
    (table,) = run.tables
    assert table.startswith("media/table/preds_")
    listed = {f.path for f in store.list_files(run.ref.run_id)}
    assert {table, "saved.csv", f"{run.models[0].name}/model.joblib"} <= listed
    for dataset in run.datasets:
        uri = json.loads(dataset.source)["uri"]
        assert uri.removeprefix(f"{run.artifact_uri}/") in listed


def test_bytes_are_those_that_training_logged(offline: Offline, store: WandbOfflineStore, tmp_path: Path) -> None:
    run = store.get_run(offline.run("good"))
    assert the_model(run, tmp_path / "model", store) == {
        "model.joblib": (trained_beside() / "model.joblib").read_bytes()
    }
    uri = json.loads(next(d.source for d in run.datasets if d.context == "test"))["uri"]
    path = uri.removeprefix(f"{run.artifact_uri}/")
    store.fetch_file(run.ref.run_id, path, tmp_path / "test.csv")
    assert (tmp_path / "test.csv").read_bytes() == (trained_beside() / "test.csv").read_bytes()
    size = next(f.size for f in store.list_files(run.ref.run_id) if f.path == path)
    assert size == (tmp_path / "test.csv").stat().st_size
    store.fetch_file(run.ref.run_id, run.tables[0], tmp_path / "table.json")
    assert json.loads((tmp_path / "table.json").read_bytes())["data"] == [[30, 1], [40, 0]]


def test_a_table_that_was_changed_since_is_refused(offline: Offline, store: WandbOfflineStore, tmp_path: Path) -> None:
    run = store.get_run(offline.run("good"))
    (offline.folder("good") / "files" / run.tables[0]).write_text('{"columns": ["age"], "data": [[1]]}')
    with pytest.raises(UntrustedInput, match="other bytes"):
        store.fetch_file(run.ref.run_id, run.tables[0], tmp_path / "table.json")
    assert not (tmp_path / "table.json").exists()


def test_a_reference_is_never_followed(offline: Offline, store: WandbOfflineStore, tmp_path: Path) -> None:
    run_id = offline.run("good")
    path = next(f.path for f in store.list_files(run_id) if f.path.endswith("web.csv"))
    with pytest.raises(UntrustedInput, match="only a reference") as error:
        store.fetch_file(run_id, path, tmp_path / "x")
    assert "add_file" in error.value.remedy


def test_copies_outside_the_known_folders_are_refused_until_agent_yaml_names_them(
    offline: Offline, tmp_path: Path
) -> None:
    run_id = offline.run("good")
    store = WandbOfflineStore(offline.root)
    run = store.get_run(run_id)
    with pytest.raises(UntrustedInput, match="lies outside") as error:
        store.fetch_model(run_id, run.models[0], tmp_path / "model")
    assert "`artifacts:`" in error.value.remedy
    assert str(trained_beside() / "wandb_data_dir") in error.value.remedy
    named = WandbOfflineStore(offline.root, roots=[trained_beside() / "wandb_data_dir"])
    assert the_model(run, tmp_path / "again", named).keys() == {"model.joblib"}


def test_the_staging_folder_of_the_agents_own_user_is_known(
    offline: Offline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_DATA_DIR", str(trained_beside() / "wandb_data_dir"))
    store = WandbOfflineStore(offline.root)
    assert the_model(store.get_run(offline.run("good")), tmp_path / "model", store).keys() == {"model.joblib"}


def staged_run(offline: Offline, place: Path, content: bytes = b"a model") -> tuple[WandbOfflineStore, Run]:
    """A run with a model staged at `place`, whose manifest promises `content`."""
    record = an_artifact({"model.joblib": place}, contents={"model.joblib": content})
    run_id = by_hand(offline.root, a_run(), record, an_exit())
    store = WandbOfflineStore(offline.root)
    return store, store.get_run(run_id)


def test_a_copy_that_was_changed_since_is_refused(offline: Offline, tmp_path: Path) -> None:
    place = offline.root.parent / "tmpabc"
    place.write_bytes(b"b model")
    store, run = staged_run(offline, place)
    with pytest.raises(UntrustedInput, match="other bytes than were logged"):
        store.fetch_model(run.ref.run_id, run.models[0], tmp_path / "model")
    assert list((tmp_path / "model").iterdir()) == []


@pytest.mark.parametrize("kind", ["pipe", "link", "folder"])
def test_a_copy_that_is_no_plain_file_is_refused(offline: Offline, tmp_path: Path, kind: str) -> None:
    place = offline.root.parent / "staged"
    secret = tmp_path / "secret"
    secret.write_bytes(b"a model")
    {"pipe": os.mkfifo, "link": lambda p: p.symlink_to(secret), "folder": Path.mkdir}[kind](place)
    store, run = staged_run(offline, place)
    with pytest.raises(PermanentError):
        store.fetch_model(run.ref.run_id, run.models[0], tmp_path / "model")
    assert list((tmp_path / "model").iterdir()) == []


@pytest.mark.parametrize(
    "place",
    ["", "relative", "/x\x00y", "/x/../etc/passwd", "/" + "y" * 5000, "/a\nb", "~/x"],
    ids=["empty", "relative", "nul", "upward", "long", "newline", "home"],
)
def test_hostile_names_of_copies_are_refused(offline: Offline, tmp_path: Path, place: str) -> None:
    digest = base64.b64encode(md5(b"").digest()).decode()
    entry = pb.ArtifactManifestEntry(path="m", digest=digest, local_path=place)
    lines = f"wandb-artifact-manifest-v1\nm:{digest}\n".encode()
    record = pb.ArtifactRecord(name="m", type="model", digest=md5(lines).hexdigest(), finalize=True)
    record.manifest.contents.append(entry)
    run_id = by_hand(offline.root, a_run(), pb.Record(artifact=record).SerializeToString(), an_exit())
    store = WandbOfflineStore(offline.root)
    with pytest.raises(PermanentError):
        store.fetch_model(run_id, store.get_run(run_id).models[0], tmp_path / "model")
    assert list((tmp_path / "model").iterdir()) == []


def test_a_file_that_wandb_took_no_copy_of_is_read_where_training_named_it(
    offline: Offline, store: WandbOfflineStore, tmp_path: Path
) -> None:
    """`add_file(…, policy="immutable")` with a relative path."""
    run_id = offline.run("twice", 1)
    (path,) = (f.path for f in store.list_files(run_id) if f.path.endswith("/more.csv"))
    store.fetch_file(run_id, path, tmp_path / "more.csv")
    assert (tmp_path / "more.csv").read_bytes() == b"a\n8\n"


def test_copies_that_are_gone_come_from_the_cache_or_are_said_to_be_gone(
    offline: Offline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    store, run = staged_run(offline, offline.root.parent / "gone")
    with pytest.raises(PermanentError, match="can't be had") as error:
        store.fetch_model(run.ref.run_id, run.models[0], tmp_path / "model")
    assert "cleaned up" in error.value.remedy
    digest = md5(b"a model").hexdigest()
    place = tmp_path / "cache" / "artifacts" / "obj" / "md5" / digest[:2] / digest[2:]
    place.parent.mkdir(parents=True)
    place.write_bytes(b"a model")
    assert the_model(run, tmp_path / "model", store) == {"model.joblib": b"a model"}


def test_a_model_that_was_not_completely_logged_is_not_ready(offline: Offline) -> None:
    record = pb.ArtifactRecord(name="m", type="model", finalize=False)
    run_id = by_hand(offline.root, a_run(), pb.Record(artifact=record).SerializeToString(), an_exit())
    assert [m.ready for m in WandbOfflineStore(offline.root).get_run(run_id).models] == [False]


def test_the_same_artifact_logged_again_is_one_and_the_last_is_last(offline: Offline, store: WandbOfflineStore) -> None:
    files = []
    for name in ("one", "two"):
        files.append(offline.root.parent / name)
        files[-1].write_text(name)
    one, two = (an_artifact({"m": place}) for place in files)
    run = store.get_run(by_hand(offline.root, a_run(), one, two, one, an_exit()))
    assert len(run.models) == 2
    last = max(run.models, key=lambda m: m.step)
    store.fetch_model(run.ref.run_id, last, offline.root.parent / "model")
    assert (offline.root.parent / "model" / "m").read_text() == "one"


def test_paths_that_lead_out_of_an_artifact_are_refused(offline: Offline, tmp_path: Path) -> None:
    place = offline.root.parent / "staged"
    place.write_bytes(b"x")
    run_id = by_hand(offline.root, a_run(), an_artifact({"../../out": place}), an_exit())
    store = WandbOfflineStore(offline.root)
    run = store.get_run(run_id)
    with pytest.raises(UntrustedInput):
        store.fetch_model(run_id, run.models[0], tmp_path / "deep" / "model")
    assert not (tmp_path / "out").exists()


# -- damaged and hostile folders ------------------------------------------------------------------------------------
def test_a_hole_in_the_log_of_a_finished_run_is_said_wherever_bytes_are_asked_for(
    offline: Offline, store: WandbOfflineStore, tmp_path: Path
) -> None:
    log = offline.log("good")
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 1
    log.write_bytes(content)
    run = store.get_run(offline.run("good"))
    assert run.ref.status is RunStatus.FINISHED
    calls: list[Callable[[], object]] = [
        lambda: store.list_files(run.ref.run_id),
        lambda: store.fetch_file(run.ref.run_id, "output.log", tmp_path / "x"),
        lambda: store.fetch_model(run.ref.run_id, run.models[0], tmp_path / "m"),
    ]
    for call in calls:
        with pytest.raises(UntrustedInput, match="damaged at byte"):
            call()


def test_a_torn_run_gives_what_was_logged_before_the_tear(
    offline: Offline, store: WandbOfflineStore, clock: Clock, tmp_path: Path
) -> None:
    log = offline.log("good")
    log.write_bytes(log.read_bytes()[:-5])
    assert store.get_run(offline.run("good")).ref.status is RunStatus.RUNNING
    clock.ahead = QUIET + 60
    run = store.get_run(offline.run("good"))
    assert run.ref.status is RunStatus.FAILED
    assert the_model(run, tmp_path / "model", store).keys() == {"model.joblib"}


def test_a_killed_run_that_never_flushed_is_there_and_knows_nothing(
    offline: Offline, store: WandbOfflineStore, clock: Clock
) -> None:
    run_id = by_hand(offline.root)
    clock.ahead = QUIET + 60
    run = store.get_run(run_id)
    assert (run.ref.status, run.experiment, run.name) == (RunStatus.FAILED, "uncategorized", run_id)
    assert store.list_files(run_id) == []


@pytest.mark.parametrize("what", ["pipe", "link", "folder", "folder-link", "nothing", "newline", "no-log"])
def test_what_is_no_run_is_passed_over(offline: Offline, store: WandbOfflineStore, tmp_path: Path, what: str) -> None:
    before = {ref.run_id for ref in store.scan()}
    name = "offline-run-20260101_000000-x\n" if what == "newline" else "offline-run-20260101_000000-x"
    folder = offline.root / name
    log = folder / "run-x.wandb"
    if what == "folder-link":
        folder.symlink_to(offline.folder("good"))
    else:
        folder.mkdir()
        match what:
            case "pipe":
                os.mkfifo(log)
            case "link":
                log.symlink_to(offline.log("good"))
            case "folder":
                log.mkdir()
            case "newline":
                log.write_bytes(framed([a_run(), an_exit()]))
            case "no-log":
                (folder / "files").mkdir()
    assert {ref.run_id for ref in store.scan()} == before
    assert store.look(name) is None
    with pytest.raises(RunGone):
        store.get_run(name)
    assert store.version() == store.version()


@pytest.mark.parametrize(
    "run_id", ["", "..", "/etc", "offline-run-/../..", "offline-run-x/../../y", "latest-run", "good", "a" * 64]
)
def test_an_id_is_a_name_and_never_a_path(store: WandbOfflineStore, tmp_path: Path, run_id: str) -> None:
    assert store.look(run_id) is None
    with pytest.raises(RunGone):
        store.put_files(run_id, {"x": b""})
    with pytest.raises(RunGone):
        store.fetch_file(run_id, "output.log", tmp_path / "x")


def test_a_very_long_id_is_cut_and_still_found(offline: Offline, store: WandbOfflineStore) -> None:
    by_hand(offline.root, a_run(), an_exit(), name="n" * 128)
    ref = next(r for r in store.scan() if "nnnn" in r.run_id)
    assert len(ref.run_id) == 64
    assert store.look(ref.run_id) == ref


def test_of_several_logs_the_one_that_is_called_like_the_folder_is_read(
    offline: Offline, store: WandbOfflineStore
) -> None:
    (offline.folder("good") / "run-zzz.wandb").write_bytes(framed([a_run("forged"), an_exit()]))
    assert store.get_run(offline.run("good")).experiment == "credit"


def test_links_that_wandb_save_makes_are_listed_and_not_followed(
    offline: Offline, store: WandbOfflineStore, tmp_path: Path
) -> None:
    run_id = offline.run("good")
    assert (offline.folder("good") / "files" / "saved.csv").is_symlink()
    assert next(f for f in store.list_files(run_id) if f.path == "saved.csv").size is None
    with pytest.raises(UntrustedInput, match="is a link") as error:
        store.fetch_file(run_id, "saved.csv", tmp_path / "x")
    assert "log_artifact" in error.value.remedy


@pytest.mark.parametrize("path", ["/etc/passwd", "../run-good.wandb", "a/../../b", "a\x00b", ""])
def test_paths_out_of_the_run_are_refused(
    offline: Offline, store: WandbOfflineStore, tmp_path: Path, path: str
) -> None:
    run_id = offline.run("good")
    calls: list[Callable[[], object]] = [
        lambda: store.fetch_file(run_id, path, tmp_path / "x"),
        lambda: store.put_files(run_id, {path: b"x"}),
        lambda: store.read_file(run_id, path),
    ]
    for call in calls:
        with pytest.raises(UntrustedInput):
            call()


def test_nothing_is_written_through_a_link(offline: Offline, store: WandbOfflineStore, tmp_path: Path) -> None:
    run_id, outside = offline.run("bad"), tmp_path / "outside"
    outside.mkdir()
    files = offline.folder("bad") / "files"
    shutil.rmtree(files)
    files.symlink_to(outside)
    with pytest.raises(UntrustedInput, match="link"):
        store.put_files(run_id, {"venturalitica/x": b"x"})
    with pytest.raises(UntrustedInput, match="link"):
        store.set_tags(run_id, {"venturalitica.status": "pass"})
    with pytest.raises(UntrustedInput, match="link"):
        store.list_files(run_id)
    assert list(outside.iterdir()) == []


# -- names of artifacts ---------------------------------------------------------------------------------------------
def fetched(store: WandbOfflineStore, run_id: str, reference: str, folder: Path) -> bytes:
    (file,) = store.resolve(reference)
    folder.mkdir(exist_ok=True)
    place = folder / str(len(list(folder.iterdir())))
    store.fetch_file(run_id, file.path, place)
    return place.read_bytes()


def test_a_name_means_the_newest_artifact_in_the_folder_for_any_run(
    offline: Offline, store: WandbOfflineStore, tmp_path: Path
) -> None:
    run_id = offline.run("bad")
    test = (trained_beside() / "test.csv").read_bytes()
    assert fetched(store, run_id, "evalset:latest/test.csv", tmp_path / "f") == test
    assert fetched(store, run_id, "loan-model:best", tmp_path / "f") == (
        (trained_beside() / "model.joblib").read_bytes()
    )
    path = store.resolve("evalset:latest/test.csv")[0].path
    version = path.partition("/")[0]
    assert fetched(store, run_id, f"credit/{version}/test.csv", tmp_path / "f") == test
    again = WandbOfflineStore(offline.root, roots=[trained_beside()])  # after a restart
    again.fetch_file(run_id, path, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == test
    newer = offline.root.parent / "newer.csv"
    newer.write_text("a\n2\n")
    by_hand(
        offline.root,
        a_run(start_time={"seconds": int(time.time()) + 60}),
        an_artifact({"test.csv": newer}, "evalset", "dataset"),
        an_exit(),
    )
    assert fetched(store, run_id, "evalset:latest", tmp_path / "f") == b"a\n2\n"
    assert fetched(store, run_id, f"{version}/test.csv", tmp_path / "f") == test


def test_a_name_in_several_projects_must_say_which(offline: Offline, store: WandbOfflineStore, tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match=r"several projects.*credit, other") as error:
        store.resolve("moreset:latest")
    assert "<project>/moreset:latest" in error.value.remedy
    run_id = offline.run("twice", 0)
    assert fetched(store, run_id, "credit/moreset:latest", tmp_path / "f") == b"a\n7\n"
    assert fetched(store, run_id, "other/moreset:latest", tmp_path / "f") == b"a\n8\n"


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("evalset:v0", "no version numbers"),
        ("evalset", "not the name"),
        ("nothing:latest", "no run in this folder"),
        ("evalset:prod", "no run in this folder"),
        ("someone/credit/evalset:latest", "no run in this folder"),
    ],
)
def test_names_that_mean_nothing_here_say_why(store: WandbOfflineStore, reference: str, words: str) -> None:
    with pytest.raises(PermanentError, match=words) as error:
        store.resolve(reference)
    assert error.value.remedy


def test_latest_is_not_said_behind_a_damaged_newer_run(offline: Offline, store: WandbOfflineStore) -> None:
    run_id = by_hand(
        offline.root, a_run(start_time={"seconds": int(time.time()) + 60}), a_run(display_name="x" * 99), an_exit()
    )
    log = next((offline.root / run_id).glob("*.wandb"))
    content = bytearray(log.read_bytes())
    content[100] ^= 1
    log.write_bytes(content)
    with pytest.raises(UntrustedInput, match="can't be said"):
        store.resolve("evalset:latest")


# -- writing --------------------------------------------------------------------------------------------------------
def test_a_verdict_is_published_beside_the_run_and_changes_nothing_of_wandbs(
    offline: Offline, store: WandbOfflineStore
) -> None:
    before = log_bytes(offline)
    run = store.get_run(offline.run("good"))
    made = decision(policy(), Status.PASS, run_id=run.ref.run_id, store=store.id)
    tags = publish(store, run, [(made, build_bundle(made, policy()))])
    files = offline.folder("good") / "files"
    assert json.loads((files / "venturalitica" / "status.json").read_text()) == dict(tags)
    assert (files / "policy_snapshot" / "credit.yaml").read_bytes() == policy().content
    assert (files / tags["venturalitica.evidence"]).is_file()
    assert store.get_tags(run.ref.run_id) == {**run.tags, **tags}
    assert log_bytes(offline) == before
    assert store.look(run.ref.run_id) == run.ref
    assert [p for p in files.rglob("*") if p.name.startswith(".venturalitica.")] == []


def test_only_our_file_says_what_the_verdict_is(offline: Offline, store: WandbOfflineStore) -> None:
    """Training code tagged its run `venturalitica.status:pass`."""
    run_id = offline.run("good")
    assert "venturalitica.status" not in store.get_tags(run_id)
    store.set_tags(run_id, {"venturalitica.status": "fail", "venturalitica.old": "x"})
    store.set_tags(run_id, {"venturalitica.status": "error"}, remove=["venturalitica.old"])
    ours = {k: v for k, v in store.get_tags(run_id).items() if k.startswith("venturalitica.")}
    assert ours == {"venturalitica.status": "error"}


@pytest.mark.parametrize(
    "content",
    [b"", b"[1]", b"{", b'{"venturalitica.status": 1}', b"\xff\xfe", b"[" * 100_000],
    ids=["empty", "list", "cut", "number", "bytes", "deep"],
)
def test_a_broken_status_file_counts_as_none_and_is_replaced(
    offline: Offline, store: WandbOfflineStore, content: bytes
) -> None:
    run_id = offline.run("bad")
    place = offline.folder("bad") / "files" / "venturalitica" / "status.json"
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    assert store.get_tags(run_id) == {}
    store.set_tags(run_id, {"venturalitica.status": "pass"})
    assert store.get_tags(run_id) == {"venturalitica.status": "pass"}


def test_a_link_in_place_of_the_status_is_replaced_and_its_target_untouched(
    offline: Offline, store: WandbOfflineStore, tmp_path: Path
) -> None:
    target = tmp_path / "target.json"
    target.write_text('{"venturalitica.status": "pass"}')
    place = offline.folder("bad") / "files" / "venturalitica" / "status.json"
    place.parent.mkdir(parents=True)
    place.symlink_to(target)
    assert store.get_tags(offline.run("bad")) == {}
    store.set_tags(offline.run("bad"), {"venturalitica.status": "fail"})
    assert not place.is_symlink()
    assert "pass" in target.read_text()


# -- after `wandb sync` ---------------------------------------------------------------------------------------------
def test_a_synced_run_is_due_again_under_its_name_on_the_server_and_keeps_its_bytes(
    offline: Offline, store: WandbOfflineStore, tmp_path: Path
) -> None:
    run_id = offline.run("good")
    store.put_files(run_id, {"venturalitica/x/evidence.json": b"{}"})
    before, version, log = store.look(run_id), store.version(), offline.log("good").read_bytes()
    assert store.synced(run_id) is None
    with WandbServer(tmp_path / "server") as server:
        env = os.environ | training_env(server, tmp_path / "home")
        command = [str(Path(sys.executable).with_name("wandb")), "sync", str(offline.folder("good"))]
        done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        synced = store.synced(run_id)
        assert synced == ("", "credit", "good")
        there = server.run(server.entity, *synced[1:])
        assert there.state == "finished"
    after = store.look(run_id)
    assert before is not None
    assert after is not None
    assert store.version() != version
    assert (before.inputs, after.inputs) == ("", "synced")
    assert before.revision != after.revision
    assert offline.log("good").read_bytes() == log
    assert "venturalitica/x/evidence.json" not in there.stored_files  # W&B sends what the run logged, and no more
    assert "output.log" in there.stored_files or "requirements.txt" in there.stored_files
    run = store.get_run(run_id)
    assert the_model(run, tmp_path / "model", store).keys() == {"model.joblib"}
