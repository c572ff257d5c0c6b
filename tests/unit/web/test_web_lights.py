"""Traffic lights: no default is green, and the weeks of a trend are whole ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venturalitica_agent.domain.verdict import Status, worst
from venturalitica_agent.state.reading import Tally
from venturalitica_agent.web.lights import WEEKS, experiments, last_weeks, light
from venturalitica_agent.web.model import Light

EXPECTED = {
    Status.ERROR: Light.RED,
    Status.FAIL: Light.RED,
    Status.INCONCLUSIVE: Light.AMBER,
    Status.WARN: Light.AMBER,
    Status.PASS: Light.GREEN,
    Status.SKIP: Light.GREY,
}


@pytest.mark.parametrize("size", range(len(Status) + 1))
def test_a_light_is_as_bad_as_the_worst_verdict(size: int) -> None:
    for statuses in combinations(Status, size):
        assert light(dict.fromkeys(statuses, 1)) is EXPECTED[worst(statuses)], statuses


def test_statuses_that_no_run_has_light_nothing() -> None:
    assert light({}) is Light.GREY
    assert light({"pass": 0, "fail": 0}) is Light.GREY


@given(st.floats(0, 4e9))
def test_the_weeks_are_eight_mondays_of_utc_and_the_last_one_is_this_week(now: float) -> None:
    weeks = last_weeks(now)
    days = [datetime.fromtimestamp(start, UTC) for start in weeks]
    assert len(weeks) == WEEKS
    assert all((day.weekday(), day.hour, day.minute, day.second) == (0, 0, 0, 0) for day in days)
    assert all(after - before == timedelta(days=7) for before, after in pairwise(days))
    assert weeks[-1] <= now < weeks[-1] + 7 * 86_400


def test_an_experiment_has_its_newest_name_and_each_policy_its_own_light_and_date() -> None:
    weeks = last_weeks(1_700_000_000)
    tallies = [
        Tally("s", "1", "old name", "fair", "pass", -1, 3, 10.0),
        Tally("s", "1", "new name", "fair", "pass", 7, 2, 30.0),
        Tally("s", "1", "new name", "strict", "fail", 6, 1, 20.0),
    ]
    found = experiments(tallies, ["2"], weeks, lambda experiment: f"/{experiment}")
    assert [(one.id, one.name, one.light, one.link) for one in found] == [
        ("2", "2", Light.GREY, "/2"),
        ("1", "new name", Light.RED, "/1"),
    ]
    fair, strict = found[1].policies
    assert (fair.light, fair.as_of, fair.counts) == (Light.GREEN, 30.0, {"pass": 5})
    assert [week.counts for week in fair.trend] == [{}] * 7 + [{"pass": 2}]
    assert (strict.light, strict.as_of) == (Light.RED, 20.0)
