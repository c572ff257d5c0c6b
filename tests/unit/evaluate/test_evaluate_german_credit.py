"""The published German Credit numbers, by point as published and by interval as we decide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from evaluate_tables import LABELS, bound, control_of, policy_of

from venturalitica_agent.domain.policy import DecideOn
from venturalitica_agent.domain.subject import Subject
from venturalitica_agent.domain.verdict import Finding, Measurement, Status
from venturalitica_agent.evaluate.judge import judge
from venturalitica_agent.evaluate.measure import measure
from venturalitica_agent.evaluate.sample import Sample, build_sample

CSV = Path(__file__).parents[3] / "examples" / "german_credit" / "german_credit.csv"

PUBLISHED = [
    ("class_imbalance", "> 0.2", None, 0.428571, Status.PASS, Status.PASS),
    ("disparate_impact", "> 0.8", "Attribute9", 0.817910, Status.PASS, Status.INCONCLUSIVE),
    ("disparate_impact", "> 0.5", "Attribute13", 0.285714, Status.FAIL, Status.INCONCLUSIVE),
]


@pytest.fixture(scope="module")
def german() -> Sample:
    bindings = (
        bound("target", "class", positive=1),
        bound("Attribute9"),
        bound("Attribute13"),
        bound("gender", "Attribute9", groups={"male": ("A91", "A93", "A94"), "female": ("A92", "A95")}),
        bound("age", "Attribute13", bins=(25,)),
    )
    return build_sample(pd.read_csv(CSV), Subject(binding={b.role: b for b in bindings}))


def found(sample: Sample, metric: str, require: str, **fields: Any) -> tuple[Measurement, Finding]:
    control = control_of(metric, require, of=LABELS, **fields)
    result = measure(control, sample)
    assert isinstance(result, Measurement)
    return result, judge(policy_of(control), [result]).findings[0]


@pytest.mark.parametrize(("metric", "require", "role", "value", "by_point", "by_interval"), PUBLISHED)
def test_the_published_numbers(
    german: Sample, metric: str, require: str, role: str, value: float, by_point: Status, by_interval: Status
) -> None:
    """Raw ages and four marital groups; groups under 5 rows dropped, as the published table has it."""
    options = {"role": role, "min_group": 5}
    result, finding = found(german, metric, require, decide_on=DecideOn.POINT, **options)
    assert round(result.value, 6) == value
    assert finding.status is by_point
    assert result.flip_rate is not None
    result, finding = found(german, metric, require, **options)
    assert round(result.value, 6) == value
    assert finding.status is by_interval


def test_the_age_number_compares_seven_people_with_five_and_says_so(german: Sample) -> None:
    result, finding = found(german, "disparate_impact", "> 0.5", role="Attribute13", min_group=5)
    assert result.extremes == ("53", "64")
    assert "of 53 is 0.286 (n=7), of 64 1.000 (n=5)" in finding.sentence
    assert len(result.small_groups) == 9


def test_declared_groups_and_bands_decide_where_raw_values_could_not(german: Sample) -> None:
    result, finding = found(german, "disparate_impact", ">= 0.8", role="gender", min_group=30)
    assert [(g.group, g.n) for g in result.groups] == [("male", 690), ("female", 310)]
    assert (result.value, finding.status) == (pytest.approx(201 / 310 / (499 / 690)), Status.PASS)
    result, _ = found(german, "disparate_impact", ">= 0.8", role="age", min_group=30)
    assert [(g.group, g.n) for g in result.groups] == [("≤ 25", 190), ("> 25", 810)]


def test_the_same_input_gives_the_same_output(german: Sample) -> None:
    for decide_on in DecideOn:
        first, second = (
            found(german, "disparate_impact", "> 0.8", role="Attribute9", decide_on=decide_on) for _ in range(2)
        )
        assert first == second
    shuffled = build_sample(
        pd.read_csv(CSV).sample(frac=1, random_state=5),
        Subject(binding={b.role: b for b in (bound("target", "class", positive=1), bound("Attribute9"))}),
    )
    options: dict[str, Any] = {"role": "Attribute9", "decide_on": DecideOn.POINT}
    assert found(german, "disparate_impact", "> 0.8", **options) == found(
        shuffled, "disparate_impact", "> 0.8", **options
    )
