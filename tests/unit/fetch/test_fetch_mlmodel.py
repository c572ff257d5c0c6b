"""MLmodel files as MLflow writes them are read; everything that could make a loader do more is refused."""

from __future__ import annotations

import copy
import gzip
import json
import pickle
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import yaml

from venturalitica_agent.errors import UntrustedInput
from venturalitica_agent.fetch.mlmodel import ModelDescription, parse_mlmodel, parse_requirements, plain_name
from venturalitica_agent.fetch.modelfile import check_file

GOOD: dict[str, Any] = {
    "flavors": {
        "python_function": {
            "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
            "loader_module": "mlflow.sklearn",
            "model_path": "model.pkl",
            "predict_fn": "predict",
            "python_version": "3.11.7",
        },
        "sklearn": {
            "code": None,
            "pickled_model": "model.pkl",
            "serialization_format": "cloudpickle",
            "sklearn_version": "1.9.1",
            "skops_trusted_types": None,
        },
    },
    "mlflow_version": "3.17.2",
    "model_id": None,
    "signature": {
        "inputs": json.dumps([{"type": "double", "name": "a"}, {"type": "long", "name": "b"}]),
        "outputs": json.dumps([{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]),
        "params": None,
    },
    "utc_time_created": "2026-11-23 15:28:21.460096",
}


def changed(**paths: Any) -> bytes:
    """GOOD with values set by double-underscore path: flavors__sklearn__code="x"."""
    document = copy.deepcopy(GOOD)
    for path, value in paths.items():
        *parents, last = path.split("__")
        node = document
        for part in parents:
            node = node.setdefault(part, {})
        node[last] = value
    return yaml.safe_dump(document).encode()


def booster(flavor: str, file: str, model_class: str, **more: Any) -> bytes:
    """An MLmodel of xgboost or lightgbm."""
    conf = {"data": file, "model_class": model_class, "code": None, **more}
    pyfunc = {"loader_module": f"mlflow.{flavor}", "data": file}
    return yaml.safe_dump({"flavors": {"python_function": pyfunc, flavor: conf}}).encode()


def test_reads_what_mlflow_writes() -> None:
    """File, format, signature and versions come out; nulls and unknown keys don't disturb."""
    assert parse_mlmodel(changed()) == ModelDescription(
        "sklearn",
        "model.pkl",
        "cloudpickle",
        ("a", "b"),
        {"python": "3.11.7", "mlflow": "3.17.2", "scikit-learn": "1.9.1"},
        ("double", "long"),
    )


def test_types_of_columns_that_are_no_plain_word_are_unknown() -> None:
    """Arrays and objects have a type of their own; hostile text is none."""
    types = ["string", {"x": 1}, None, "a\nb", "x" * 99]
    inputs = json.dumps([{"name": str(n), "type": kind} for n, kind in enumerate(types)])
    assert parse_mlmodel(changed(signature__inputs=inputs)).input_kinds == ("string", "", "", "", "")


def test_version_that_yaml_reads_as_a_number() -> None:
    """`1.7` unquoted is a version, not a float to choke on."""
    content = changed().replace(b"1.9.1", b"1.7")
    assert parse_mlmodel(content).environment["scikit-learn"] == "1.7"


@pytest.mark.parametrize(
    ("content", "file", "form"),
    [
        (booster("xgboost", "model.ubj", "xgboost.sklearn.XGBClassifier", model_format="ubj"), "model.ubj", "ubj"),
        (booster("xgboost", "model.json", "xgboost.core.Booster"), "model.json", "json"),
        (booster("lightgbm", "model.lgb", "lightgbm.basic.Booster"), "model.lgb", "lgb"),
        (booster("lightgbm", "model.pkl", "lightgbm.sklearn.LGBMClassifier"), "model.pkl", "cloudpickle"),
        (booster("lightgbm", "model.skops", "lightgbm.sklearn.LGBMClassifier"), "model.skops", "skops"),
    ],
)
def test_boosters(content: bytes, file: str, form: str) -> None:
    """The native and pickled files of both booster flavors are told apart."""
    described = parse_mlmodel(content)
    assert (described.file, described.format) == (file, form)


def test_missing_and_tensor_signatures_have_no_names() -> None:
    """Without column names the signature says nothing about columns."""
    assert parse_mlmodel(changed(signature=None)).inputs == ()
    assert parse_mlmodel(changed(signature={"outputs": "[]"})).inputs == ()
    tensor = json.dumps([{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 3]}}])
    assert parse_mlmodel(changed(signature__inputs=tensor)).inputs == ()


