"""Whether the rules were there before the run: two times compared, and nothing guessed."""

from __future__ import annotations

import pytest
from evaluate_tables import control_of

from venturalitica_agent.domain.verdict import Measurement, Status, Unmeasured
from venturalitica_agent.evaluate.background import Background
from venturalitica_agent.evaluate.judge import decide
from venturalitica_agent.evaluate.measure import measure
from venturalitica_agent.evaluate.sample import sample_of_audit

CONTROL = control_of("policy_predates_run", ">= 1", role=None)


@pytest.mark.parametrize(
    ("since", "started", "status"),
    [
        (100.0, 100_001, Status.PASS),
        (100.0, 100_000, Status.FAIL),
        (100.0005, 100_000, Status.FAIL),
        (99.9995, 100_000, Status.PASS),
        (100.0, -(2**62), Status.FAIL),
        (100.0, 2**62, Status.PASS),
    ],
)
def test_the_version_must_be_on_record_before_the_start(since: float, started: int, status: Status) -> None:
    found = measure(CONTROL, sample_of_audit(Background(since=since, started=started)))
    assert isinstance(found, Measurement)
    assert decide(CONTROL, found) is status
    assert found.interval.low == found.interval.high == found.value
    assert "1970-01-01T00:01:" in found.notes[0]


@pytest.mark.parametrize(("since", "started"), [(None, 1), (1.0, None)])
def test_without_both_times_nothing_is_said(since: float | None, started: int | None) -> None:
    found = measure(CONTROL, sample_of_audit(Background(since=since, started=started)))
    assert isinstance(found, Unmeasured)
    assert found.remedy
