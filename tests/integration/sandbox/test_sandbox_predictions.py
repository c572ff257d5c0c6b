"""Predictions from the sandbox equal the same model's predictions in this process."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import cloudpickle
import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import LinearSVC

from venturalitica_agent.domain.subject import Predictions
from venturalitica_agent.errors import SandboxError

TEXT, NUMBERS = ["housing", "purpose"], ["age", "amount", "foreign"]


def pipeline(model: Any) -> Pipeline:
    columns = [("text", OneHotEncoder(handle_unknown="ignore"), TEXT), ("numbers", SimpleImputer(), NUMBERS)]
    return make_pipeline(ColumnTransformer(columns), model)


def predicted(answer: Predictions) -> np.ndarray:
    assert answer.values is not None
    return np.array(answer.values, dtype=object)[answer.codes]


def assert_equal(answer: Predictions, model: Any, features: Any) -> None:
    assert answer.n == len(features)
    assert predicted(answer).tolist() == model.predict(features).tolist()
    assert answer.score_classes == tuple(model.classes_.tolist())
    np.testing.assert_array_equal(answer.scores, model.predict_proba(features))


def test_logistic_regression_on_text_and_gaps(sandbox, save, frame, labels) -> None:
    """A pipeline with encoders picks its columns by name, whatever else is in the table and in whichever order."""
    model = pipeline(LogisticRegression(max_iter=2000)).fit(frame, labels)
    shuffled = frame[frame.columns[::-1]].assign(extra="x")
    assert_equal(sandbox.predict(save(model), shuffled), model, frame)


def test_random_forest_with_whole_number_labels(sandbox, save, frame, labels) -> None:
    """Labels 1 and 2 come back as the whole numbers 1 and 2; joblib files load."""
    model = pipeline(RandomForestClassifier(n_estimators=20, random_state=0, n_jobs=2)).fit(
        frame, (labels == "good") + 1
    )
    path = save(b"", file="model.joblib", form="joblib")
    joblib.dump(model, Path(path.path, path.file), compress=3)
    file = Path(path.path, path.file)
    subject = save(file.read_bytes(), file="model.joblib", form="joblib")
    answer = sandbox.predict(subject, frame)
    assert_equal(answer, model, frame)
    assert all(type(value) is int for value in answer.values)


def test_skops_file(sandbox, save, frame, labels) -> None:
    model = pipeline(LogisticRegression(max_iter=2000)).fit(frame, labels)
    assert_equal(sandbox.predict(save(skops.io.dumps(model), file="m.skops", form="skops"), frame), model, frame)


def test_boolean_labels_from_arrays_without_names(sandbox, save, frame, labels) -> None:
    """A model that was fitted on a bare array takes all columns when their number fits, and booleans stay booleans."""
    numbers = frame[["age", "foreign"]].astype(float)
    model = LogisticRegression().fit(numbers.to_numpy(), labels == "good")
    answer = sandbox.predict(save(cloudpickle.dumps(model), form="cloudpickle"), numbers)
    assert_equal(answer, model, numbers.to_numpy())
    assert all(type(value) is bool for value in answer.values)


def test_signature_chooses_columns_for_a_nameless_model(sandbox, save, frame, labels) -> None:
    """The signature's names say which columns a model wants that was fitted on an array."""
    model = LogisticRegression().fit(frame[["foreign", "age"]].to_numpy(float), labels)
    subject = save(model, inputs=("foreign", "age"))
    assert_equal(sandbox.predict(subject, frame), model, frame[["foreign", "age"]].to_numpy(float))


def test_regression_answers_with_numbers(sandbox, save, frame) -> None:
    model = pipeline(RandomForestRegressor(n_estimators=5, random_state=0)).fit(frame, frame["age"] * 1.5)
    answer = sandbox.predict(save(model), frame)
    assert (answer.values, answer.codes, answer.scores) == (None, None, None)
    np.testing.assert_array_equal(answer.numbers, model.predict(frame))


def test_classifier_without_probabilities_has_labels_only(sandbox, save, frame, labels) -> None:
    model = pipeline(LinearSVC()).fit(frame, labels)
    answer = sandbox.predict(save(model), frame)
    assert predicted(answer).tolist() == model.predict(frame).tolist()
    assert answer.scores is None
    assert answer.score_classes is None


def test_categoricals_dates_and_missing_text_survive_the_handoff(sandbox, save) -> None:
    """The table in the sandbox has the kinds of values that it had outside."""
    table = pd.DataFrame(
        {
            "category": pd.Categorical(["b", "a", None, "b"], categories=["b", "a", "c"]),
            "day": pd.to_datetime(["2026-01-01", None, "2026-01-03", "2026-01-04"]),
            "text": ["x", None, "y", "z"],
            "whole": pd.array([1, None, 3, 4], dtype="Int64"),
        }
    )

    class Echo:
        feature_names_in_ = ("category", "day", "text", "whole")

        def predict(self, given):
            return [f"{given.dtypes.astype(str).to_dict()} {given.isna().sum().to_dict()}"] * len(given)

    said = predicted(sandbox.predict(save(cloudpickle.dumps(Echo()), form="cloudpickle"), table))
    assert said[0] == f"{table.dtypes.astype(str).to_dict()} {table.isna().sum().to_dict()}"


@pytest.mark.parametrize(
    ("fit_on", "inputs", "sentence"),
    [
        (["age", "foreign"], (), "the model wants columns that the data doesn't have: foreign"),
        (
            ["age", "foreign"],
            ("age", "foreign"),
            "the model's signature wants columns that the data doesn't have: foreign",
        ),
        (None, (), "the model was trained on 2 columns without names, and the data has 4"),
    ],
)
def test_missing_columns_are_named(sandbox, save, frame, labels, fit_on, inputs, sentence) -> None:
    train = frame[fit_on] if fit_on else frame[["age", "foreign"]].to_numpy(float)
    subject = save(LogisticRegression().fit(train, labels), inputs=inputs)
    with pytest.raises(SandboxError, match=sentence) as caught:
        sandbox.predict(subject, frame.drop(columns="foreign"))
    assert caught.value.subject == "credit"
    assert caught.value.remedy


def test_missing_module_is_named_with_the_versions_that_the_model_wants(sandbox, save, frame) -> None:
    code = pickle.dumps(LogisticRegression()).replace(
        b"sklearn.linear_model._logistic", b"sklearnx.inear_model._logistic"
    )
    subject = save(code, environment={"sklearnx": "9.9"})
    with pytest.raises(
        SandboxError, match="could not be loaded: ModuleNotFoundError: No module named 'sklearnx'"
    ) as caught:
        sandbox.predict(subject, frame)
    assert "sklearnx 9.9" in caught.value.remedy


def test_flavor_without_a_loader_is_a_load_error(sandbox, save, frame) -> None:
    subject = save(b"{}")
    subject = type(subject)("b", subject.path, subject.digest, subject.files, "nosuchflavor", subject.file, "json")
    with pytest.raises(
        SandboxError, match="could not be loaded: there is no loader for models of flavor 'nosuchflavor'"
    ):
        sandbox.predict(subject, frame)
