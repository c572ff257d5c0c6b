"""What a model is asked in many small batches, it answers as if it were asked about the whole table."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder

from venturalitica_agent.domain.job import AuditTask
from venturalitica_agent.domain.run import LoggedModel
from venturalitica_agent.domain.subject import ColumnBinding, DataPlan, DataRef, Predictions
from venturalitica_agent.domain.verdict import Measurement, Unmeasured
from venturalitica_agent.errors import SandboxError
from venturalitica_agent.fetch import parquet_batches
from venturalitica_agent.fetch.cache import Cache
from venturalitica_agent.fetch.tables import read_batches, read_table, readable_columns
from venturalitica_agent.measuring import measure_run
from venturalitica_agent.policy import parse_policy
from venturalitica_agent.sandbox.handoff import Features
from venturalitica_agent.sandbox.launcher import Sandbox
from venturalitica_agent.stores.memory import MemoryStore, finished

SMALL = 7
TEXT, NUMBERS = ["housing", "purpose"], ["age", "amount", "foreign"]


@pytest.fixture(scope="module")
def table(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows sorted by their class, so that the first batches hold one class only, and other text than the last ones."""
    kind = np.where(frame["age"] + (frame["housing"] == "own") * 20 > 55, "good", "bad")
    return frame.assign(y=kind, price=frame["age"] * 1.5).sort_values(["y", "housing"], ignore_index=True)


@pytest.fixture
def stored(table: pd.DataFrame, tmp_path: Path) -> Path:
    """The table as parquet, in pieces that don't fit the batches."""
    table.to_parquet(tmp_path / "t.parquet", row_group_size=11)
    return tmp_path / "t.parquet"


def features_of(path: Path, rows: int) -> Features:
    columns = [c for c in readable_columns(path, "parquet") if c not in ("y", "price")]
    return Features(tuple(columns), 100, partial(read_batches, path, "parquet", rows=rows))


def pipeline(model: Any) -> Pipeline:
    columns = [("text", OneHotEncoder(handle_unknown="ignore"), TEXT), ("numbers", SimpleImputer(), NUMBERS)]
    return make_pipeline(ColumnTransformer(columns), model)


def told(answer: Predictions) -> list[Any]:
    assert answer.values is not None
    assert answer.codes is not None
    return [answer.values[code] for code in answer.codes]


def test_text_classes_and_scores_are_those_of_the_whole_table(sandbox, save, table, stored) -> None:
    """The first batches know one class, the last ones the other: the codes of all batches mean the same."""
    model = pipeline(RandomForestClassifier(n_estimators=5, random_state=0)).fit(table[TEXT + NUMBERS], table["y"])
    answer = sandbox.predict(save(model), features_of(stored, SMALL))
    assert told(answer) == model.predict(table[TEXT + NUMBERS]).tolist()
    assert told(answer)[:SMALL] == ["bad"] * SMALL
    assert answer.score_classes == ("bad", "good")
    np.testing.assert_array_equal(answer.scores, model.predict_proba(table[TEXT + NUMBERS]))


def test_numbers_of_a_regression_are_those_of_the_whole_table(sandbox, save, table, stored) -> None:
    model = pipeline(RandomForestRegressor(n_estimators=5, random_state=0)).fit(table[TEXT + NUMBERS], table["price"])
    answer = sandbox.predict(save(model, inputs=(*TEXT, *NUMBERS)), features_of(stored, SMALL))
    np.testing.assert_array_equal(answer.numbers, model.predict(table[TEXT + NUMBERS]))


class _Echo:
    """Answers each row with the types and the row as it was given."""

    def __init__(self, columns: list[str]) -> None:
        self.feature_names_in_ = columns

    def predict(self, given: pd.DataFrame) -> list[str]:
        kinds = {
            c: str(
                getattr(given[c], "cat", given[c]).categories.tolist()
                if given[c].dtype == "category"
                else given[c].dtype
            )
            for c in given
        }
        return [f"{kinds} {row}"[:250] for row in given.astype(object).where(given.notna(), None).to_dict("records")]


def test_every_batch_has_the_types_of_the_whole_table(sandbox, save, tmp_path) -> None:
    """Whole numbers and booleans with a gap somewhere, types of pandas, categories that differ by batch."""
    table = pd.DataFrame(
        {
            "gap": [1, 2, 3, None],
            "whole": pd.array([1, 2, 3, None], dtype="Int64"),
            "flag": pd.Series([True, False, True, None], dtype=object),
            "kind": pd.Categorical(["x", "x", "y", "z"]),
            "text": [None, None, "b", "c"],
            "day": pd.to_datetime([None, None, "2026-01-03", "2026-01-04"]),
        }
    )
    path = tmp_path / "t.parquet"
    table.to_parquet(path, row_group_size=2)
    cloudpickle.register_pickle_by_value(__import__("sys").modules[__name__])
    model = save(cloudpickle.dumps(_Echo(list(table))), form="cloudpickle")
    pieces = Features(tuple(table), 4, partial(read_batches, path, "parquet", rows=1))
    at_once = Features.of(read_table(path, "parquet"))
    assert told(sandbox.predict(model, pieces)) == told(sandbox.predict(model, at_once))


