"""Models of the libraries beside scikit-learn, loaded from the files that people save, predict as the original does.

Loaded here in the test's own process, because these files are ours; that the libraries also work inside the sandbox is
tested with the sandbox.
"""

from __future__ import annotations

import json
import pickle
from io import BytesIO
from typing import Any

import joblib
import lightgbm
import numpy as np
import pandas as pd
import pytest
import skops.io
import xgboost
from onnx import TensorProto, helper
from onnxruntime.capi import onnxruntime_pybind11_state as errors
from skl2onnx import to_onnx
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from venturalitica_agent.domain.subject import Predictions
from venturalitica_agent.sandbox import answer, worker

NAMES = ["age", "amount"]
FORMS = {
    ".joblib": "joblib",
    ".pkl": "joblib",
    ".txt": "lgb",
    ".onnx": "onnx",
    ".ubj": "ubj",
    ".json": "json",
    ".skops": "skops",
}


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(7)
    housing = rng.choice(["own", "rent", "für nix"], 100)
    age, amount = rng.integers(18, 80, 100).astype(float), rng.normal(3000, 900, 100)
    return pd.DataFrame({"housing": housing, "purpose": "car", "age": age, "amount": amount})


@pytest.fixture(scope="module")
def numbers(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[NAMES]


@pytest.fixture(scope="module")
def labels(frame: pd.DataFrame) -> pd.Series:
    return pd.Series(np.where(frame["age"] + (frame["housing"] == "own") * 20 > 55, "good", "bad"))


@pytest.fixture(scope="module")
def zero_one(labels: pd.Series) -> pd.Series:
    return (labels == "good").astype(int)


@pytest.fixture
def ask(tmp_path):
    """What the worker answers for the model in a file (its bytes, or what writes it), as the agent reads it."""

    def predict(flavor: str, name: str, write: Any, features: pd.DataFrame, rows: int = 1000) -> Predictions:
        path = tmp_path / name
        if callable(write):
            write(path)
        else:
            path.write_bytes(write)
        model = worker.load(flavor, FORMS[path.suffix], path)
        batches = (features[place : place + rows] for place in range(0, len(features), rows))
        header, arrays = worker.answer(model, (worker.choose_features(model, b, named=False) for b in batches))
        body = b"".join(np.ascontiguousarray(piece).tobytes() for pieces in arrays for piece in pieces)
        raw = json.dumps(header).encode() + b"\n" + body
        (told,) = answer.read(raw, rows=[len(features)])
        if isinstance(told, answer.Failure):
            raise told
        return told

    return predict


def dumped(model: Any, **how: Any) -> bytes:
    buffer = BytesIO()
    joblib.dump(model, buffer, **how)
    return buffer.getvalue()


def said(answer: Predictions) -> list[Any]:
    assert answer.values is not None
    assert answer.codes is not None
    return [answer.values[code] for code in answer.codes]


def assert_same(answer: Predictions, labels: Any, scores: Any, classes: Any) -> None:
    assert said(answer) == np.asarray(labels).tolist()
    assert answer.score_classes == tuple(np.asarray(classes).tolist())
    np.testing.assert_allclose(answer.scores, scores, rtol=1e-5, atol=1e-6)


# -- LightGBM and XGBoost ----------------------------------------------------------------------------------------


def test_pickled_classifiers_of_the_boosting_libraries(ask, numbers, labels, zero_one) -> None:
    """Their scikit-learn classes work like any other, also in a packed file and without column names."""
    shuffled = numbers[numbers.columns[::-1]].assign(extra="x")
    light = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(numbers, labels)
    given = ask("sklearn", "m.joblib", dumped(light, compress=("zlib", 3)), shuffled)
    assert_same(given, light.predict(numbers), light.predict_proba(numbers), light.classes_)
    extreme = xgboost.XGBClassifier(n_estimators=5).fit(numbers, zero_one)
    given = ask("sklearn", "m.pkl", pickle.dumps(extreme), shuffled)
    assert_same(given, extreme.predict(numbers), extreme.predict_proba(numbers), [0, 1])
    nameless = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(numbers.to_numpy(), labels)
    given = ask("sklearn", "m.joblib", dumped(nameless), numbers)
    assert said(given) == nameless.predict(numbers.to_numpy()).tolist()


def test_native_files_of_the_boosting_libraries(ask, numbers, zero_one) -> None:
    """A native file has no class names: 0 and 1, with the library's own probabilities."""
    extreme = xgboost.XGBClassifier(n_estimators=5).fit(numbers, zero_one)
    for name in ("m.ubj", "m.json"):
        given = ask("xgboost", name, extreme.save_model, numbers.assign(extra=1))
        assert_same(given, extreme.predict(numbers), extreme.predict_proba(numbers), [0, 1])
    light = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(numbers, zero_one)
    given = ask("lightgbm", "m.txt", light.booster_.save_model, numbers.assign(extra=1))
    assert_same(given, light.predict(numbers), light.predict_proba(numbers), [0, 1])


def test_pickled_booster_has_classes_too(ask, numbers, zero_one) -> None:
    """`lightgbm.train` and `xgboost.train` give boosters whose scores must not pass for predicted numbers."""
    for booster in (
        lightgbm.train({"objective": "binary", "verbose": -1}, lightgbm.Dataset(numbers, zero_one), 5),
        xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(numbers, zero_one), 5),
    ):
        given = ask("sklearn", "m.joblib", dumped(booster), numbers)
        assert given.score_classes == (0, 1)
        assert said(given) == (np.asarray(given.scores)[:, 1] > 0.5).astype(int).tolist()


