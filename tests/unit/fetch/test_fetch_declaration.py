"""What the training code says of its run is taken as data: understood whole or refused, and never beyond the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from venturalitica_agent.domain.needs import Needs
from venturalitica_agent.domain.policy import Policy
from venturalitica_agent.domain.run import LoggedModel
from venturalitica_agent.domain.subject import ColumnBinding, DataPlan, DataRef, Subject
from venturalitica_agent.errors import UntrustedInput
from venturalitica_agent.fetch.cache import Cache
from venturalitica_agent.fetch.declaration import MAX_BYTES, PATH, Declaration, parse_declaration, read_declaration
from venturalitica_agent.fetch.models import choose_model
from venturalitica_agent.fetch.problems import Unfit
from venturalitica_agent.fetch.subject import fetch_subject
from venturalitica_agent.policy.load import parse_policy
from venturalitica_agent.stores.memory import MemoryStore, finished

AUDIT = b"y,sex,pred\n1,f,1\n0,m,0\n1,m,1\n"
OTHER = b"y,gender\n1,f\n0,m\n"
PLAIN: dict[str, Any] = {
    "schema": "venturalitica.declaration/1",
    "by": "wrap",
    "version": "1",
    "policy": {"file": "p.yaml", "id": "p", "version": "1", "digest": "a" * 64},
    "model": None,
    "data": {"evaluation": {"artifact": "venturalitica_data/audit.csv"}},
    "columns": {
        "target": {"column": "y", "positive": 1},
        "gender": {"column": "sex", "groups": {"men": ["m"], "women": ["f"]}},
        "age": {"column": "age", "bins": [25, 60.5]},
    },
    "notes": ["rows that the model was trained on"],
    "error": None,
}
POLICY = b"""
policy: p
version: "1"
controls:
  - {id: impact, article: "10", metric: disparate_impact, role: gender, require: ">= 0.5"}
"""

_MLMODEL = b"""
flavors:
  python_function: {loader_module: mlflow.sklearn, model_path: m.pkl}
  sklearn: {pickled_model: m.pkl, serialization_format: cloudpickle}
