"""The worker's own choices: which columns a model is given, and what its predictions are taken for."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier, DummyRegressor

from venturalitica_agent.sandbox import worker

FRAME = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})


def test_names_of_training_choose_and_order_the_columns() -> None:
    model = SimpleNamespace(feature_names_in_=np.array(["b", "a"]))
    assert list(worker.choose_features(model, FRAME.assign(c=0), named=False)) == ["b", "a"]
    assert list(worker.choose_features(model, FRAME, named=True)) == ["b", "a"], "a signature in another order"


def test_signature_wins_over_foreign_names() -> None:
    """A wrapper that renames its columns is given what its signature asks for."""
    model = SimpleNamespace(feature_names_in_=np.array(["x0"]))
    assert worker.choose_features(model, FRAME, named=True) is FRAME


def test_model_that_says_nothing_is_refused() -> None:
    with pytest.raises(worker.Refused, match="neither the names nor the number"):
        worker.choose_features(SimpleNamespace(), FRAME, named=False)


@pytest.mark.parametrize(
    ("predictions", "values"),
    [
        (np.array(["b", "a", "b"]), ["b", "a"]),
        (np.array([2, 1, 2]), [2, 1]),
        (np.array([True, False, True]), [True, False]),
        (np.array([["b"], ["a"], ["b"]]), ["b", "a"]),
    ],
)
def test_discrete_predictions_are_classes(predictions, values) -> None:
    header, ((codes,),) = worker.answer(SimpleNamespace(predict=lambda x: x), [predictions])
    assert header["values"] == values
    assert codes.tolist() == [0, 1, 0]


def test_whole_floats_are_classes_of_a_classifier_and_numbers_of_a_regressor() -> None:
    target = [1.0, 2.0, 2.0]
    header, _ = worker.answer(DummyClassifier().fit([[0]] * 3, target), [[[0]] * 3])
    assert header["values"] == [2.0]
    header, ((numbers,),) = worker.answer(
        DummyRegressor(strategy="constant", constant=2).fit([[0]] * 3, target), [[[0]] * 3]
    )
    assert header["values"] is None
    assert numbers.tolist() == [2.0] * 3


@pytest.mark.parametrize(
    ("predictions", "sentence"),
    [
        (np.array([None, "a"], dtype=object), "1 of 2 predictions are missing values"),
        (np.array([b"a", b"b"]), "classes of type bytes"),
        (np.zeros((2, 3)), r"the shape \(2, 3\)"),
        (np.arange(1001), "1001 different classes"),
    ],
)
def test_what_is_no_prediction_is_refused(predictions, sentence) -> None:
    with pytest.raises(worker.Refused, match=sentence):
        worker.answer(SimpleNamespace(predict=lambda x: x), [predictions])


def test_batches_are_answered_as_one_table() -> None:
    """Codes of all batches point into one list of classes, which grows as they are seen."""
    parts = [np.array(["a", "a"]), np.array(["c", "a"]), np.array(["b", "c", "b"])]
    header, (pieces,) = worker.answer(SimpleNamespace(predict=lambda x: x), parts)
    assert (header["rows"], header["values"]) == (7, ["a", "c", "b"])
    assert np.concatenate(pieces).tolist() == [0, 0, 1, 0, 2, 1, 2]


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ([np.array([1, 2]), np.array([0.5, 1.5])], "classes for some rows and numbers for others"),
        ([np.array([0.5, 1.5]), np.array(["a", "b"])], "numbers for some rows and something else for others"),
        ([np.arange(600), np.arange(600, 1200)], "the model predicts 1200 or more classes"),
    ],
)
def test_answers_that_differ_in_kind_between_batches_are_refused(parts, sentence) -> None:
    with pytest.raises(worker.Refused, match=sentence):
        worker.answer(SimpleNamespace(predict=lambda x: x), parts)


def test_probabilities_that_fail_in_one_batch_are_left_out_of_all() -> None:
    def some(x):
        if x[0] == "b":
            raise RuntimeError("not of these")
        return np.array([[1.0, 0.0]])

    model = SimpleNamespace(predict=lambda x: x, predict_proba=some, classes_=["a", "b"])
    header, arrays = worker.answer(model, [np.array(["a"]), np.array(["b"]), np.array(["a"])])
    assert header["notes"] == ["class probabilities are not available: RuntimeError: not of these"]
    assert (header["score_classes"], len(arrays), header["rows"]) == (None, 1, 3)


def test_failing_probabilities_are_a_note_and_the_labels_stay() -> None:
    def fail(x):
        raise RuntimeError("no scores today")

    model = SimpleNamespace(predict=lambda x: np.array(["a"]), predict_proba=fail, classes_=["a"])
    header, arrays = worker.answer(model, [[0]])
    assert header["notes"] == ["class probabilities are not available: RuntimeError: no scores today"]
    assert (header["values"], header["score_classes"], len(arrays)) == (["a"], None, 1)


def test_native_binary_booster_has_labels_and_probabilities(monkeypatch, tmp_path) -> None:
    """LightGBM's native file says its objective; its scores become the probabilities of 0 and 1."""

    class Booster:
        def __init__(self, model_file):
            self.model_file = model_file

        def model_to_string(self, num_iteration):
            return "tree\nobjective=binary sigmoid:1\n"

        def feature_name(self):
            return ["a", "b"]

        def num_feature(self):
            return 2

        def predict(self, x):
            return np.array([0.2, 0.9])

    monkeypatch.setitem(sys.modules, "lightgbm", SimpleNamespace(Booster=Booster))
    model = worker.load("lightgbm", "lightgbm", tmp_path / "model.lgb")
    header, ((codes,), (scores,)) = worker.answer(model, [worker.choose_features(model, FRAME, named=False)])
    assert (header["values"], header["score_classes"]) == ([0, 1], [0, 1])
    assert codes.tolist() == [0, 1]
    np.testing.assert_allclose(scores, [[0.8, 0.2], [0.1, 0.9]])


def test_booster_that_ranks_is_refused() -> None:
    with pytest.raises(worker.Refused, match="'rank:ndcg'"):
        worker._Booster(None, "rank:ndcg", None, 2)


def test_unknown_flavors_and_formats_are_refused(tmp_path) -> None:
    with pytest.raises(worker.Refused, match="flavor 'pytorch'"):
        worker.load("pytorch", "pickle", tmp_path)
    with pytest.raises(worker.Refused, match="format 'onnx'"):
        worker.load("sklearn", "onnx", tmp_path)


@pytest.mark.parametrize("library", ["xgboost", "lightgbm", "onnxruntime"])
def test_library_that_is_not_installed_is_named_with_the_command(monkeypatch, tmp_path, library) -> None:
    """For its own files, and for pickles of its classes."""
    monkeypatch.setitem(sys.modules, library, None)
    words = rf"it needs {library}, which is not installed: pip install 'venturalitica-agent\[models\]'"
    with pytest.raises(worker.Refused, match=words):
        worker.load({"onnxruntime": "onnx"}.get(library, library), "native", tmp_path / "m")
    (tmp_path / "m.pkl").write_bytes(f"c{library}\nBooster\n.".encode())
    with pytest.raises(worker.Refused, match=words):
        worker.load("sklearn", "pickle", tmp_path / "m.pkl")
    (tmp_path / "m.pkl").write_bytes(b"cnosuchlibrary\nBooster\n.")
    with pytest.raises(ModuleNotFoundError, match="nosuchlibrary"):
        worker.load("sklearn", "pickle", tmp_path / "m.pkl")
