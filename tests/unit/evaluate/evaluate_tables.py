"""Small tables, bindings and controls for the tests of measuring and judging."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from venturalitica_agent.domain.policy import Control, Op, Outcome, Policy, Requirement
from venturalitica_agent.domain.subject import ColumnBinding, Predictions, Problem, Subject
from venturalitica_agent.domain.verdict import Measurement, Unmeasured
from venturalitica_agent.evaluate.measure import measure
from venturalitica_agent.evaluate.sample import Sample, build_sample


def bound(role: str, column: str | None = None, **how: Any) -> ColumnBinding:
    return ColumnBinding(role, column or role, "declared", **how)


def sample_of(
    frame: pd.DataFrame,
    *,
    predictions: Predictions | None = None,
    positive: Any = None,
    groups: Mapping[str, Any] | None = None,
    bins: tuple[float, ...] = (),
    problems: Mapping[str, Problem] | None = None,
    more: Sequence[ColumnBinding] = (),
) -> Sample:
    """A sample of a table whose columns are y (labels), p (predictions), s (scores), g (groups), where it has them."""
    bindings = [
        bound("target", "y", positive=positive),
        bound("prediction", "p"),
        bound("score", "s"),
        bound("group", "g", groups=groups or {}, bins=bins),
    ]
    kept = {b.role: b for b in (*bindings, *more) if b.column in frame.columns or b in more}
    return build_sample(frame, Subject(binding=kept, problems=problems or {}), predictions)


def control_of(metric: str, require: str = ">= 0.8", **fields: Any) -> Control:
    op, threshold = require.split()
    defaults: dict[str, Any] = {"role": "group", "min_group": 1} | fields
    return Control(defaults.pop("id", f"c-{metric}"), metric, Requirement(Op(op), float(threshold)), **defaults)


def value_of(metric: str, sample: Sample, **fields: Any) -> float:
    result = measure(control_of(metric, **fields), sample)
    assert isinstance(result, Measurement), result
    return result.value


def reason_of(metric: str, sample: Sample, **fields: Any) -> str:
    """Why it is not measured, with what to do."""
    result = measure(control_of(metric, **fields), sample)
    assert isinstance(result, Unmeasured), result
    return f"{result.reason} | {result.remedy}"


def answered(values: Sequence[Any], classes: Sequence[Any], scores: np.ndarray | None = None) -> Predictions:
    """A model's answer, as the sandbox hands it over."""
    distinct = tuple(dict.fromkeys(values))
    codes = np.array([distinct.index(v) for v in values], dtype=np.int64)
    return Predictions(len(codes), distinct, codes, scores=scores, score_classes=tuple(classes))


def policy_of(*controls: Control) -> Policy:
    return Policy("fair", "1.0.0", "0" * 64, "fair.yaml", b"", controls)


def rates(*groups: tuple[str, int, int]) -> pd.DataFrame:
    """A table with labels y and groups g from (group, selected, rows)."""
    rows = [(name, int(i < selected)) for name, selected, n in groups for i in range(n)]
    return pd.DataFrame(rows, columns=["g", "y"])


LABELS = Outcome.LABELS
