"""How long evidence is kept; pandas' calendar is the second opinion."""

from __future__ import annotations

from datetime import date, timedelta

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from venturalitica_agent.domain.retention import retain_until


@given(
    st.dates(date(1990, 1, 1), date(2200, 1, 1)), st.integers(1, 30), st.sampled_from(["day", "week", "month", "year"])
)
def test_it_is_never_shorter_than_the_calendar_says(day: date, count: int, unit: str) -> None:
    until = date.fromisoformat(retain_until(f"{count} {unit}s", f"{day}T10:00:00Z"))
    calendar = (pd.Timestamp(day) + pd.DateOffset(**{f"{unit}s": count})).date()
    # Where a month has no such day, pandas takes its last one and we take the day after it.
    assert until == calendar or (until == calendar + timedelta(days=1) and until.day == 1 and day.day > calendar.day)


@pytest.mark.parametrize(
    ("retain", "until"),
    [
        ("10 years", "2034-03-01"),
        ("1 month", "2024-03-29"),
        ("90 days", "2024-05-29"),
        ("2036-12-31", "2036-12-31"),
    ],
)
def test_examples(retain: str, until: str) -> None:
    assert retain_until(retain, "2024-02-29T23:59:59Z") == until


@pytest.mark.parametrize(
    "retain", ["", "ten years", "0 days", "-1 years", "1000 years", "2036-13-01", "1 year ", "٣ days"]
)
def test_what_is_no_time_is_refused(retain: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        retain_until(retain, "2024-02-29T23:59:59Z")
