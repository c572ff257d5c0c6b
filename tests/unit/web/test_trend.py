"""The picture of the last weeks says the numbers that it is made of."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from venturalitica_agent.web.model import Week
from venturalitica_agent.web.trend import totals, trend_picture

STATUSES = ("pass", "fail", "error", "warn", "inconclusive", "skip")
COUNTS = st.dictionaries(st.sampled_from(STATUSES), st.integers(min_value=1, max_value=10_000))
WEEKS = st.lists(COUNTS, max_size=8).map(
    lambda all_: tuple(Week(start=float(i), counts=counts) for i, counts in enumerate(all_))
)


@given(WEEKS)
@settings(max_examples=50, deadline=None)
def test_heights_are_in_proportion_to_the_verdicts(weeks: tuple[Week, ...]) -> None:
    picture = ElementTree.fromstring(trend_picture(weeks))
    told = totals(weeks)
    sums = [(w.counts.get("pass", 0), w.counts.get("fail", 0) + w.counts.get("error", 0)) for w in weeks]
    opened = [w.counts.get("warn", 0) + w.counts.get("inconclusive", 0) for w in weeks]
    most = max([1, *(p + o for (p, _), o in zip(sums, opened, strict=True)), *(f for _, f in sums)])
    drawn = {"passed": 0.0, "failed": 0.0}
    for bar in picture.iter("rect"):
        kind, y, height = bar.get("class", ""), float(bar.get("y", "")), float(bar.get("height", ""))
        assert y >= 0
        assert 17 <= y + height <= 34 if kind == "failed" else y <= 17
        drawn[kind] = drawn.get(kind, 0.0) + height
    assert told == {"passed": sum(p for p, _ in sums), "open": sum(opened), "failed": sum(f for _, f in sums)}
    for kind in ("passed", "failed"):
        assert abs(drawn[kind] - told[kind] * 15 / most) <= 0.005 * len(weeks) + 1e-9


def test_a_picture_holds_no_style_and_no_text() -> None:
    picture = trend_picture((Week(start=0.0, counts={"pass": 1, "fail": 2, "warn": 1}),))
    assert not re.search("style|<text|on[a-z]+=", picture)
    assert 'aria-hidden="true"' in picture


def test_weeks_without_verdicts_keep_their_place() -> None:
    weeks = (Week(start=0.0, counts={}), Week(start=1.0, counts={"pass": 1}))
    (bar,) = ElementTree.fromstring(trend_picture(weeks)).iter("rect")
    assert bar.get("x") == "12"
