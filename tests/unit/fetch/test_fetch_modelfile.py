"""A model that is logged as a bare file is found by what the file is; where there could be two, none is taken."""

from __future__ import annotations

import bz2
import gzip
import lzma
import pickle
import zipfile
import zlib
from io import BytesIO
from pathlib import Path

import joblib
import pytest

from venturalitica_agent.errors import UntrustedInput
from venturalitica_agent.fetch.mlmodel import ModelDescription
from venturalitica_agent.fetch.modelfile import check_file, find_model_file
from venturalitica_agent.fetch.problems import Unfit


def zipped() -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("schema.json", "{}")
    return buffer.getvalue()


PICKLE = pickle.dumps([1])
TREE = b"tree\nversion=v4\n"
LEARNER = b'{"learner":{"attributes":{}},"version":[3,2,0]}'
BESIDE = {
    "README.md": b"# model",
    "requirements.txt": b"scikit-learn==1.9.1\n",
    "config.json": b'{"version": 1, "learner": {}}',
    "notes.txt": b"trees of knowledge",
    "model_card.html": b"",
    "train.py": b"",
    "data.csv": b"a\n1\n",
}


def found(folder: Path, files: dict[str, bytes]) -> ModelDescription:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    description = find_model_file(folder, list(files))
    check_file(folder, list(files), description)
    return description


@pytest.mark.parametrize(
    ("name", "content", "flavor", "form"),
    [
        ("model.joblib", PICKLE, "sklearn", "joblib"),
        ("MODEL.PKL", PICKLE, "sklearn", "joblib"),
        ("sub/model.pickle", PICKLE, "sklearn", "joblib"),
        ("model.skops", zipped(), "sklearn", "skops"),
        ("model.ubj", b"{L\x00\x00", "xgboost", "ubj"),
        ("model.xgb", b"{L\x00\x00", "xgboost", "xgb"),
        ("model.json", LEARNER, "xgboost", "json"),
        ("model.txt", TREE, "lightgbm", "lgb"),
        ("model.lgb", TREE, "lightgbm", "lgb"),
        ("model.onnx", b"\x08\n\x12\x08skl2onnx", "onnx", "onnx"),
    ],
    ids=lambda value: value if isinstance(value, str) else "content",  # an archive's bytes hold the time
)
def test_the_only_model_file_is_the_model(tmp_path: Path, name: str, content: bytes, flavor: str, form: str) -> None:
    """Whatever else lies beside it: a README, requirements, a configuration, data."""
    assert found(tmp_path, {**BESIDE, name: content}) == ModelDescription(flavor, name, form)


def test_several_candidates_are_listed(tmp_path: Path) -> None:
    with pytest.raises(Unfit, match=r"2 files .*: 'model.joblib', 'model.txt'") as unfit:
        found(tmp_path, {**BESIDE, "model.joblib": PICKLE, "model.txt": TREE})
    assert unfit.value.code == "ambiguous"
    assert unfit.value.remedy


@pytest.mark.parametrize("files", [{}, BESIDE, {"model.pt": b"PK\x03\x04"}, {"model.joblib.bak": PICKLE}])
def test_no_candidate_says_what_is_there(tmp_path: Path, files: dict[str, bytes]) -> None:
    with pytest.raises(Unfit, match="neither an MLmodel file nor a model file") as unfit:
        found(tmp_path, files)
    assert unfit.value.code == "missing"
    assert all(repr(name) in unfit.value.what for name in files)
    assert ".onnx" in unfit.value.remedy


@pytest.mark.parametrize("compress", [0, ("zlib", 1), ("zlib", 9), ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)])
def test_every_way_in_which_joblib_writes_is_a_joblib_file(tmp_path: Path, compress: object) -> None:
    joblib.dump({"a": [1.0] * 100}, tmp_path / "m.joblib", compress=compress)
    check_file(tmp_path, {"m.joblib"}, ModelDescription("sklearn", "m.joblib", "joblib"))


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zlib.compress])
def test_packed_pickles_are_joblib_files_and_no_pickles_of_mlflow(tmp_path: Path, pack: object) -> None:
    """joblib reads what the packing modules of the standard library write; MLflow never packs."""
    (tmp_path / "m.pkl").write_bytes(pack(PICKLE))  # type: ignore[operator]
    assert joblib.load(tmp_path / "m.pkl") == [1]
    check_file(tmp_path, {"m.pkl"}, ModelDescription("sklearn", "m.pkl", "joblib"))
    with pytest.raises(UntrustedInput, match="is not a pickle file"):
        check_file(tmp_path, {"m.pkl"}, ModelDescription("sklearn", "m.pkl", "pickle"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.joblib", b"import os\n"),
        ("m.joblib", b"PK\x03\x04"),
        ("m.joblib", b"x\x00" + bytes(20)),
        ("m.joblib", b""),
        ("m.pkl", b"cos\nsystem\n(S'id'\ntR."),
        ("m.skops", PICKLE),
        ("m.ubj", b"binf" + bytes(20)),
        ("m.xgb", b""),
        ("m.lgb", PICKLE),
        ("m.onnx", b"PK\x03\x04"),
        ("m.onnx", b"<html>"),
    ],
    ids=lambda value: value if isinstance(value, str) else "content",
)
def test_file_of_another_kind_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    with pytest.raises(UntrustedInput, match="is not a") as refused:
        found(tmp_path, {name: content})
    assert refused.value.remedy


@pytest.mark.parametrize(("name", "flavor"), [("m.json", "xgboost"), ("m.txt", "lightgbm"), ("m.ubj", "xgboost")])
def test_what_the_libraries_really_write_is_known(tmp_path: Path, name: str, flavor: str) -> None:
    import lightgbm
    import numpy as np
    import xgboost

    x, y = np.arange(40.0).reshape(-1, 1), np.arange(40) % 2
    if flavor == "xgboost":
        xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(x, y), 1).save_model(tmp_path / name)
    else:
        data = lightgbm.Dataset(x, y)
        lightgbm.train({"objective": "binary", "verbose": -1}, data, 1).save_model(tmp_path / name)
    assert found(tmp_path, {name: (tmp_path / name).read_bytes()}).flavor == flavor