def test_model_that_answers_another_number_of_rows_in_some_batch_is_refused(sandbox, save, stored) -> None:
    """Also when the rows that it leaves out and those that it makes up balance each other."""

    class Shifting:
        feature_names_in_ = ("age",)
        asked = 0

        def predict(self, given):
            self.asked += 1
            return np.array([1] * (len(given) + {1: 1, 2: -1}.get(self.asked, 0)))

    model = save(cloudpickle.dumps(Shifting()), form="cloudpickle")
    with pytest.raises(SandboxError, match="predictions have 8 rows, 7 expected"):
        sandbox.predict(model, features_of(stored, SMALL))


# -- the whole of measuring ----------------------------------------------------------------------------------------
POLICY = """
policy: pieces
version: 1
controls:
  - {id: accuracy, metric: accuracy, require: ">= 0.5"}
  - {id: auc, metric: roc_auc, require: ">= 0.5"}
  - {id: impact, metric: disparate_impact, role: housing, require: ">= 0.1"}
  - {id: complete, metric: data_completeness, require: ">= 0.5"}
  - {id: repeats, metric: duplicate_rows, require: "<= 0.5"}
"""
BOUND = {"target": "y", "housing": "housing"}
Measure = Callable[..., dict[str, Measurement | Unmeasured]]


@pytest.fixture
def measured(sandbox: Sandbox, tmp_path: Path) -> Measure:
    """What measuring finds on the bytes of a parquet file with a model, by control."""

    def under(content: bytes, model: Any, policy_text: str = POLICY) -> dict[str, Measurement | Unmeasured]:
        store = MemoryStore()
        run = store.add(
            finished("r", models=(LoggedModel("model", "memory:/model", model_id="m"),)),
            {"test.parquet": content},
            {"m": {"model.pkl": pickle.dumps(model) if not isinstance(model, bytes) else model}},
        )
        columns = {
            r: ColumnBinding(r, c, "declared", positive="good" if r == "target" else None) for r, c in BOUND.items()
        }
        policy = parse_policy(policy_text.encode(), "pieces.yaml")
        task = AuditTask("p", policy.digest, DataPlan({"evaluation": DataRef("artifact", "test.parquet")}, columns))
        _, results, _ = measure_run(task, policy, run, store, Cache(tmp_path / "cache"), sandbox, roots=[])
        return {result.control: result for result in results}

    return under


def as_parquet(table: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.to_parquet(buffer, row_group_size=11)
    return buffer.getvalue()


def test_findings_do_not_depend_on_the_size_of_batches(measured, table, monkeypatch) -> None:
    """To the last bit; and with the columns that are bound alone, where no control looks at whole rows."""
    model = pipeline(LogisticRegression(max_iter=2000)).fit(table[TEXT + NUMBERS], table["y"])
    at_once = measured(as_parquet(table), model)
    assert all(isinstance(result, Measurement) for result in at_once.values())
    monkeypatch.setattr(parquet_batches, "_BATCH_CELLS", 30)
    bound_only = POLICY[: POLICY.index("  - {id: repeats")]
    in_pieces = measured(as_parquet(table), model, bound_only)
    assert in_pieces == {name: result for name, result in at_once.items() if name != "repeats"}


def test_model_never_sees_outcomes(measured, table) -> None:
    """Neither the truth nor logged predictions are in the file that goes into the sandbox."""

    class Cheat:
        feature_names_in_ = ("y",)
        classes_ = ("bad", "good")

        def predict(self, given):
            return given["y"].to_numpy()

    found = measured(as_parquet(table), cloudpickle.dumps(Cheat()))
    assert "the model wants columns that the data doesn't have: y" in found["accuracy"].reason


def test_table_too_large_to_be_held_is_measured_by_column_and_by_row(measured, table, monkeypatch) -> None:
    from venturalitica_agent.fetch import parquet

    model = pipeline(LogisticRegression(max_iter=2000)).fit(table[TEXT + NUMBERS], table["y"])
    monkeypatch.setattr(parquet, "MAX_CELLS", 300)
    found = measured(as_parquet(table), model)
    assert [result for result in found.values() if isinstance(result, Unmeasured)] == []
    assert found["repeats"].value == table.duplicated().mean()