HOSTILE: dict[str, tuple[bytes, str]] = {
    "own loader": (changed(flavors__python_function__loader_module="evil"), "loader_module"),
    "pyfunc model": (changed(flavors__python_function__loader_module="mlflow.pyfunc.model"), "loader_module"),
    "loader of another type": (changed(flavors__python_function__loader_module=["mlflow.sklearn"]), "loader_module"),
    "code in sklearn": (changed(flavors__sklearn__code="code"), "own code"),
    "code in pyfunc": (changed(flavors__python_function__code="code"), "own code"),
    "empty code": (changed(flavors__python_function__code=""), "own code"),
    "code in an unused flavor": (changed(flavors__other={"code": "x"}), "own code"),
    "model from code": (changed(flavors__python_function__model_code_path="model.py"), "own code"),
    "parent path": (changed(flavors__sklearn__pickled_model="../../../../etc/passwd"), "plain relative name"),
    "hidden parent path": (changed(flavors__sklearn__pickled_model="a/../model.pkl"), "plain relative name"),
    "absolute path": (changed(flavors__sklearn__pickled_model="/etc/model.pkl"), "plain relative name"),
    "backslash": (changed(flavors__sklearn__pickled_model="..\\model.pkl"), "plain relative name"),
    "newline": (changed(flavors__sklearn__pickled_model="a\nmodel.pkl"), "plain relative name"),
    "right-to-left override": (changed(flavors__sklearn__pickled_model="lkp.\u202emodel.pkl"), "plain relative name"),
    "no file": (changed(flavors__sklearn__pickled_model=None), "plain name"),
    "wrong suffix": (changed(flavors__sklearn__pickled_model="model.py"), "does not end in"),
    "pickle called skops": (changed(flavors__sklearn__serialization_format="skops"), "does not end in"),
    "unknown format": (changed(flavors__sklearn__serialization_format="marshal"), "unknown"),
    "two files": (changed(flavors__python_function__model_path="other.pkl"), "python_function names"),
    "two files by data": (changed(flavors__python_function__data="other.pkl"), "python_function names"),
    "no flavors": (changed(flavors=None), "`flavors` is missing"),
    "flavor of another kind": (changed(flavors__sklearn="x"), "not a map"),
    "flavor absent": (changed(flavors__python_function__loader_module="mlflow.xgboost"), "`xgboost` is missing"),
    "foreign class": (booster("xgboost", "model.ubj", "os.system"), "model_class"),
    "booster path": (booster("lightgbm", "../model.lgb", "lightgbm.basic.Booster"), "plain relative name"),
    "signature not JSON": (changed(signature__inputs="["), "not JSON"),
    "signature too deep": (changed(signature__inputs="[" * 100_000), "not JSON"),
    "signature of repeated names": (changed(signature__inputs='[{"name": "a"}, {"name": "a"}]'), "repeated"),
    "python tag": (b"flavors: !!python/object/apply:os.system [id]\n", "line 1"),
    "equal keys": (changed() + b"flavors: {}\n", "line"),
    "bomb": (
        b"a: &a [1,1,1,1,1,1,1,1,1]\n"
        + b"".join(f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n".encode() for i in range(9)),
        "line",
    ),
    "too deep": (b"flavors: " + b"[" * 5000 + b"]" * 5000, "line"),
    "too large": (b"#" * (2 << 20), "larger"),
    "not text": (b"\xff\xfe\x00", "line"),
    "empty": (b"", "the file is empty"),
    "list": (b"- flavors", "not a map"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_mlmodel_is_refused(case: str) -> None:
    """Each is UntrustedInput, with the reason in the message and something to do."""
    content, words = HOSTILE[case]
    with pytest.raises(UntrustedInput) as refused:
        parse_mlmodel(content)
    assert words in refused.value.what
    assert refused.value.remedy


def test_plain_names() -> None:
    """A name in a folder is fine; a name that only becomes fine by normalising is not."""
    assert plain_name("sub/model.pkl") == "sub/model.pkl"
    for name in ("./model.pkl", "a//b", "a/", "", "x" * 300, 3):
        with pytest.raises(UntrustedInput):
            plain_name(name)


def test_requirements_are_text() -> None:
    """Exact pins are taken, options and URLs are not."""
    text = "\n".join(
        [
            "mlflow==3.17.2",
            "Scikit_Learn==1.9.1 ; python_version > '3'",
            "pandas[excel]==2.2.0",
            "numpy>=2",
            "-r other.txt",
            "--find-links http://evil/",
            "evil @ http://evil/x.whl",
            "x==" + "1" * 200,
        ]
    )
    assert parse_requirements(text) == {"mlflow": "3.17.2", "scikit-learn": "1.9.1", "pandas": "2.2.0"}


def _skops() -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("schema.json", "{}")
    return buffer.getvalue()


def _bomb() -> bytes:
    """Two members of nearly 4 GiB each, as the archive's directory promises; under a kilobyte in truth."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("schema.json", "{}")
        archive.writestr("weights.npy", "")
    content = bytearray(buffer.getvalue())
    place = -1
    while (place := content.find(b"PK\x01\x02", place + 1)) >= 0:
        content[place + 24 : place + 28] = (0xFFFFFFFE).to_bytes(4, "little")
    return bytes(content)


@pytest.mark.parametrize(
    ("form", "name", "content"),
    [
        ("pickle", "model.pkl", lambda: gzip.compress(pickle.dumps([1]))),
        ("cloudpickle", "model.pkl", lambda: b"7z\xbc\xaf\x27\x1c" + bytes(20)),
        ("pickle", "model.pkl", lambda: b"cos\nsystem\n(S'id'\ntR."),
        ("pickle", "model.pkl", lambda: b"import os\n"),
        ("pickle", "model.pkl", lambda: b""),
        ("pickle", "model.pkl", _skops),
        ("skops", "model.skops", lambda: pickle.dumps([1])),
        ("skops", "model.skops", lambda: _skops()[:60]),
        ("lgb", "model.lgb", lambda: pickle.dumps([1])),
        ("json", "model.json", lambda: pickle.dumps([1])),
        ("xgb", "model.xgb", lambda: gzip.compress(b"x")),
    ],
)
def test_content_that_is_not_its_format_is_refused(
    tmp_path: Path, form: str, name: str, content: Callable[[], bytes]
) -> None:
    """The first bytes decide, not the suffix."""
    (tmp_path / name).write_bytes(content())
    with pytest.raises(UntrustedInput, match=r"is not a|broken archive"):
        check_file(tmp_path, {name}, ModelDescription("sklearn", name, form))


def test_content_that_is_its_format_is_accepted(tmp_path: Path) -> None:
    """The uncompressed formats that MLflow writes pass."""
    files = {
        "pickle": pickle.dumps([1]),
        "skops": _skops(),
        "lgb": b"tree\nversion=v4\n",
        "json": b'{"learner": {}}',
        "ubj": b"{L\x00\x00",
    }
    for form, content in files.items():
        (tmp_path / form).write_bytes(content)
        check_file(tmp_path, {form}, ModelDescription("any", form, form))


def test_archive_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    """The promised size is enough to refuse a skops file."""
    path = tmp_path / "model.skops"
    path.write_bytes(_bomb())
    assert path.stat().st_size < 1000
    with pytest.raises(UntrustedInput, match="unpacks to"):
        check_file(tmp_path, {path.name}, ModelDescription("sklearn", path.name, "skops"))


def test_file_that_is_not_in_the_copy_is_refused(tmp_path: Path) -> None:
    """A name that MLmodel gives but the copy lacks never leads to another place."""
    with pytest.raises(UntrustedInput, match="not among"):
        check_file(tmp_path, {"MLmodel"}, ModelDescription("sklearn", "model.pkl", "pickle"))
