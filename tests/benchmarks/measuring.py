"""What measuring costs: twenty metrics with intervals over a million rows and three group roles, beside fairlearn."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import pandas as pd

from venturalitica_agent.domain.metric import METRICS, Need
from venturalitica_agent.domain.policy import Control, Op, Requirement
from venturalitica_agent.domain.subject import ColumnBinding, Predictions, Subject
from venturalitica_agent.domain.verdict import Measurement
from venturalitica_agent.evaluate.measure import measure
from venturalitica_agent.evaluate.sample import build_sample

T = TypeVar("T")
ROWS, SAMPLED = 1_000_000, (20_000, 80_000)
ROLES = {"sex": 2, "region": 5, "band": 6}
WHOLE = ("accuracy", "balanced_accuracy", "precision", "recall", "f1", "f1_macro", "mcc", "class_imbalance")
GROUPED = ("disparate_impact", "equal_opportunity_diff", "equalized_odds_diff", "worst_group_accuracy")  # per role


def table(rows: int) -> tuple[pd.DataFrame, Predictions]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, rows)
    score = np.clip(rng.normal(0.4 + 0.2 * y, 0.2), 0, 1)
    frame = pd.DataFrame({"y": y, **{role: rng.integers(0, n, rows) for role, n in ROLES.items()}})
    codes = (score > 0.5).astype(np.int64)
    return frame, Predictions(rows, (0, 1), codes, scores=np.column_stack([1 - score, score]), score_classes=(0, 1))


def measuring() -> None:
    """Prints processor seconds of ours, by part, and of fairlearn's MetricFrame on samples, scaled to as many rows."""
    frame, predictions = table(ROWS)
    roles = {"target": "y", **{role: role for role in ROLES}}
    subject = Subject(binding={role: ColumnBinding(role, column, "declared") for role, column in roles.items()})
    building, sample = _timed(lambda: build_sample(frame, subject, predictions))
    controls = [Control(name, name, Requirement(Op.GE, 0.5)) for name in WHOLE]
    controls += [
        Control(f"{name}-{role}", name, Requirement(Op.GE, 0.5), role=role) for name in GROUPED for role in ROLES
    ]
    counting, results = _timed(lambda: [measure(control, sample) for control in controls])
    assert all(isinstance(result, Measurement) for result in results)
    scored = [
        n for n, s in METRICS.items() if s.needs & {Need.SCORES, Need.PROBABILITIES} and Need.GROUPS not in s.needs
    ]
    scoring = {
        name: _timed(lambda name=name: measure(Control(name, name, Requirement(Op.GE, 0.5)), sample))[0]
        for name in scored
    }
    print(
        f"measuring, {ROWS:,} rows, groups 2x5x6, processor time: {len(controls)} metrics of counts with intervals "
        f"{counting:.2f} s (reading the columns as codes {building:.2f} s); "
        f"of scores, each: {', '.join(f'{name} {seconds:.2f} s' for name, seconds in scoring.items())}"
    )
    few, many = (_fairlearn(*table(rows)) for rows in SAMPLED)
    whole = many + (many - few) / (SAMPLED[1] - SAMPLED[0]) * (ROWS - SAMPLED[1])
    print(
        f"fairlearn's MetricFrame, six rates by group, no intervals: {few:.2f} s for {SAMPLED[0]:,} rows, {many:.2f} s "
        f"for {SAMPLED[1]:,}; on that line {whole:.0f} s for {ROWS:,}"
    )


def _fairlearn(frame: pd.DataFrame, predictions: Predictions) -> float:
    from fairlearn import metrics as fairlearn
    from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

    functions = {
        "accuracy": accuracy_score,
        "precision": precision_score,
        "recall": recall_score,
        "f1": f1_score,
        "selection": fairlearn.selection_rate,
        "fpr": fairlearn.false_positive_rate,
    }

    def all_roles() -> None:
        for role in ROLES:
            found = fairlearn.MetricFrame(
                metrics=functions,
                y_true=frame["y"],
                y_pred=np.asarray(predictions.codes),
                sensitive_features=frame[role],
            )
            found.difference(), found.ratio()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _timed(all_roles)[0]


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    began = time.process_time()
    result = work()
    return time.process_time() - began, result
