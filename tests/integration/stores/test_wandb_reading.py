"""Reading runs and artifacts of a W&B project that isn't trusted: every byte is the one that was logged, or none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from support.odd_server import odd_server
from support.wandb_world import Lab, b64, manifest_digest
from wandb_server.artifacts import Artifact

from venturalitica_agent.domain.run import LoggedModel
from venturalitica_agent.errors import PermanentError, StoreUnavailable, UntrustedInput
from venturalitica_agent.fetch.models import choose_model
from venturalitica_agent.stores import wandb_artifacts, wandb_files

CSV = b"age,approved\n31,1\n52,0\n"
STORED = r"/storage/.*test\.csv"


def fetched(lab: Lab, tmp_path: Path, path: str = "evalset:v0/test.csv", run: str = "r") -> bytes:
    lab.store().fetch_file(run, path, tmp_path / "fetched")
    return (tmp_path / "fetched").read_bytes()


@pytest.mark.parametrize("kind", ["md5", "xxh128"])
def test_bytes_that_were_damaged_once_are_fetched_again(lab: Lab, tmp_path: Path, kind: str) -> None:
    lab.artifact(lab.run("r"), "evalset", {"test.csv": CSV}, kind=kind)
    for fault in (lab.server.faults.corrupt, lambda **on: lab.server.faults.truncate(honest=True, **on)):
        with fault(on=STORED, times=2) as damaged:
            assert fetched(lab, tmp_path) == CSV
            assert damaged.hits == 2


def test_bytes_that_are_always_damaged_are_refused(lab: Lab, tmp_path: Path) -> None:
    lab.artifact(lab.run("r"), "evalset", {"test.csv": CSV})
    with lab.server.faults.corrupt(on=STORED), pytest.raises(UntrustedInput, match="other bytes"):
        fetched(lab, tmp_path)
    with (
        lab.server.faults.truncate(honest=True, on=STORED),
        pytest.raises(UntrustedInput, match="11 bytes instead of 23"),
    ):
        fetched(lab, tmp_path)
    with lab.server.faults.truncate(on=STORED), pytest.raises(StoreUnavailable, match="broke off"):
        fetched(lab, tmp_path)
    model = lab.store().get_run(_with_model(lab).name).models[0]
    with lab.server.faults.corrupt(on="/storage/.*model.joblib"), pytest.raises(UntrustedInput):
        lab.store().fetch_model("m", model, tmp_path / "model")


def _with_model(lab: Lab) -> object:
    run = lab.run("m")
    lab.artifact(run, "loan", {"model.joblib": b"weights", "extra/requirements.txt": b"x==1\n"}, type="model")
    return run


def test_a_manifest_that_is_not_the_digests_is_refused(lab: Lab) -> None:
    other = {"test.csv": {"digest": b64("md5", b"forged"), "size": 6}}
    forged = json.dumps({"version": 1, "contents": other}).encode()
    lab.artifact(lab.run("r"), "evalset", {"test.csv": CSV}, manifest=forged)
    with pytest.raises(UntrustedInput, match="not the one that its digest names"):
        lab.store().get_run("r")
    lab.artifact(lab.run("s"), "cut", {"test.csv": CSV}, manifest=b'{"contents"')
    with pytest.raises(UntrustedInput, match="can't be read"):
        lab.store().get_run("s")


def test_a_manifest_that_was_damaged_once_is_read_again(lab: Lab) -> None:
    lab.artifact(lab.run("r"), "evalset", {"test.csv": CSV})
    with lab.server.faults.corrupt(on="/storage/.*manifest", times=1):
        assert [d.name for d in lab.store().get_run("r").datasets] == ["evalset"]


@pytest.mark.parametrize("path", ["../../x", "/etc/x", "a\\..\\b", "a\nb"])
def test_an_artifact_with_hostile_paths_is_refused(lab: Lab, path: str) -> None:
    lab.artifact(lab.run("r"), "evalset", {path: CSV, "test.csv": CSV})
    with pytest.raises(UntrustedInput):
        lab.store().get_run("r")


@pytest.mark.parametrize("target", ["s3://bucket/test.csv", "file:///etc/passwd", "http"])
def test_references_are_never_followed(lab: Lab, tmp_path: Path, target: str) -> None:
    with odd_server() as elsewhere:
        lab.artifact(
            lab.run("r"), "evalset", {}, references={"test.csv": f"{elsewhere.url}/x" if target == "http" else target}
        )
        store = lab.store()
        assert [d.name for d in store.get_run("r").datasets] == ["evalset"]
        with pytest.raises(UntrustedInput, match="reference") as refused:
            store.fetch_file("r", "evalset:v0/test.csv", tmp_path / "x")
        assert "add_file" in refused.value.remedy
        assert elsewhere.seen == []


def test_only_models_and_datasets_are_taken(lab: Lab) -> None:
    run = lab.run("r")
    for type in ("wandb-history", "run_table", "code", "job", "venturalitica-evidence"):
        lab.artifact(run, f"x-{type}", {"test.csv": CSV, "0000.parquet": b"x"}, type=type)
    lab.server.reset_log()
    store = lab.store()
    found = store.get_run("r")
    assert (found.datasets, found.models, store.list_files("r")) == ((), (), [])
    assert [s.name for s in lab.server.requests] == ["Run", "RunFiles"]


def test_more_artifacts_than_a_page_holds_are_all_seen(lab: Lab) -> None:
    run = lab.run("r")
    for n in range(120):
        lab.artifact(run, f"d{n}", {"test.csv": f"{n}".encode()})
    run.used.extend(lab.artifact(None, f"u{n}", {"test.csv": f"u{n}".encode()}) for n in range(60))
    lab.server.faults.hide_pages(on="MoreArtifacts", times=1)
    store = lab.store()
    assert {d.name for d in store.get_run("r").datasets} == {f"d{n}" for n in range(120)} | {f"u{n}" for n in range(60)}
    assert len(store.list_files("r")) == 180


def test_an_artifact_that_is_logged_and_used_is_one(lab: Lab) -> None:
    run = lab.run("r")
    run.used.append(lab.artifact(run, "evalset", {"test.csv": CSV}))
    store = lab.store()
    assert [d.name for d in store.get_run("r").datasets] == ["evalset"]
    assert [f.path for f in store.list_files("r")] == ["evalset:v0/test.csv"]


def test_files_of_an_artifact_of_another_project_are_reached(lab: Lab, tmp_path: Path) -> None:
    other = Lab.on(lab.server)
    there = other.artifact(None, "shared", {"a/test.csv": CSV, "a/train.csv": b"x\n1\n"})
    lab.run("r").used.append(there)
    store = lab.store()
    names = {d.name: d.source for d in store.get_run("r").datasets}
    path = f"acme/{other.project}/shared:v0/a/test.csv"
    assert json.loads(names["shared/a/test.csv"])["uri"] == f"wandb-run://acme/{lab.project}/r/{path}"
    assert path in [f.path for f in store.list_files("r")]
    assert fetched(lab, tmp_path, path) == CSV  # also by a process that has not read the run


def test_the_bytes_are_those_of_the_version_that_was_meant(lab: Lab, tmp_path: Path) -> None:
    run = lab.run("r")
    first = lab.artifact(run, "evalset", {"test.csv": b"first"})
    lab.artifact(run, "evalset", {"test.csv": b"second"})
    first.artifact_sequence.by_alias["best"] = first
    store = lab.store()
    assert [f.path for f in store.resolve("evalset:best")] == ["evalset:v0/test.csv"]
    assert [f.path for f in store.resolve("evalset:latest")] == ["evalset:v1/test.csv"]
    assert [fetched(lab, tmp_path, f"evalset:v{n}/test.csv") for n in (0, 1)] == [b"first", b"second"]


def test_resolve_takes_every_spelling(lab: Lab) -> None:
    lab.artifact(None, "evalset", {"test.csv": CSV, "sub/test.csv": CSV, "sub/x y.csv": CSV})
    store = lab.store()
    whole = ["evalset:v0/sub/test.csv", "evalset:v0/sub/x y.csv", "evalset:v0/test.csv"]
    for spelling in ("evalset:latest", "evalset:v0", f"{lab.project}/evalset:v0", f"acme/{lab.project}/evalset:latest"):
        assert [f.path for f in store.resolve(spelling)] == whole
        assert [f.path for f in store.resolve(f"{spelling}/test.csv")] == ["evalset:v0/test.csv"]
    assert [f.path for f in store.resolve("evalset:v0/sub/test.csv")] == ["evalset:v0/sub/test.csv"]
    assert store.resolve("evalset:v0/none.csv") == []


@pytest.mark.parametrize(
    "reference",
    [
        "evalset:v9",
        "evalset:nonesuch",
        "none:latest",
        "others/none/evalset:v0",
        "evalset",
        "a:b:c",
        "",
        ":",
        "a/b/c/d:v0",
    ],
)
def test_what_is_not_there_is_said_and_not_tried_again(lab: Lab, reference: str) -> None:
    lab.artifact(None, "evalset", {"test.csv": CSV})
    with pytest.raises(PermanentError) as refused:
        lab.store().resolve(reference)
    assert refused.value.remedy


@pytest.mark.parametrize("path", ["evalset:v0/none.csv", "evalset:v9/test.csv", "none.csv", "evalset:v00/test.csv"])
def test_a_file_that_is_not_there_is_said_and_not_tried_again(lab: Lab, tmp_path: Path, path: str) -> None:
    lab.artifact(lab.run("r"), "evalset", {"test.csv": CSV})
    with pytest.raises(PermanentError):
        fetched(lab, tmp_path, path)


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "a\nb"])
def test_hostile_paths_are_not_asked_for(lab: Lab, tmp_path: Path, path: str) -> None:
    lab.run("r")
    with pytest.raises(UntrustedInput):
        fetched(lab, tmp_path, path)


@pytest.mark.parametrize("location", ["", "x", "loan:latest", "../../loan:v0/x", "s3://bucket/model"])
def test_a_model_is_only_fetched_by_the_name_of_a_version(lab: Lab, tmp_path: Path, location: str) -> None:
    lab.run("r")
    with pytest.raises(PermanentError):
        lab.store().fetch_model("r", LoggedModel("loan", location), tmp_path)


def test_a_model_comes_with_all_its_files(lab: Lab, tmp_path: Path) -> None:
    _with_model(lab)
    store = lab.store()
    (model,) = store.get_run("m").models
    lab.store().fetch_model("m", model, tmp_path / "model")  # by a process that has not read the run
    found = {
        str(p.relative_to(tmp_path / "model")): p.read_bytes() for p in (tmp_path / "model").rglob("*") if p.is_file()
    }
    assert found == {"model.joblib": b"weights", "extra/requirements.txt": b"x==1\n"}
    assert (model.name, model.location) == ("loan:v0", f"acme/{lab.project}/loan:v0")


def test_the_last_model_is_the_last_that_was_made_in_whatever_order_they_are_listed(lab: Lab) -> None:
    run = lab.run("r")
    for n in range(12):
        lab.artifact(run, "loan", {"model.joblib": f"{n}".encode()}, type="model")
    run.logged.reverse()
    assert choose_model(lab.store().get_run("r")).name == "loan:v11"


def test_a_used_model_counts_where_none_was_logged(lab: Lab) -> None:
    used = lab.artifact(None, "base", {"model.joblib": b"x"}, type="model")
    run = lab.run("r", used=[used])
    assert [m.name for m in lab.store().get_run("r").models] == ["base:v0"]
    lab.artifact(run, "tuned", {"model.joblib": b"y"}, type="model")
    assert [m.name for m in lab.store().get_run("r").models] == ["tuned:v0"]


def test_what_was_deleted_or_never_completed_is_no_data_and_no_model(lab: Lab) -> None:
    def deleted(artifact: Artifact) -> Artifact:
        artifact.state = "DELETED"
        artifact.manifests.clear()
        return artifact

    model = deleted(lab.artifact(None, "base", {"model.joblib": b"x"}, type="model"))
    lab.run("r", used=[model, deleted(lab.artifact(None, "evalset", {"test.csv": CSV}))])
    run = lab.store().get_run("r")
    assert run.datasets == ()
    assert [(m.name, m.ready) for m in run.models] == [("base:v0", False)]


@pytest.mark.parametrize("name", ["credit (v2)", "größe", "a+b, c", "x@y"])
def test_unusual_names_of_artifacts_work(lab: Lab, tmp_path: Path, name: str) -> None:
    lab.artifact(lab.run("r"), name, {"test.csv": CSV})
    assert [d.name for d in lab.store().get_run("r").datasets] == [name]
    assert fetched(lab, tmp_path, f"{name}:v0/test.csv") == CSV


def test_an_artifact_with_a_hostile_name_hides_no_other(lab: Lab) -> None:
    run = lab.run("r")
    lab.artifact(run, "../../x", {"test.csv": CSV})
    lab.artifact(run, "evalset", {"test.csv": CSV})
    with capture_logs() as said:
        assert [d.name for d in lab.store().get_run("r").datasets] == ["evalset"]
    assert [entry["event"] for entry in said] == ["artifact.refused"]


# -- files of the run itself -----------------------------------------------------------------------------------------
def put(lab: Lab, name: str, content: bytes) -> None:
    run = lab.server.run("acme", lab.project, "r")
    run.stored_files[name] = lab.server.world.new_file(name, f"/files/x/{name}")
    run.stored_files[name].receive(content, lab.server.world.now())


def test_tables_of_a_run_are_listed_and_read_checked(lab: Lab, tmp_path: Path) -> None:
    lab.run("r")
    for name in (
        "media/table/p_0_ab.table.json",
        "media/images/x.png",
        "x.table.json",
        "back\\slash.csv",
        "a\u200db.csv",
    ):
        put(lab, name, b"{}")
    whole = {"_type": "table-file", "path": "media/table/p_0_ab.table.json", "nrows": 0}
    summary = {"p": whole, "q": {**whole, "path": "../../x.table.json"}, "r": {"_type": "image-file", "path": "x"}}
    summary["pieces"] = {**whole, "path": "media/table/pieces_9.table.json", "log_mode": "INCREMENTAL"}
    lab.server.run("acme", lab.project, "r").summary_metrics = summary
    store = lab.store()
    assert store.get_run("r").tables == ("media/table/p_0_ab.table.json",)
    assert [f.path for f in store.list_files("r")] == [
        "media/images/x.png",
        "media/table/p_0_ab.table.json",
        "x.table.json",
    ]
    with lab.server.faults.corrupt(on="/storage/.*x.table.json", times=1):
        assert fetched(lab, tmp_path, "x.table.json") == b"{}"
    with lab.server.faults.corrupt(on="/storage/.*x.table.json"), pytest.raises(UntrustedInput):
        fetched(lab, tmp_path, "x.table.json")


def test_more_files_than_a_page_holds_are_all_listed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.run("r")
    for n in range(450):
        put(lab, f"f{n:03}", b"x")
    put(lab, "empty", b"")
    assert [f.path for f in lab.store().list_files("r")] == [f"f{n:03}" for n in range(450)]
    monkeypatch.setattr(wandb_files, "_MOST_FILES", 100)
    assert len(lab.store().list_files("r")) == 100


# -- sizes -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("limit", "value", "read"),
    [
        ("_MOST_FILES", 2, lambda store, _: store.get_run("r")),
        ("_MOST_MANIFEST", 100, lambda store, _: store.get_run("r")),
        ("MAX_FILE", 30, lambda store, to: store.fetch_model("r", store.get_run("r").models[0], to)),
    ],
)
def test_nothing_grows_without_a_limit(
    lab: Lab, limit: str, value: int, read: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = lab.run("r")
    lab.artifact(run, "evalset", {f"{n}.csv": CSV for n in range(3)})
    lab.artifact(run, "loan", {"a.bin": CSV, "b.bin": CSV}, type="model")
    read(lab.store(), tmp_path / "before")
    monkeypatch.setattr(wandb_artifacts, limit, value)
    with pytest.raises(UntrustedInput, match=r"more than|larger than"):
        read(lab.store(), tmp_path / "after")


def test_two_artifacts_that_claim_one_digest_are_two(lab: Lab) -> None:
    """MD5 can be made to collide: what one artifact holds must not be believed of another."""
    contents = {"test.csv": {"digest": b64("md5", CSV), "size": len(CSV)}}
    run = lab.run("r")
    lab.artifact(run, "evalset", {"test.csv": CSV})
    lab.artifact(run, "forged", {"test.csv": b"other"}, digest=manifest_digest("md5", contents))
    store = lab.store()
    with pytest.raises(UntrustedInput):
        store.get_run("r")
