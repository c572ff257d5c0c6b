"""What goes into the sandbox: exactly the files that were fetched, and a table that both sides read alike."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from venturalitica_agent.domain.subject import FileDigest, ModelSubject
from venturalitica_agent.errors import SandboxError, SandboxUnavailable
from venturalitica_agent.sandbox import handoff
from venturalitica_agent.sandbox.handoff import Features

FRAME = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})


@pytest.fixture
def model(tmp_path: Path) -> ModelSubject:
    folder = tmp_path / "model"
    (folder / "parts").mkdir(parents=True)
    files = {"model.pkl": b"pickle", "parts/one.npy": b"array"}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    digests = tuple(FileDigest(n, len(c), hashlib.sha256(c).hexdigest()) for n, c in files.items())
    return ModelSubject("m", str(folder), "d", digests, "sklearn", "model.pkl", "pickle")


@pytest.fixture
def slot(tmp_path: Path) -> Path:
    (tmp_path / "slot").mkdir()
    return tmp_path / "slot"


def test_slot_holds_the_model_the_table_and_the_job(slot, model) -> None:
    handoff.stage(slot, replace(model, inputs=("b",)), [Features.of(FRAME)], model_bytes=100)
    assert (slot / "model/model.pkl").read_bytes() == b"pickle"
    assert (slot / "model/parts/one.npy").read_bytes() == b"array"
    with pa.memory_map(str(slot / "features-0.arrow")) as source:
        pd.testing.assert_frame_equal(pa.ipc.open_file(source).read_all().to_pandas(), FRAME[["b"]])
    job = json.loads((slot / "job.json").read_text())
    tables = [{"file": "features-0.arrow", "gaps": []}]
    assert job == {"flavor": "sklearn", "format": "pickle", "file": "model.pkl", "named": True, "tables": tables}


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "parts/../../secret", ""])
def test_names_outside_the_model_are_refused(slot, model, tmp_path, name) -> None:
    (tmp_path / "secret").write_bytes(b"s")
    outside = FileDigest(name, 1, hashlib.sha256(b"s").hexdigest())
    with pytest.raises(SandboxError, match="not the one that was fetched"):
        handoff.stage(slot, replace(model, files=(*model.files, outside)), [Features.of(FRAME)], model_bytes=100)


@pytest.mark.parametrize("content", [b"pickl", b"pickles", b"picklE"])
def test_changed_bytes_are_refused(slot, model, content) -> None:
    Path(model.path, "model.pkl").write_bytes(content)
    with pytest.raises(SandboxError, match="not the one that was fetched"):
        handoff.stage(slot, model, [Features.of(FRAME)], model_bytes=100)


def test_model_file_must_be_among_the_files(slot, model) -> None:
    with pytest.raises(SandboxError, match=r"has no file 'other\.pkl'"):
        handoff.stage(slot, replace(model, file="other.pkl"), [Features.of(FRAME)], model_bytes=100)


def test_large_models_are_refused_before_copying(slot, model) -> None:
    with pytest.raises(SandboxError, match="11 bytes; at most 10"):
        handoff.stage(slot, model, [Features.of(FRAME)], model_bytes=10)
    assert not (slot / "model").exists()


@pytest.mark.parametrize(
    ("frame", "sentence"),
    [
        (FRAME.iloc[:0], "no rows to predict"),
        (FRAME[[]], "no columns to predict from"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "several columns of the same name: a"),
        (pd.DataFrame({"a": ["x", 1]}), "can't be handed to the sandbox"),
        (pd.DataFrame({"a": [object()]}), "can't be handed to the sandbox"),
    ],
)
def test_tables_that_cannot_be_handed_over(slot, model, frame, sentence) -> None:
    with pytest.raises(SandboxError, match=sentence) as caught:
        handoff.stage(slot, model, [Features.of(frame)], model_bytes=100)
    assert caught.value.remedy


def test_job_names_the_columns_that_have_gaps_in_any_batch(slot, model) -> None:
    """A worker that reads one batch can't know it."""
    frame = pd.DataFrame({"a": [1, 2, 3], "b": pd.array([1, 2, None], dtype="Int64"), "c": [None, 1.0, 2.0]})
    handoff.stage(slot, model, [Features.of(frame, batch_rows=1)], model_bytes=100)
    assert json.loads((slot / "job.json").read_text())["tables"][0]["gaps"] == ["b", "c"]
    with pa.OSFile(str(slot / "features-0.arrow")) as source:
        assert pa.ipc.open_file(source).num_record_batches == 3


def test_rows_that_are_fewer_than_promised_are_noticed(slot, model) -> None:
    given = Features.of(FRAME)
    with pytest.raises(SandboxError, match="the data have 2 rows, 3 were expected"):
        handoff.stage(slot, model, [replace(given, rows=3)], model_bytes=100)


def test_disk_without_room_is_not_the_model_s_fault(slot, model) -> None:
    (slot / "features-0.arrow").symlink_to("/dev/full")
    with pytest.raises(SandboxUnavailable, match="No space left"):
        handoff.stage(slot, model, [Features.of(pd.DataFrame({"a": range(100_000)}))], model_bytes=100)


def test_a_later_table_that_cannot_be_handed_over_ends_the_job_before_it(slot, model) -> None:
    given = Features.of(FRAME)
    assert handoff.stage(slot, model, [given, given, replace(given, rows=3), given], model_bytes=100) == 2
    job = json.loads((slot / "job.json").read_text())
    assert [table["file"] for table in job["tables"]] == ["features-0.arrow", "features-1.arrow"]
    assert sorted(path.name for path in slot.glob("*.arrow")) == ["features-0.arrow", "features-1.arrow"]
