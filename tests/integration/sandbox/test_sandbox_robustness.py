"""Flip rates of real models that are asked again in the sandbox, against the same models asked in this process."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from venturalitica_agent.domain.job import AuditTask
from venturalitica_agent.domain.run import LoggedModel
from venturalitica_agent.domain.subject import ColumnBinding, DataPlan, DataRef
from venturalitica_agent.domain.verdict import Finding, Status
from venturalitica_agent.evaluate.judge import judge
from venturalitica_agent.evaluate.stress import Kind, Stress, disturb
from venturalitica_agent.fetch.cache import Cache
from venturalitica_agent.measuring import measure_run
from venturalitica_agent.policy import parse_policy
from venturalitica_agent.sandbox.launcher import Sandbox
from venturalitica_agent.stores.memory import MemoryStore, finished

POLICY = """
policy: robust
version: 1
controls:
  - {id: noise, metric: flip_rate_noise, require: "<= 0.10", noise: 0.2}
  - {id: gaps, metric: flip_rate_missing, require: "<= 0.10", missing: 0.1}
"""
Audit = Callable[..., dict[str, Finding]]


@pytest.fixture
def audit(sandbox: Sandbox, tmp_path: Path) -> Audit:
    """The findings of a policy on a table and a model, by control."""

    def under(rows: pd.DataFrame, model: Any, *, text: str = POLICY, **bound: str) -> dict[str, Finding]:
        store = MemoryStore()
        run = store.add(
            finished("r", models=(LoggedModel("model", "memory:/model", model_id="m"),)),
            {"test.csv": rows.to_csv(index=False).encode()},
            {"m": {"model.pkl": pickle.dumps(model)}},
        )
        columns = {role: ColumnBinding(role, column, "declared") for role, column in bound.items()}
        policy = parse_policy(text.encode(), "robust.yaml")
        task = AuditTask("robust", policy.digest, DataPlan({"evaluation": DataRef("artifact", "test.csv")}, columns))
        _, results, _ = measure_run(task, policy, run, store, Cache(tmp_path / "cache"), sandbox, roots=[])
        return {finding.control: finding for finding in judge(policy, results).findings}

    return under


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    table = pd.DataFrame({"amount": rng.normal(3000, 900, 600), "rooms": rng.integers(1, 6, 600)})
    return table.assign(
        y=(table["amount"] + 500 * table["rooms"] + rng.normal(0, 400, 600) > 4500).astype(int),
        price=table["amount"] * 2 + table["rooms"] * 800,
    )


INPUTS = ["amount", "rooms"]


def read_back(rows: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The features as the agent has them, and the digest of their file."""
    import hashlib
    import io

    content = rows.to_csv(index=False).encode()
    return pd.read_csv(io.BytesIO(content))[INPUTS], hashlib.sha256(content).hexdigest()


def flips(model: Any, rows: pd.DataFrame, stress: Stress, *, tolerance: float | None = None) -> float:
    """The oracle: the model itself, asked twice."""
    features, digest = read_back(rows)
    found = disturb(features, stress, digest=digest)
    before, after = model.predict(features.iloc[found.rows]), model.predict(found.features)
    if tolerance is None:
        return float(np.mean(before != after))
    return float(np.mean(np.abs(after - before) > tolerance * before.std()))


NOISE, GAPS = Stress(Kind.NOISE, 0.2), Stress(Kind.MISSING, 0.1)


def value(finding: Finding) -> float:
    assert finding.measurement is not None, finding.sentence
    return finding.measurement.value


def test_a_classifier_is_asked_again(audit: Audit, rows: pd.DataFrame) -> None:
    model = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()).fit(rows[INPUTS], rows["y"])
    table = rows[[*INPUTS, "y"]]
    found = audit(table, model, target="y")
    assert value(found["noise"]) == flips(model, table, NOISE) > 0
    assert value(found["gaps"]) == flips(model, table, GAPS) > 0
    assert "Gaussian noise of 0.2 standard deviations" in found["noise"].measurement.notes[0]  # type: ignore[union-attr]


def test_a_model_that_refuses_missing_values_is_an_error_and_not_a_pass(audit: Audit, rows: pd.DataFrame) -> None:
    """The noise is measured all the same. The prediction column is the run's; the model is asked, not the column."""
    model = LogisticRegression(max_iter=5000).fit(rows[INPUTS], rows["y"])
    table = rows[INPUTS].assign(y=rows["y"], answer=0)
    found = audit(table, model, target="y", prediction="answer")
    assert value(found["noise"]) == flips(model, table, NOISE) > 0
    assert found["gaps"].status is Status.ERROR
    assert "asked again about rows with missing numbers, the model gave no predictions" in found["gaps"].sentence
    assert "NaN" in found["gaps"].sentence


def test_a_regression_flips_when_it_moves_by_more_than_the_tolerance(audit: Audit, rows: pd.DataFrame) -> None:
    model = LinearRegression().fit(rows[INPUTS], rows["price"])
    table = rows[[*INPUTS, "price"]]
    found = audit(table, model, text=POLICY.partition("  - {id: gaps")[0], target="price")
    assert value(found["noise"]) == flips(model, table, NOISE, tolerance=0.1) > 0.3
    assert found["noise"].status is Status.FAIL
