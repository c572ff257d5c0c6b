"""A picture says what the finding says, in shapes and words, whatever the groups are called."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from venturalitica_agent.attest.picture import MOST_GROUPS, group_picture
from venturalitica_agent.domain.metric import METRICS
from venturalitica_agent.domain.verdict import Finding, GroupStat, Interval, Measurement, Status
from venturalitica_agent.language import language
from venturalitica_agent.web.model import FindingView, GroupRow

EN, ES = language("en"), language("es")
SVG = "{http://www.w3.org/2000/svg}"
LOOKS = {"fill", "stroke", "opacity", "font-size", "font-weight", "font-family", "text-anchor", "stroke-width"}
LOOKS |= {"class", "role", "viewBox", "width", "height", "x", "y", "d", "cx", "cy", "r", "stroke-dasharray"}


def stat(name: str, n: int, rate: float, **more: object) -> GroupStat:
    interval = Interval(max(0.0, rate - 0.1), min(1.0, rate + 0.1), 0.95, "Wilson score")
    return replace(GroupStat(name, n, rate, round(rate * n), n, interval), **more)  # type: ignore[arg-type]


def finding(
    *groups: GroupStat, metric: str = "disparate_impact", require: str = ">= 0.8", value: float = 0.5
) -> Finding:
    interval = Interval(value - 0.1, value + 0.1, 0.95, "Katz log ratio")
    measured = Measurement(
        "impact", metric, value, interval, 300, groups, "selection rate", groups[0].group if groups else None
    )
    return Finding("impact", Status.FAIL, "…", metric, require=require, measurement=measured)


def parsed(svg: str) -> ElementTree.Element:
    """The picture, if it is one that a page with a strict policy on content may hold."""
    root = ElementTree.fromstring(svg)
    for element in root.iter():
        assert element.tag.removeprefix(SVG) in {"svg", "title", "desc", "g", "path", "rect", "circle", "text"}
        assert set(element.attrib) <= LOOKS, element.attrib
        for look in ("fill", "stroke"):
            assert element.get(look, "none") in ("none", "currentColor")
    return root


def words(svg: str) -> list[str]:
    return [element.text or "" for element in parsed(svg).iter(f"{SVG}text")]


PAIR = (stat("women", 100, 0.3), stat("men", 200, 0.6))


def test_each_group_has_its_name_rows_and_rate() -> None:
    svg = group_picture(finding(*PAIR), EN)
    told = words(svg)
    for word in ("women", "men", "n=100", "n=200", "0.300 (0.200 – 0.400)", "0.600 (0.500 – 0.700)", "required ≥ 0.8"):
        assert word in told
    assert "the group worst off would need ≥ 0.48" in told  # 0.8 of the best rate
    assert parsed(svg).findtext(f"{SVG}title") == "impact: Ratio of the lowest to the highest selection rate"
    assert "women: 0.300 (0.200 – 0.400), n=100, reference group" in (parsed(svg).findtext(f"{SVG}desc") or "")


def test_spanish_readers_get_spanish_words_and_commas() -> None:
    told = words(group_picture(finding(*PAIR), ES))
    assert "Tasa de selección" in told
    assert "0,300 (0,200 – 0,400)" in told
    assert "el grupo más desfavorecido necesitaría ≥ 0,48" in told


def test_the_reference_is_a_square_and_what_is_not_compared_is_hollow_with_its_reason() -> None:
    small = stat("few", 7, 0.9, compared=False, reason="n=7 < 30")
    svg = group_picture(finding(*PAIR, small), ES)
    root = parsed(svg)
    squares = [r for r in root.iter(f"{SVG}rect") if r.get("width") == "9"]
    hollow = [c for c in root.iter(f"{SVG}circle") if c.get("fill") == "none"]
    filled = [c for c in root.iter(f"{SVG}circle") if c.get("fill") is None]
    assert (len(squares), len(hollow), len(filled)) == (1, 1, 2)  # the value and one compared group
    assert "sin comparar: n=7 < 30" in words(svg)


def test_a_dot_stands_where_its_value_is_on_the_scale() -> None:
    root = parsed(group_picture(finding(*PAIR), EN))
    low, high = (
        float(next(iter(mark))) for mark in ([r.get("x", "") for r in root.iter(f"{SVG}rect") if r.get("width") == "9"],
                                           [c.get("cx", "") for c in root.iter(f"{SVG}circle")][1:])
    )  # fmt: skip
    whiskers = [p.get("d", "") for p in root.iter(f"{SVG}path") if "M" in p.get("d", "")[1:]]
    ends = [sorted((float(d[1:].split(" ")[0]), float(d.split("H")[1].split("M")[0]))) for d in whiskers]
    assert ends[1][0] < low + 4.5 < ends[1][1] < high < ends[2][1]
    assert low + 4.5 == pytest.approx(sum(ends[1]) / 2, abs=0.2)


def test_many_groups_are_cut_to_the_ones_that_matter() -> None:
    groups = [stat(f"group {place}", 50, 0.5) for place in range(60)]
    groups[40], groups[55] = stat("lowest", 50, 0.2), stat("highest", 50, 0.8)
    svg = group_picture(finding(*groups), EN)
    told = words(svg)
    assert {"lowest", "highest", "group 0"} <= set(told)
    assert sum(word.startswith("n=") for word in told) == MOST_GROUPS + 1
    assert f"and {60 - MOST_GROUPS} more in evidence.json" in told
    assert len(svg) < 12_000


def test_a_value_of_the_whole_table_is_one_row() -> None:
    told = words(group_picture(finding(metric="accuracy", value=0.75), EN))
    assert "0.750 (0.650 – 0.850)" in told
    assert not any(word.startswith("and ") for word in told)


def test_the_smallest_group_is_drawn_by_its_rows() -> None:
    groups = (GroupStat("a", 20, None), GroupStat("b", 90, None))
    told = words(group_picture(finding(*groups, metric="min_group_n", require=">= 30", value=20.0), ES))
    assert told.count("se exige ≥ 30") == 2
    assert "90" in told


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nothing_is_drawn_of_what_is_no_number(value: float) -> None:
    assert group_picture(finding(*PAIR, value=value), EN) == ""
    assert group_picture(replace(finding(*PAIR), measurement=None), EN) == ""


def view(given: Finding) -> FindingView:
    measured = given.measurement
    assert measured is not None
    rows = tuple(
        GroupRow(
            group=g.group,
            n=g.n,
            value=g.value,
            numerator=g.numerator,
            denominator=g.denominator,
            low=g.interval.low if g.interval else None,
            high=g.interval.high if g.interval else None,
            compared=g.compared,
            reason=g.reason,
        )
        for g in measured.groups
    )
    return FindingView(
        control=given.control,
        status=given.status.value,
        would_be="",
        sentence="",
        remedy="",
        metric=given.metric,
        require=given.require,
        article="",
        severity="",
        enforcement="",
        decided_on="",
        value=measured.value,
        low=measured.interval.low,
        high=measured.interval.high,
        level=0.95,
        method="",
        n=measured.n,
        rate=measured.rate,
        reference=measured.reference or "",
        groups=rows,
        notes=(),
        waived="",
    )


finite = st.floats(allow_nan=True, allow_infinity=True)
stats = st.builds(
    lambda name, n, value, low, high, compared: GroupStat(
        name, n, value, None, None, Interval(low, high, 0.95, "x"), compared, "n=1 < 2 & <odd>"
    ),
    st.text(max_size=60),
    st.integers(0, 10**9),
    st.one_of(st.none(), finite),
    finite,
    finite,
    st.booleans(),
)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(stats, max_size=15),
    st.sampled_from(sorted(METRICS)),
    st.sampled_from([">= 0.8", "< 1e+300", "== 0", ""]),
    finite,
)
def test_any_finding_makes_a_whole_picture_from_both_kinds_of_document(
    groups: list[GroupStat], metric: str, require: str, value: float
) -> None:
    given_ = finding(*groups, metric=metric, require=require, value=value)
    svg = group_picture(given_, ES)
    assert svg == group_picture(view(given_), ES)
    if svg:
        assert "nan" not in "".join(element.get("d", "") for element in parsed(svg).iter())
