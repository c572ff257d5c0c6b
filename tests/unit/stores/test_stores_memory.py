"""The twin keeps the promises of the real stores, so that what is tested with it is true of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from venturalitica_agent.domain.run import LoggedModel
from venturalitica_agent.errors import PermanentError, RunGone, StoreUnavailable, UntrustedInput
from venturalitica_agent.stores.base import PolledStore
from venturalitica_agent.stores.memory import MemoryStore, finished


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    store.add(
        finished("r", models=(LoggedModel("m", "", model_id="m-1"),)), {"a.txt": b"a"}, {"m-1": {"MLmodel": b"x"}}
    )
    return store


def test_every_way_to_find_a_run_gives_the_same_reference(store: MemoryStore) -> None:
    twin: PolledStore = store
    refs = {next(twin.scan()), twin.look("r"), twin.get_run("r").ref, next(twin.recent(0))}
    assert len(refs) == 1
    assert twin.look("none") is None


def test_our_writes_change_the_version_and_no_revision(store: MemoryStore) -> None:
    before, version = store.look("r"), store.version()
    store.put_files("r", {"venturalitica/x": b"x"})
    store.set_tags("r", {"venturalitica.status": "pass", "venturalitica.old": "x"})
    store.set_tags("r", {}, remove=["venturalitica.old", "never-set"])
    store.tag_models("r", store.get_run("r").models, {"venturalitica.status": "pass"})
    assert store.look("r") == before
    assert store.version() != version
    assert store.get_tags("r") == {"venturalitica.status": "pass"}
    assert store.read_file("r", "venturalitica/x") == b"x"
    assert store.model_tags == {"m-1": {"venturalitica.status": "pass"}}


def test_refusals_are_those_of_the_real_stores(store: MemoryStore, tmp_path: Path) -> None:
    with pytest.raises(UntrustedInput):
        store.put_files("r", {"../x": b"x"})
    with pytest.raises(UntrustedInput):
        store.fetch_file("r", "/etc/passwd", tmp_path / "x")
    with pytest.raises(PermanentError):
        store.read_file("r", "none")
    store.change("r", deleted=True)
    ref = store.look("r")
    assert ref is not None
    assert ref.deleted
    with pytest.raises(RunGone):
        store.get_run("r")
    with pytest.raises(RunGone):
        store.set_tags("r", {"a": "b"})
    store.down = True
    for ask in (store.ping, store.version, store.experiments, lambda: store.look("r"), lambda: list(store.scan())):
        with pytest.raises(StoreUnavailable):
            ask()


def test_models_and_files_are_copied(store: MemoryStore, tmp_path: Path) -> None:
    store.fetch_model("r", store.get_run("r").models[0], tmp_path / "model")
    store.fetch_file("r", "a.txt", tmp_path / "deep" / "a.txt")
    assert (tmp_path / "model" / "MLmodel").read_bytes() == b"x"
    assert (tmp_path / "deep" / "a.txt").read_bytes() == b"a"


def test_artifacts_of_wandb_are_found_by_version_and_by_their_newest(store: MemoryStore, tmp_path: Path) -> None:
    """Whichever run logged them, as paths that can be fetched for any run."""
    files = {"evalset:v9/test.csv": b"9", "evalset:v10/test.csv": b"10", "evalset2:v11/test.csv": b"11", "a:b": b""}
    store.add(finished("other"), files)
    assert [f.path for f in store.resolve("evalset:latest")] == ["evalset:v10/test.csv"]
    assert [f.path for f in store.resolve("evalset:v9")] == ["evalset:v9/test.csv"]
    store.fetch_file("r", "evalset:v9/test.csv", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"9"
    for reference in ("evalset:v1", "none:latest", "evalset"):
        with pytest.raises(PermanentError, match="no such artifact"):
            store.resolve(reference)