def test_lightgbm_in_skops_and_many_classes(ask, numbers, frame) -> None:
    """Three classes keep their names in a skops file, and are 0 to 2 in a native one."""
    light = lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(numbers, frame["housing"])
    given = ask("lightgbm", "m.skops", skops.io.dumps(light), numbers)
    assert_same(given, light.predict(numbers), light.predict_proba(numbers), light.classes_)
    given = ask("lightgbm", "m.txt", light.booster_.save_model, numbers)
    assert given.score_classes == (0, 1, 2)
    assert [light.classes_[code] for code in said(given)] == light.predict(numbers).tolist()


# -- ONNX --------------------------------------------------------------------------------------------------------


def exported(model: Any, sample: Any, **options: Any) -> bytes:
    return bytes(to_onnx(model, sample, options=options or None).SerializeToString())


@pytest.mark.parametrize("zipmap", [True, False])
def test_onnx_of_one_table(ask, numbers, labels, zipmap) -> None:
    """Columns count by their number; the classes are known from the maps, or from what the rows show."""
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(numbers, labels)
    content = exported(model, numbers.to_numpy(np.float32)[:1], zipmap=zipmap)
    given = ask("onnx", "m.onnx", content, numbers)
    assert_same(given, model.predict(numbers), model.predict_proba(numbers), ["bad", "good"])
    with pytest.raises(worker.Refused, match="trained on 2 columns without names, and the data has 3"):
        ask("onnx", "m.onnx", content, numbers.assign(extra=1))
    with pytest.raises(worker.Refused, match="wants numbers in the column"):
        ask("onnx", "m.onnx", content, numbers.assign(amount="much"))


@pytest.mark.parametrize("zipmap", [True, False])
def test_onnx_knows_its_classes_from_all_batches(ask, numbers, labels, zipmap) -> None:
    """The first batches show one class only; together they tell which column of probabilities is whose."""
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(numbers, labels)
    content = exported(model, numbers.to_numpy(np.float32)[:1], zipmap=zipmap)
    ordered = numbers.iloc[np.argsort(model.predict(numbers), kind="stable")]
    given = ask("onnx", "m.onnx", content, ordered, rows=7)
    assert_same(given, model.predict(ordered), model.predict_proba(ordered), ["bad", "good"])


def test_onnx_with_an_input_per_column(ask, frame, numbers, labels) -> None:
    """Inputs are filled by name with text and numbers, whatever else is in the table."""
    table = numbers.astype("float32").assign(housing=frame["housing"].to_numpy(dtype=object))
    columns = [("n", StandardScaler(), NAMES), ("t", OneHotEncoder(handle_unknown="ignore"), ["housing"])]
    model = Pipeline([("columns", ColumnTransformer(columns)), ("model", LogisticRegression())]).fit(table, labels)
    content = exported(model, table[:1])
    shuffled = frame[["housing", "age", "purpose"]].assign(amount=numbers["amount"])
    given = ask("onnx", "m.onnx", content, shuffled)
    assert_same(given, model.predict(table), model.predict_proba(table), ["bad", "good"])
    with pytest.raises(worker.Refused, match="wants columns that the data doesn't have: housing"):
        ask("onnx", "m.onnx", content, numbers)
    with pytest.raises(worker.Refused, match="wants text in the column 'housing'"):
        ask("onnx", "m.onnx", content, shuffled.assign(housing=None))