"""


def said(**changes: object) -> bytes:
    return json.dumps({**PLAIN, **changes}).encode()


def policy() -> Policy:
    return parse_policy(POLICY, "p.yaml")


def fetched(
    tmp_path: Path,
    content: bytes,
    plan: DataPlan | None = None,
    files: dict[str, bytes] | None = None,
    models: tuple[LoggedModel, ...] = (),
) -> Subject:
    store, cache = MemoryStore(), Cache(tmp_path / "cache")
    there = {PATH: content, "venturalitica_data/audit.csv": AUDIT, "data/other.csv": OTHER, **(files or {})}
    store.add(finished("a" * 32, models=models), there)
    run = store.get_run("a" * 32)
    declaration = read_declaration(store, run, cache)
    needs = Needs.of(policy().controls)
    return fetch_subject(store, run, needs, plan or DataPlan(), cache, roots=(), declaration=declaration)


def test_a_declaration_is_understood_as_it_was_written() -> None:
    found = parse_declaration(said(model={"name": "model", "model_id": "m-1", "path": ""}))
    assert found.policy == ("p.yaml", "p", "1", "a" * 64)
    assert found.data == {"evaluation": "venturalitica_data/audit.csv"}
    assert found.columns["target"] == ColumnBinding("target", "y", "run", positive=1)
    assert found.columns["gender"].groups == {"men": ("m",), "women": ("f",)}
    assert found.columns["age"].bins == (25.0, 60.5)
    assert found.model is not None
    assert (found.model.name, found.model.model_id, found.error) == ("model", "m-1", None)


@pytest.mark.parametrize("value", [True, 1, 1.0, "1"])
def test_the_positive_class_keeps_its_type(value: object) -> None:
    found = parse_declaration(said(columns={"target": {"column": "y", "positive": value}})).columns["target"].positive
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": "venturalitica.declaration/2"},
        {"by": "somebody"},
        {"surprise": 1},
        {"data": {"evaluation": {"file": "/etc/passwd"}}},
        {"data": {"evaluation": {"artifact": "/etc/passwd"}}},
        {"data": {"evaluation": {"artifact": "../other/data.csv"}}},
        {"data": {"evaluation": {"artifact": "venturalitica/p/x/evidence.json"}}},
        {"data": {"evaluation": {"artifact": "a\nb.csv"}}},
        {"data": {"test": {"artifact": "a.csv"}}},
        {"model": {"name": "", "model_id": "", "path": "../../other"}},
        {"columns": {"gender": {"column": "sex", "groups": {"a": ["x"], "b": ["x"]}}}},
        {"columns": {"gender": {"column": "sex", "groups": {"a": ["x"]}, "bins": [1]}}},
        {"columns": {"age": {"column": "age", "bins": [60, 25]}}},
        {"columns": {"age": {"column": "a\x1b[31m"}}},
        {"columns": {"age": {"column": "x" * 201}}},
        {"columns": {"age": "age"}},
        {"policy": {"digest": "A" * 64}},
        {"policy": {"digest": "a" * 64 + "\n"}},
        {"notes": ["line\nline"]},
        {"notes": "text"},
        {"error": "text"},
    ],
)
def test_what_no_companion_writes_is_refused_as_a_whole(changes: dict[str, object]) -> None:
    with pytest.raises(UntrustedInput, match="declaration is refused") as caught:
        parse_declaration(said(**changes))
    assert str(caught.value).isprintable()
    assert caught.value.remedy


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff",
        b"{",
        b'{"a": NaN}',
        b"[" * 50_000,
        said() + b" " * MAX_BYTES,
        b'{"by": "wrap", "by": "wrap"}',
    ],
    ids=["empty", "list", "bytes", "cut", "nan", "deep", "large", "twice"],
)
def test_what_is_no_json_document_of_that_size_is_refused(content: bytes) -> None:
    with pytest.raises(UntrustedInput, match="declaration is refused"):
        parse_declaration(content)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50)
@given(key=st.sampled_from(sorted(PLAIN)), value=_JSON)
def test_whatever_stands_in_a_field_it_is_understood_or_refused(key: str, value: object) -> None:
    content = json.dumps({**PLAIN, key: value}).encode()
    try:
        found = parse_declaration(content)
    except UntrustedInput:
        return
    assert all(not path.startswith(("/", "..", "venturalitica/")) for path in found.data.values())
    assert all(binding.how == "run" for binding in found.columns.values())


def test_a_larger_file_is_not_even_kept(tmp_path: Path) -> None:
    with pytest.raises(UntrustedInput):
        fetched(tmp_path, said() + b" " * MAX_BYTES)


def test_a_run_without_a_declaration_has_none(tmp_path: Path) -> None:
    store = MemoryStore()
    store.add(finished("a" * 32), {"a.txt": b""})
    assert read_declaration(store, store.get_run("a" * 32), Cache(tmp_path)) is None


def test_what_agent_yaml_leaves_open_comes_from_the_declaration_and_says_so(tmp_path: Path) -> None:
    subject = fetched(tmp_path, said())
    data = subject.data["evaluation"]
    assert data.origin == "artifact venturalitica_data/audit.csv of the run (declared by the training code)"
    assert data.rows == 3
    assert (subject.binding["gender"].column, subject.binding["gender"].how) == ("sex", "run")


def test_agent_yaml_prevails_over_the_declaration(tmp_path: Path) -> None:
    plan = DataPlan(
        data={"evaluation": DataRef("artifact", "data/*.csv")},
        columns={"gender": ColumnBinding("gender", "gender", "declared")},
    )
    subject = fetched(tmp_path, said(), plan)
    assert subject.data["evaluation"].origin == "artifact data/other.csv of the run"
    assert (subject.binding["gender"].column, subject.binding["gender"].how) == ("gender", "declared")
    remarks = parse_declaration(said()).remarks(plan, {"a" * 64})
    assert any("decided by agent.yaml" in note and "'gender'" in note for note in remarks)


@pytest.mark.parametrize("pattern", ["venturalitica_data/*.csv", "venturalitica_data", "none.csv"])
def test_a_declared_path_is_one_artifact_and_never_a_pattern(tmp_path: Path, pattern: str) -> None:
    subject = fetched(tmp_path, said(data={"evaluation": {"artifact": pattern}}))
    assert "evaluation" not in subject.data
    assert subject.problems["evaluation"].code == "missing"
    assert "the training code declares" in subject.problems["evaluation"].what


def test_a_declared_column_that_is_not_there_binds_nothing(tmp_path: Path) -> None:
    subject = fetched(tmp_path, said(columns={"gender": {"column": "Attribute9"}}))
    assert "gender" not in subject.binding
    assert "as the training code declares" in subject.problems["role:gender"].what


def test_declared_predictions_never_take_the_place_of_the_model(tmp_path: Path) -> None:
    columns = {**PLAIN["columns"], "prediction": {"column": "pred", "positive": 1}}
    columns["score"] = {"column": "y"}
    models = (LoggedModel("model", "memory:", path="model"),)
    files = {"model/MLmodel": _MLMODEL, "model/m.pkl": b"\x80\x04N."}
    with_model = fetched(tmp_path / "a", said(columns=columns), files=files, models=models)
    assert with_model.model is not None
    assert "prediction" not in with_model.binding
    without = fetched(tmp_path / "b", said(columns=columns))
    assert (without.binding["prediction"].column, without.binding["prediction"].how) == ("pred", "run")


def test_a_declared_folder_is_a_model_where_the_tracker_knows_none(tmp_path: Path) -> None:
    model = {"name": "", "model_id": "", "path": "mine"}
    files = {"mine/MLmodel": _MLMODEL, "mine/m.pkl": b"\x80\x04N.", "mine2/x": b""}
    subject = fetched(tmp_path / "a", said(model=model), files=files)
    assert subject.model is not None
    assert [f.name for f in subject.model.files] == ["MLmodel", "m.pkl"]
    absent = fetched(tmp_path / "b", said(model=model))
    assert "no such artifact" in absent.problems["model"].what


def test_the_declared_model_is_the_runs_own_or_none() -> None:
    models = tuple(
        LoggedModel(name, "memory:", model_id=f"m-{name}", ready=name != "broken") for name in ("a", "broken", "z")
    )
    run = finished("a" * 32, models=models)
    by_name = parse_declaration(said(model={"name": "a", "model_id": "", "path": ""})).model
    assert choose_model(run, by_name).model_id == "m-a"
    assert choose_model(run).model_id == "m-z"
    for model in ({"name": "b", "model_id": "m-elsewhere", "path": ""}, {"name": "broken", "model_id": "", "path": ""}):
        with pytest.raises(Unfit, match="declares"):
            choose_model(run, parse_declaration(said(model=model)).model)
    nobody = parse_declaration(said(model={"name": "", "model_id": "", "path": ""})).model
    assert choose_model(run, nobody).model_id == "m-z"


def test_another_policy_than_those_in_force_is_told_and_decides_nothing() -> None:
    declaration = parse_declaration(said())
    assert declaration.remarks(DataPlan(), {"a" * 64}) == (
        "the training code says: rows that the model was trained on",
    )
    (_, told) = declaration.remarks(DataPlan(), {"b" * 64})
    assert "not in force here" in told
    assert "a" * 64 in told


def test_one_table_for_both_purposes_is_told() -> None:
    both = {"evaluation": {"artifact": "d/a.csv"}, "training": {"artifact": "d/a.csv"}}
    declaration = parse_declaration(said(data=both, notes=[], policy=None))
    assert "same table" in declaration.remarks(DataPlan(), ())[0]
    assert Declaration().remarks(DataPlan(), ()) == ()
