"""Controls that ask one question in several ways are decided together, by Holm's steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evaluate_tables import LABELS, control_of, rates, sample_of

from venturalitica_agent.domain.policy import Control, DecideOn, Enforcement
from venturalitica_agent.domain.verdict import Measurement, Status
from venturalitica_agent.evaluate.families import measure_all
from venturalitica_agent.evaluate.judge import decide
from venturalitica_agent.evaluate.measure import measure
from venturalitica_agent.evaluate.sample import Sample

SAMPLE = sample_of(rates(("a", 40, 100), ("b", 55, 100)))


def asked(id_: str, metric: str, require: str, **fields: object) -> Control:
    return control_of(metric, require, id=id_, of=LABELS, **{"article": "10(2)(f)", **fields})


def levels(*controls: Control, sample: Sample = SAMPLE) -> list[float]:
    found = measure_all(controls, sample)
    return [round(r.interval.level, 6) for r in map(found.get, (c.id for c in controls)) if isinstance(r, Measurement)]


SURE = asked("sure", "demographic_parity_diff", "<= 0.9")
OPEN = asked("open", "disparate_impact", ">= 0.7")
OTHER = asked("other", "worst_group_selection_rate", ">= 0.4")


def test_what_is_sure_leaves_and_the_others_are_asked_again_as_fewer() -> None:
    assert levels(SURE, OPEN, OTHER) == [0.983333, 0.975, 0.975]
    assert levels(OPEN, OTHER) == [0.975, 0.975]
    assert levels(SURE, OPEN) == [0.975, 0.95]


def test_a_control_alone_is_measured_as_ever() -> None:
    assert measure_all([OPEN], SAMPLE) == {"open": measure(OPEN, SAMPLE)}


@pytest.mark.parametrize(
    "other",
    [
        {"article": "15(1)"},
        {"article": ""},
        {"decide_on": DecideOn.POINT},
        {"enforcement": Enforcement.REPORT},
        {"role": "elsewhere"},
    ],
    ids=str,
)
def test_another_question_makes_no_family(other: dict[str, object]) -> None:
    second = asked("second", "demographic_parity_diff", "<= 0.2", **other)
    assert measure_all([OPEN, second], SAMPLE)["open"] == measure(OPEN, SAMPLE)


def test_exact_counts_are_no_part_of_a_family() -> None:
    assert levels(OPEN, asked("n", "min_group_n", ">= 30")) == [0.95, 0.95]


def test_the_level_is_told() -> None:
    found = measure_all([SURE, OPEN], SAMPLE)["sure"]
    assert isinstance(found, Measurement)
    assert "one of 2 controls on group under article 10(2)(f)" in found.notes[-1]
    assert "level 97.5 % in place of 95 % (Holm)" in found.notes[-1]


def test_the_decisions_are_those_of_holm_s_p_values() -> None:
    """By the textbook: p is the smallest alpha at which a control alone is decided; sorted, against alpha / (m - i)."""
    rng = np.random.default_rng(17)
    thresholds = [("disparate_impact", ">= {:.3f}"), ("demographic_parity_diff", "<= {:.3f}")]
    for _ in range(4):
        sample = sample_of(rates(("a", int(rng.integers(40, 60)), 100), ("b", int(rng.integers(40, 75)), 110)))
        controls = [
            asked(
                f"c{i}", metric, text.format(rng.uniform(0.55, 0.9) if "impact" in metric else rng.uniform(0.05, 0.45))
            )
            for i, (metric, text) in enumerate(thresholds * 2)
        ]
        p = {control.id: smallest_alpha(control, sample) for control in controls}
        expected, left = set(), len(p)
        for name in sorted(p, key=p.__getitem__):
            if p[name] > 0.05 / left:
                break
            expected.add(name)
            left -= 1
        found = measure_all(controls, sample)
        decided = {c.id for c in controls if status(c, found[c.id]) is not Status.INCONCLUSIVE}
        assert decided == expected


def smallest_alpha(control: Control, sample: Sample) -> float:
    low, high = 0.0001, 0.5
    for _ in range(14):
        middle = (low * high) ** 0.5
        result = measure(replace(control, level=1 - middle), sample)
        low, high = (low, middle) if status(control, result) is not Status.INCONCLUSIVE else (middle, high)
    return high


def status(control: Control, result: object) -> Status:
    assert isinstance(result, Measurement)
    return decide(control, result)