def test_onnx_without_probabilities(ask, numbers, labels) -> None:
    """A regression is numbers; raw scores of a support vector machine are no probabilities, and its labels stay."""
    line = LinearRegression().fit(numbers, numbers["age"] * 2)
    given = ask("onnx", "m.onnx", exported(line, numbers.to_numpy(np.float32)[:1]), numbers)
    assert given.values is None
    np.testing.assert_allclose(given.numbers, numbers["age"] * 2, rtol=1e-4, atol=1e-3)
    vectors = LinearSVC().fit(numbers, labels)
    given = ask("onnx", "m.onnx", exported(vectors, numbers.to_numpy(np.float32)[:1]), numbers)
    assert said(given) == vectors.predict(numbers).tolist()
    assert given.scores is None
    assert "not probabilities" in given.notes[0]


def graph(inputs: list[Any], outputs: list[Any], nodes: list[Any], **more: Any) -> bytes:
    made = helper.make_graph(nodes, "g", inputs, outputs)
    return bytes(helper.make_model(made, ir_version=10, **more).SerializeToString())


def tensor(name: str, shape: list[Any], kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


COPY = helper.make_node("Identity", ["x"], ["y"])
OURS = [helper.make_opsetid("", 21)]


def _weights_outside() -> bytes:
    weights = helper.make_tensor("w", TensorProto.FLOAT, [2], [0.0, 0.0])
    weights.ClearField("float_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="../../../../etc/hostname")
    node = helper.make_node("Add", ["x", "w"], ["y"])
    made = helper.make_graph([node], "g", [tensor("x", [None, 2])], [tensor("y", [None, 2])], [weights])
    return bytes(helper.make_model(made, ir_version=10, opset_imports=OURS).SerializeToString())


STRANGE: dict[str, tuple[bytes, type[Exception], str]] = {
    "scores without labels": (
        graph([tensor("x", [None, 2])], [tensor("y", [None, 2])], [COPY], opset_imports=OURS),
        worker.Refused,
        r"the shape \(100, 2\); one value per row",
    ),
    "fixed rows": (
        graph([tensor("x", [1, 2])], [tensor("y", [1, 2])], [COPY], opset_imports=OURS),
        worker.Refused,
        "fixed number of rows",
    ),
    "picture": (
        graph([tensor("x", [None, 3, 8, 8])], [tensor("y", [None, 3, 8, 8])], [COPY], opset_imports=OURS),
        worker.Refused,
        "one table, or one input per column",
    ),
    "two answers": (
        graph(
            [tensor("x", [None, 2])],
            [tensor("y", [None, 2]), tensor("z", [None, 2])],
            [COPY, helper.make_node("Identity", ["x"], ["z"])],
            opset_imports=OURS,
        ),
        worker.Refused,
        "one label, or one number, per row",
    ),
    "operator of its own": (
        graph(
            [tensor("x", [None, 2])],
            [tensor("y", [None, 2])],
            [helper.make_node("Evil", ["x"], ["y"], domain="evil")],
            opset_imports=[*OURS, helper.make_opsetid("evil", 1)],
        ),
        errors.Fail,
        "Evil",
    ),
    "weights outside": (_weights_outside(), errors.Fail, "External data path validation failed"),
    "garbage": (b"\x08\n" + b"\xff" * 200, errors.InvalidProtobuf, "Protobuf parsing failed"),
}


@pytest.mark.parametrize("case", STRANGE)
def test_strange_onnx_is_said(ask, numbers, case) -> None:
    """Nothing is read beside the model, nothing foreign is run, and what can't be audited says why."""
    content, kind, words = STRANGE[case]
    with pytest.raises(Exception, match=words) as caught:
        ask("onnx", "m.onnx", content, numbers)
    assert type(caught.value) is kind
