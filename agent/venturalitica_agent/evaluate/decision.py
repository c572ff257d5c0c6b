"""DESIGN's decision rule, bare: what an interval or a value says about a requirement."""

from __future__ import annotations

import math

from venturalitica_agent.domain.policy import Op, Requirement
from venturalitica_agent.domain.verdict import Status


def by_interval(require: Requirement, low: float, high: float) -> Status:
    """`pass` when the whole closed interval satisfies the requirement, `fail` when all of it violates it.

    `==` and `!=` are decided by an interval of one point only. An end that isn't a number decides nothing.
    """
    if math.isnan(low) or math.isnan(high):
        return Status.INCONCLUSIVE
    if require.op in (Op.EQ, Op.NE) and low != high:
        return Status.INCONCLUSIVE
    held = {require.op.holds(end, require.threshold) for end in (low, high)}
    if held == {True}:
        return Status.PASS
    return Status.FAIL if held == {False} else Status.INCONCLUSIVE


def by_point(require: Requirement, value: float) -> Status:
    """`pass` or `fail`: the rule of thumb that ignores how sure the value is."""
    return Status.PASS if require.op.holds(value, require.threshold) else Status.FAIL
