"""How the parts of an audit fit together: shares and declared shares, data and signature, logged and measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from evaluate_tables import control_of, rates, sample_of
from hypothesis import given, settings
from hypothesis import strategies as st

from venturalitica_agent.domain.metric import METRICS
from venturalitica_agent.domain.needs import Needs, SplitNeeds
from venturalitica_agent.domain.policy import DecideOn, Split
from venturalitica_agent.domain.subject import (
    ColumnBinding,
    DataSubject,
    DigestCheck,
    FileDigest,
    ModelSubject,
    Problem,
    Subject,
)
from venturalitica_agent.domain.verdict import Measurement, Status, Unmeasured
from venturalitica_agent.evaluate import sentences
from venturalitica_agent.evaluate.background import Background
from venturalitica_agent.evaluate.judge import decide
from venturalitica_agent.evaluate.measure import measure
from venturalitica_agent.evaluate.sample import Sample, sample_of_audit

FEW = settings(max_examples=40, deadline=None)


def found_of(metric: str, sample: Sample, require: str = "<= 0.1", **fields: Any) -> Measurement:
    found = measure(control_of(metric, require, **({"role": None} | fields)), sample)
    assert isinstance(found, Measurement), found
    spec = METRICS[metric]
    assert spec.low <= found.interval.low <= found.value <= found.interval.high <= spec.high
    return found


def reason_of(metric: str, sample: Sample, **fields: Any) -> str:
    found = measure(control_of(metric, "<= 0.1", **({"role": None} | fields)), sample)
    assert isinstance(found, Unmeasured), found
    return f"{found.reason} | {found.remedy}"


# -- representation ---------------------------------------------------------------------------------------------
@FEW
@given(st.lists(st.integers(0, 60), min_size=2, max_size=4).filter(sum), st.data())
def test_the_gap_is_the_widest_distance_from_a_declared_share(sizes: list[int], data: st.DataObject) -> None:
    names = list("abcd"[: len(sizes)])
    weights = np.array(data.draw(st.lists(st.integers(1, 9), min_size=len(sizes), max_size=len(sizes))), dtype=float)
    shares = dict(zip(names, weights / weights.sum(), strict=True))
    frame = pd.DataFrame({"g": np.repeat(names, sizes)})
    sample = sample_of(frame, groups={name: (name,) for name in names})
    found = found_of("representation_gap", sample, role="group", shares=shares)
    n = sum(sizes)
    assert found.value == pytest.approx(max(abs(k / n - shares[g]) for g, k in zip(names, sizes, strict=True)))
    assert {s.group: (s.numerator, s.denominator) for s in found.groups} == {
        g: (k, n) for g, k in zip(names, sizes, strict=True)
    }


def test_the_interval_of_the_gap_covers_it() -> None:
    """Three groups, 300 samples of 200 rows; Bonferroni holds at least the level, and not for being wide."""
    rng = np.random.default_rng(3)
    true, declared = np.array([0.6, 0.3, 0.1]), {"a": 0.5, "b": 0.3, "c": 0.2}
    covered, width = 0, 0.0
    for counts in rng.multinomial(200, true, 300):
        sample = sample_of(pd.DataFrame({"g": np.repeat(list("abc"), counts)}))
        interval = found_of("representation_gap", sample, role="group", shares=declared).interval
        covered += interval.low <= 0.1 <= interval.high
        width += (interval.high - interval.low) / 300
    assert covered >= 0.93 * 300
    assert width < 0.2


def test_people_whose_group_nobody_declared_are_a_gap_too() -> None:
    frame = pd.DataFrame({"g": ["f"] * 40 + ["m"] * 40 + [None] * 20})
    control = control_of("representation_gap", "<= 0.05", shares={"f": 0.5, "m": 0.5})
    found = measure(control, sample_of(frame))
    assert isinstance(found, Measurement)
    assert found.extremes == ("(missing)", "(missing)")
    assert decide(control, found) is Status.FAIL
    assert sentences.of(control, found, Status.FAIL).startswith(
        "Share of (missing) is 0.200 (n=100), declared 0.000: gap 0.200, 95 % interval"
    )


def test_a_group_that_does_not_exist_has_no_share() -> None:
    sample = sample_of(rates(("f", 1, 5), ("m", 1, 5)))
    reason = reason_of("representation_gap", sample, role="group", shares={"female": 0.5, "m": 0.5})
    assert "group has no group 'female'; its groups are 'f' and 'm'" in reason


# -- the signature ----------------------------------------------------------------------------------------------
def with_model(frame: pd.DataFrame, **kinds: str) -> Sample:
    model = ModelSubject("m", "", "", (), "sklearn", "m.pkl", "pickle", tuple(kinds), input_kinds=tuple(kinds.values()))
    sample = sample_of(frame)
    subject = replace(sample.background.subject, model=model)
    return replace(sample, background=replace(sample.background, subject=subject))


FRAME = pd.DataFrame(
    {
        "age": [20, 30], "income": [1.5, 2.0], "holes": [1.0, None], "paid": [True, False], "job": ["a", None],
        "day": pd.to_datetime(["2026-01-01", None]), "none": [None, None],
    }
)  # fmt: skip


@pytest.mark.parametrize(
    ("column", "fitting", "held"),
    [
        ("age", {"integer", "long", "float", "double"}, "whole numbers"),
        ("income", {"float", "double"}, "numbers"),
        ("holes", {"integer", "long", "float", "double"}, "whole numbers"),
        ("paid", {"boolean"}, "true and false"),
        ("job", {"string"}, "text"),
        ("day", {"datetime"}, "times"),
        ("none", set(), "no value"),
    ],
)
def test_what_a_column_holds_fits_the_types_that_can_take_it(column: str, fitting: set[str], held: str) -> None:
    for kind in ("integer", "long", "float", "double", "boolean", "string", "datetime"):
        found = found_of("schema_match", with_model(FRAME, **{column: kind}), ">= 1")
        assert found.value == (kind in fitting), kind
        if kind not in fitting:
            assert found.notes == (f"1 of 1 columns don't fit: {column!r} holds {held}, the signature says {kind}",)


def test_every_column_that_does_not_fit_is_named() -> None:
    sample = with_model(FRAME, age="long", job="double", gone="string", blob="binary").background
    doubled = pd.concat([sample.frame, sample.frame[["age"]]], axis=1).assign(blob="x")
    control = control_of("schema_match", ">= 1", role=None)
    found = measure(control, replace(with_model(FRAME), background=replace(sample, frame=doubled)))
    assert isinstance(found, Measurement)
    assert found.value == 0
    told = sentences.of(control, found, decide(control, found))
    for words in (
        "'age' is there more than once",
        "'job' holds text, the signature says double",
        "'gone' is not there",
        "'blob' has the type binary in the signature, which can't be checked",
    ):
        assert words in told


def test_without_a_signature_or_a_model_nothing_matches() -> None:
    assert "logged without the names of its input columns" in reason_of("schema_match", with_model(FRAME))
    gone = sample_of(FRAME, problems={"model": Problem("the run logged no model", "log one")})
    assert reason_of("schema_match", gone) == "the run logged no model | log one"


# -- the number that the run logged -----------------------------------------------------------------------------
def logging(sample: Sample, **logged: float) -> Sample:
    return replace(sample, background=replace(sample.background, logged=logged))


def judged_of(right: int, n: int = 100) -> Sample:
    y = np.arange(n) % 2
    return sample_of(pd.DataFrame({"y": y, "p": np.where(np.arange(n) < right, y, 1 - y)}))


ACCURACY = {"logged": "test_accuracy", "of_metric": "accuracy"}


@FEW
@given(st.integers(0, 100), st.floats(0, 1))
def test_the_difference_is_the_distance_and_its_interval_all_distances(right: int, told: float) -> None:
    sample = judged_of(right)
    own = found_of("accuracy", sample, ">= 0.5")
    found = found_of("declared_difference", logging(sample, test_accuracy=told), **ACCURACY)
    assert found.value == pytest.approx(abs(right / 100 - told))
    grid = np.abs(np.linspace(own.interval.low, own.interval.high, 400) - told)
    assert found.interval.low <= grid.min() <= found.interval.low + 1e-3
    assert found.interval.high == pytest.approx(grid.max())
    assert (found.n, found.interval.method) == (own.n, own.interval.method)


def test_a_true_number_passes_and_a_flattering_one_fails() -> None:
    outcomes: dict[float, Status] = {}
    for told in (0.85, 0.9, 1.0):
        control = control_of("declared_difference", "<= 0.05", role=None, **ACCURACY)
        found = measure(control, logging(judged_of(850, 1000), test_accuracy=told))
        assert isinstance(found, Measurement)
        assert found.notes[0] == f"the run logged test_accuracy = {told:g}, measured is 0.85"
        outcomes[told] = decide(control, found)
        assert found.notes[0] in sentences.of(control, found, outcomes[told])
    assert outcomes == {0.85: Status.PASS, 0.9: Status.INCONCLUSIVE, 1.0: Status.FAIL}


@FEW
@given(st.integers(0, 100), st.floats(0, 1))
def test_the_shortfall_is_how_much_worse_the_measurement_is(right: int, told: float) -> None:
    sample = judged_of(right)
    own = found_of("accuracy", sample, ">= 0.5")
    found = found_of("declared_shortfall", logging(sample, test_accuracy=told), "<= 0.02", **ACCURACY)
    assert found.value == pytest.approx(told - right / 100)
    ends = told - own.interval.high, told - own.interval.low
    assert (found.interval.low, found.interval.high) == pytest.approx(ends)


def test_better_than_declared_is_no_shortfall() -> None:
    outcomes: dict[float, Status] = {}
    for told in (0.7, 0.85, 1.0):
        control = control_of("declared_shortfall", "<= 0.02", role=None, **ACCURACY)
        found = measure(control, logging(judged_of(850, 1000), test_accuracy=told))
        assert isinstance(found, Measurement)
        outcomes[told] = decide(control, found)
        assert f"the run logged test_accuracy = {told:g}, " in sentences.of(control, found, outcomes[told])
    assert outcomes == {0.7: Status.PASS, 0.85: Status.INCONCLUSIVE, 1.0: Status.FAIL}
    frame = pd.DataFrame({"y": [1.0, 2.0, 4.0, 8.5], "p": [1.5, 2.0, 3.0, 8.0]})
    told_mae = logging(sample_of(frame), mae=0.25)
    assert found_of("declared_shortfall", told_mae, "<= 0.1", logged="mae", of_metric="mae").value == pytest.approx(
        0.25
    )


def test_the_difference_knows_its_rows_and_its_flips() -> None:
    sample = logging(judged_of(80), test_accuracy=0.85)
    assert 100 < found_of("declared_difference", sample, "<= 0.1", **ACCURACY).needed[""] < 10_000
    flips = found_of("declared_difference", sample, decide_on=DecideOn.POINT, **ACCURACY).flip_rate
    assert flips is not None
    assert 0.02 < flips < 0.3  # of 100 rows with 80 % right, under 75 or over 95 are right in a tenth of the draws


@pytest.mark.parametrize(
    ("logged", "reason"),
    [
        ({}, "logged no metric 'test_accuracy'"),
        ({"test_accurasy": 0.8}, "the run logged 'test_accurasy'"),
        ({"test_accuracy": 85.0}, "logged test_accuracy = 85, and accuracy ranges from 0 to 1 | log the value on the"),
        ({"test_accuracy": float("nan")}, "logged test_accuracy = nan"),
    ],
)
def test_a_number_that_can_not_be_the_metric_is_not_compared(logged: Mapping[str, float], reason: str) -> None:
    assert reason in reason_of("declared_difference", logging(judged_of(80), **logged), **ACCURACY)


def test_a_declared_number_of_a_regression_is_compared_with_quantities() -> None:
    frame = pd.DataFrame({"y": [1.0, 2.0, 4.0, 8.5], "p": [1.5, 2.0, 3.0, 8.0]})
    sample = logging(sample_of(frame), mae=0.25)
    found = found_of("declared_difference", sample, logged="mae", of_metric="mae")
    assert found.value == pytest.approx(0.25)
    words = sample_of(pd.DataFrame({"y": ["a", "b"], "p": ["a", "b"]}))
    assert "not numbers" in reason_of("declared_difference", logging(words, mae=0.1), logged="mae", of_metric="mae")


# -- completeness -----------------------------------------------------------------------------------------------
NEEDS = Needs({Split.EVALUATION: SplitNeeds(frozenset({"gender"}), frozenset({"target"}), frozenset({"prediction"}))})
TABLE = DataSubject(
    "t", "", "csv", "artifact t.csv", FileDigest("t", 1, "0" * 64), ("gender", "y"), 2, check=DigestCheck.MATCH
)
WHOLE = Subject(
    model=ModelSubject("m", "", "", (), "sklearn", "m.pkl", "pickle"),
    data={"evaluation": TABLE},
    binding={"gender": ColumnBinding("gender", "gender", "name"), "target": ColumnBinding("target", "y", "declared")},
)


def completeness(subject: Subject, needs: Needs = NEEDS) -> Measurement:
    return found_of("evidence_completeness", sample_of_audit(Background(subject=subject, needs=needs)), ">= 1")


def test_all_parts_found_and_verified_are_all_parts() -> None:
    """Model, table, digest, and the columns of gender and target."""
    assert (completeness(WHOLE).value, completeness(WHOLE).n, completeness(WHOLE).notes) == (1.0, 5, ())


@pytest.mark.parametrize(
    ("changed", "value", "named"),
    [
        ({"model": None, "problems": {"model": Problem("it is refused")}}, 4 / 5, "the model (it is refused)"),
        ({"problems": {"model": Problem("it crashed")}}, 4 / 5, "the model (it crashed)"),
        ({"data": {}, "problems": {"evaluation": Problem("no file")}}, 3 / 5, "the evaluation data (no file)"),
        ({"data": {}}, 3 / 5, "the evaluation data (there are none)"),
        ({"data": {"evaluation": replace(TABLE, check=DigestCheck.UNCHECKABLE, check_reason="no digest was logged")}},
         4 / 5, "the digest of the evaluation data (no digest was logged)"),
        ({"data": {"evaluation": replace(TABLE, check=DigestCheck.MISMATCH)}}, 4 / 5, "(it was not compared)"),
        ({"binding": {"target": WHOLE.binding["target"]}}, 4 / 5, "the column of gender (it is bound to no column)"),
        ({"binding": {**WHOLE.binding, "gender": ColumnBinding("gender", "sex", "inferred")}}, 4 / 5, "from a synonym"),
    ],
)  # fmt: skip
def test_each_part_that_is_not_there_or_not_verified_counts(changed: dict[str, Any], value: float, named: str) -> None:
    found = completeness(replace(WHOLE, **changed))
    assert (found.value, found.n) == (pytest.approx(value), 5)
    assert named in found.notes[0]
    assert decide(control_of("evidence_completeness", ">= 1", role=None), found) is Status.FAIL


def test_a_policy_that_looks_at_nothing_has_no_complete_evidence() -> None:
    empty = sample_of_audit(Background(subject=Subject(), needs=Needs()))
    assert "looks at a model or at data" in reason_of("evidence_completeness", empty)
