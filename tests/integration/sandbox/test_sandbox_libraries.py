"""The libraries beside scikit-learn work inside the sandbox, under its limits, and a packed bomb ends in a finding."""

from __future__ import annotations

import gzip
from io import BytesIO

import joblib
import lightgbm
import numpy as np
import pytest
import xgboost
from skl2onnx import to_onnx
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from venturalitica_agent.errors import SandboxError


@pytest.fixture(scope="module")
def table(frame):
    numbers = frame[["age", "amount"]].fillna(0).astype("float32")
    return numbers.assign(housing=frame["housing"].to_numpy(dtype=object))


def assert_same(answer, labels, scores) -> None:
    assert [answer.values[code] for code in answer.codes] == np.asarray(labels).tolist()
    np.testing.assert_allclose(answer.scores, scores, rtol=1e-5, atol=1e-6)


def test_lightgbm_classifier_in_a_packed_joblib_file(sandbox, save, table, labels) -> None:
    numbers = table[["age", "amount"]]
    model = lightgbm.LGBMClassifier(n_estimators=20, verbose=-1).fit(numbers, labels)
    buffer = BytesIO()
    joblib.dump(model, buffer, compress=("zlib", 3))
    answer = sandbox.predict(save(buffer.getvalue(), file="m.joblib", form="joblib"), table[table.columns[::-1]])
    assert_same(answer, model.predict(numbers), model.predict_proba(numbers))


def test_native_xgboost_file(sandbox, save, tmp_path, table, labels) -> None:
    numbers, zero_one = table[["age", "amount"]], (labels == "good").astype(int)
    model = xgboost.XGBClassifier(n_estimators=20).fit(numbers, zero_one)
    model.save_model(tmp_path / "m.ubj")
    subject = save((tmp_path / "m.ubj").read_bytes(), file="m.ubj", form="ubj", flavor="xgboost")
    assert_same(sandbox.predict(subject, table), model.predict(numbers), model.predict_proba(numbers))


def test_onnx_file_with_text_and_numbers(sandbox, save, table, labels) -> None:
    columns = [("n", StandardScaler(), ["age", "amount"]), ("t", OneHotEncoder(), ["housing"])]
    model = Pipeline([("columns", ColumnTransformer(columns)), ("model", LogisticRegression())]).fit(table, labels)
    content = to_onnx(model, table[:1]).SerializeToString()
    answer = sandbox.predict(save(content, file="m.onnx", form="onnx", flavor="onnx"), table.assign(extra=1))
    assert_same(answer, model.predict(table), model.predict_proba(table))


def test_packed_file_that_unpacks_to_gigabytes_is_a_finding(sandbox, save, table) -> None:
    """A valid pickle of 64 x 32 MiB of zeros, packed into 2 MB, meets the sandbox's memory limit."""
    chunk = gzip.compress(b"\x8e" + (32 << 20).to_bytes(8, "little") + bytes(32 << 20) + b"a")
    content = gzip.compress(b"\x80\x04]") + 64 * chunk + gzip.compress(b".")
    assert len(content) < 4 << 20
    with pytest.raises(SandboxError, match="ran out of memory"):
        sandbox.predict(save(content, file="m.joblib", form="joblib"), table)
