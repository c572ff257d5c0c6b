"""How the interval of a user's metric is made: from resamples, or not at all."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from venturalitica_agent.sandbox.metric_worker import resampled

RNG = np.random.default_rng(4)
GIVEN = {"labels": RNG.choice(["good", "bad"], 500), "predictions": RNG.choice(["good", "bad"], 500)}
JOB: dict[str, Any] = {"seed": 11, "levels": [0.9, 0.99]}


def agreement(part: dict[str, Any]) -> float:
    return float((part["labels"] == part["predictions"]).mean())


@pytest.mark.parametrize("of_counts", [False, True])
def test_a_share_gets_the_interval_of_a_share(of_counts: bool) -> None:
    """Rows drawn again, and counts drawn again, both give the normal interval of a proportion."""
    value = agreement(GIVEN)
    ends, note = resampled(agreement, GIVEN, value, JOB, of_counts)
    spread = math.sqrt(value * (1 - value) / 500)
    for (low, high), z in zip(ends, (1.645, 2.576), strict=True):
        assert (low, high) == pytest.approx((value - z * spread, value + z * spread), abs=0.4 * spread)
    assert note == ""
    assert resampled(agreement, GIVEN, value, JOB, of_counts)[0] == ends


def test_the_interval_always_holds_the_value() -> None:
    """The maximum of a resample never exceeds that of the rows."""
    numbers = {"truth": RNG.normal(0, 1, 200)}
    largest = float(numbers["truth"].max())
    ((low, high),), _ = resampled(lambda part: part["truth"].max(), numbers, largest, JOB | {"levels": [0.9]}, False)
    assert low < high == largest


def test_resamples_without_a_value_are_counted_and_too_many_leave_nothing_known() -> None:
    calls = iter(range(10_000))

    def often(part: dict[str, Any]) -> float:
        return math.nan if next(calls) % 5 == 0 else agreement(part)

    def seldom(part: dict[str, Any]) -> float:
        if next(calls) % 50 == 0:
            raise ZeroDivisionError
        return agreement(part)

    ends, note = resampled(often, GIVEN, 0.5, JOB, False)
    assert ends == [(-math.inf, math.inf)] * 2
    assert note == "200 of 1000 resamples have no value, so the interval is unknown"
    ends, note = resampled(seldom, GIVEN, 0.5, JOB, False)
    assert all(math.isfinite(end) for pair in ends for end in pair)
    assert note == "20 of 1000 resamples have no value and were left out"
