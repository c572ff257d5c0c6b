"""`vl.monitor` records a block of code as it was, changes nothing of it, and keeps hashes instead of data."""

from __future__ import annotations

import json
import os
import random
import subprocess
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

import venturalitica as vl
from venturalitica.environment import commit, environment, seeds
from venturalitica.monitoring import fingerprint
from venturalitica_agent.fetch.declaration import parse_declaration
from venturalitica_agent.stores.folder import RunFolderStore

POLICY = """
policy: p
version: "1"
controls:
  - {id: a, article: "15(1)", metric: accuracy, require: ">= 0.5"}
"""
FRAME = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0], "sex": ["f", "m", "f", "m"], "y": [0, 0, 1, 1]})


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolderStore:
    """Where the runs of this test go, with nothing audited."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VENTURALITICA_AUDIT", "off")
    (tmp_path / "model_policy.yaml").write_text(POLICY)
    return RunFolderStore(tmp_path / ".venturalitica" / "runs")


def the_record(store: RunFolderStore) -> tuple[str, dict[str, Any]]:
    (ref,) = store.scan()
    return ref.run_id, json.loads(store.read_file(ref.run_id, "venturalitica/monitor.json"))


def test_the_record_tells_what_came_in_what_went_out_and_what_on(store: RunFolderStore, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(b"a,b\n1,2\n")
    with vl.monitor("the name") as watch:
        watch.input("rows", "rows.csv")
        (tmp_path / "out.bin").write_bytes(b"model")
        watch.output("model", Path("out.bin"))
        watch.input("odd", object())
    run_id, record = the_record(store)
    assert (record["name"], record["status"], record["error"]) == ("the name", "finished", None)
    assert record["inputs"]["rows"]["sha256"] == sha256(b"a,b\n1,2\n").hexdigest()
    assert record["outputs"]["model"] == {
        "kind": "file", "name": "out.bin", "bytes": 5, "sha256": sha256(b"model").hexdigest()
    }  # fmt: skip
    assert "can't be hashed" in record["problems"][0]
    assert record["environment"]["packages"]["numpy"] == np.__version__
    assert 0 <= record["seconds"] < 60
    assert record["peak_memory_bytes"]["after"]["process"] > 1 << 20
    assert str(tmp_path) not in json.dumps(record)
    assert store.read_file(run_id, "policy_snapshot/model_policy.yaml") == POLICY.encode()
    assert store.get_run(run_id).name == "the name"
    assert not [f for f in store.list_files(run_id) if f.path.endswith("declaration.json")]


def test_an_exception_passes_through_and_is_recorded_without_its_words(store: RunFolderStore) -> None:
    with pytest.raises(ZeroDivisionError), vl.monitor("fails"):
        raise ZeroDivisionError("customer 4711")
    run_id, record = the_record(store)
    assert (record["status"], record["error"]) == ("failed", "builtins.ZeroDivisionError")
    assert "4711" not in json.dumps(record)
    assert store.get_run(run_id).ref.status == "FAILED"


def test_what_the_block_declares_is_a_declaration_that_the_agent_takes(store: RunFolderStore) -> None:
    model = LogisticRegression().fit(FRAME[["x"]], FRAME["y"])
    with vl.monitor("declares") as watch:
        watch.audit_data(FRAME, gender={"column": "sex", "groups": {"men": ["m"], "women": ["f"]}}, target="y")
        watch.model(model)
    run_id, _ = the_record(store)
    found = parse_declaration(store.read_file(run_id, "venturalitica/declaration.json"))
    assert found.data == {"evaluation": "venturalitica_data/audit.parquet"}
    assert found.columns["gender"].groups == {"men": ("m",), "women": ("f",)}
    assert found.model is not None
    assert found.error is None
    (logged,) = store.get_run(run_id).models
    assert logged.path == found.model.path
    assert found.policy is not None
    assert found.policy[3] == sha256(POLICY.encode()).hexdigest()


@pytest.mark.parametrize("what", ["policy", "data", "role", "model"])
def test_governance_that_fails_is_declared_and_never_raised(store: RunFolderStore, tmp_path: Path, what: str) -> None:
    if what == "policy":
        (tmp_path / "model_policy.yaml").write_text("policy: [")
    with vl.monitor("x") as watch:
        if what == "data":
            watch.audit_data(object())  # type: ignore[arg-type]
        if what == "role":
            watch.audit_data(FRAME, gender=7)
        if what == "model":
            watch.model(tmp_path / "none.pkl")
    run_id, record = the_record(store)
    assert record["status"] == "finished"
    assert parse_declaration(store.read_file(run_id, "venturalitica/declaration.json")).error is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (FRAME, FRAME.assign(x=[0.0, 1.0, 2.0, 4.0])),
        (FRAME, FRAME.rename(columns={"x": "z"})),
        (FRAME, FRAME.astype({"y": "int32"})),
        (FRAME, FRAME.iloc[::-1]),
        (FRAME["x"], FRAME["y"]),
        (np.zeros(4), np.zeros((2, 2))),
        (np.zeros(4), np.zeros(4, dtype="float32")),
        (b"a", b"b"),
    ],
)
def test_what_differs_has_another_fingerprint_and_what_is_equal_the_same(one: Any, other: Any) -> None:
    assert fingerprint(one) != fingerprint(other)
    again = one.copy() if hasattr(one, "copy") else bytes(one)
    assert fingerprint(one) == fingerprint(again)


def test_a_folder_is_what_sha256sum_says_of_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "b").write_bytes(b"1")
    (folder / "deep" / "a").write_bytes(b"22")
    listed = subprocess.run(["sha256sum", "b", "deep/a"], cwd=folder, capture_output=True, check=True).stdout
    assert fingerprint(folder) == {
        "kind": "folder", "name": "model", "files": 2, "bytes": 3, "sha256": sha256(listed).hexdigest()
    }  # fmt: skip


def test_an_array_of_objects_is_no_identity() -> None:
    with pytest.raises(TypeError, match="objects"):
        fingerprint(np.array([object()]))


def test_seeds_tell_equal_generators_and_do_not_disturb_them() -> None:
    random.seed(7)
    np.random.seed(7)
    first, again = seeds(), seeds()
    assert first == again
    drawn = random.random(), np.random.random()
    random.seed(7)
    np.random.seed(7)
    assert seeds() == first
    assert (random.random(), np.random.random()) == drawn
    assert seeds() != first


def test_the_commit_is_the_one_that_is_checked_out_and_dirt_is_seen(tmp_path: Path) -> None:
    assert commit(tmp_path) == {}

    def git(*words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b.invalid"]
        return subprocess.run(
            ["git", *who, *words],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            check=True,
            text=True,
        ).stdout

    git("init", "-q")
    (tmp_path / "train.py").write_text("1")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    (tmp_path / "untracked").write_text("")
    assert commit(tmp_path) == {"commit": git("rev-parse", "HEAD").strip(), "dirty": False}
    (tmp_path / "train.py").write_text("2")
    assert commit(tmp_path)["dirty"] is True


def test_the_environment_is_json_without_what_is_private(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hunter2-hunter2")
    said = json.dumps(environment())
    assert "hunter2" not in said
    assert str(Path.home()) not in said
