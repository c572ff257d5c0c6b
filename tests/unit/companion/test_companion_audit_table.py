"""What is audited is what the model eats, beside what people read: the same rows, nothing lost, nothing guessed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier
from support.companion import Workplace, encoded, people

import venturalitica as vl
from venturalitica.audit_table import AuditTable, audit_table
from venturalitica_agent.errors import PermanentError

ROLES = frozenset({"target", "prediction", "score", "gender", "age"})
FRAME = people()


def table(x: Any, y: Any, frame: Any, **said: dict[str, Any]) -> AuditTable:
    return audit_table(x, y, frame, said, ROLES)


def answers(model: Any, made: AuditTable, x: Any) -> bool:
    """Whether the model says of the table's columns what it said of X."""
    names = list(x.columns) if isinstance(x, pd.DataFrame) else [f"x{i}" for i in range(x.shape[1])]
    values = made.frame[names] if isinstance(x, pd.DataFrame) else made.frame[names].to_numpy()
    return bool((model.predict_proba(values) == model.predict_proba(x)).all())


def test_encoded_training_rows_are_put_beside_what_people_read() -> None:
    x, y = encoded(FRAME), FRAME["class"]
    made = table(x, y, FRAME, gender={"column": "Attribute9"})
    assert answers(DecisionTreeClassifier().fit(x, y), made, x)
    assert made.frame["Attribute9"].tolist() == FRAME["Attribute9"].tolist()
    assert made.columns == {"gender": {"column": "Attribute9"}, "target": {"column": "class"}}
    assert made.training
    assert made.notes == ("the audit data are the rows that the model was trained on",)


def test_a_name_that_both_have_with_other_values_keeps_both() -> None:
    x = encoded(FRAME)
    x["Attribute13"] = (x["Attribute13"] - 40) / 10  # scaled under its own name
    made = table(x, FRAME["class"], FRAME, age={"column": "Attribute13", "bins": [40]})
    assert made.columns["age"] == {"column": "Attribute13 (audit_data)", "bins": [40]}
    assert made.frame["Attribute13 (audit_data)"].tolist() == FRAME["Attribute13"].tolist()
    assert made.frame["Attribute13"].tolist() == x["Attribute13"].tolist()


def test_a_role_that_is_bound_by_its_name_follows_its_column() -> None:
    frame = FRAME.rename(columns={"Attribute13": "age"})
    x = pd.DataFrame({"age": (frame["age"] - 40) / 10, "income": frame["income"]})
    made = table(x, frame["class"], frame)
    assert made.columns["age"] == {"column": "age (audit_data)"}


def test_data_that_hold_the_models_inputs_are_taken_as_they_are() -> None:
    x = FRAME[["income", "Attribute13"]]
    made = table(x, FRAME["class"], FRAME)
    pd.testing.assert_frame_equal(made.frame, FRAME)
    assert made.training


def test_other_rows_must_hold_the_models_inputs() -> None:
    test = people(200).iloc[120:].reset_index(drop=True)
    model = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression())
    x = FRAME[["Attribute9", "Attribute13"]]
    model.fit(x, FRAME["class"])
    made = table(x, FRAME["class"], test)
    assert not made.training
    assert made.columns["target"] == {"column": "class"}
    assert "is the word of the training code" in made.notes[0]
    with pytest.raises(PermanentError, match=r"neither the rows of X nor the model's input columns; it lacks 'Attrib"):
        table(encoded(FRAME), FRAME["class"], test)


def test_audited_rows_that_the_model_has_seen_are_counted() -> None:
    x = FRAME[["income", "Attribute13"]]
    mixed = pd.concat([FRAME.head(30), people(300).assign(income=-1.0).head(20)])
    made = table(x, FRAME["class"], mixed)
    assert made.notes[1] == "30 of the 50 audited rows have the same input values as training rows"
    assert "all 30 audited rows" in table(x, FRAME["class"], FRAME.head(30)).notes[1]


def test_as_many_other_rows_are_not_taken_for_the_training_rows() -> None:
    halves = people(240)
    train, test = halves.head(120), halves.tail(120).sample(frac=1, random_state=0).reset_index(drop=True)
    made = table(train[["income", "Attribute13"]], train["class"], test)
    assert not made.training
    pd.testing.assert_frame_equal(made.frame, test)


def test_inputs_of_another_kind_under_the_same_names_are_an_error() -> None:
    codes = FRAME.assign(Attribute9=FRAME["Attribute9"].astype("category").cat.codes)[["income", "Attribute9"]]
    with pytest.raises(
        PermanentError, match=r"'Attribute9' of audit_data holds .* it is not what the model eats"
    ) as no:
        table(codes, FRAME["class"], FRAME.head(60))
    assert "wrap the pipeline" in no.value.remedy


@pytest.mark.parametrize("y", [FRAME["class"], FRAME["class"].to_numpy(), FRAME[["class"]]], ids=str.__class__)
def test_the_truth_is_found_by_name_or_by_its_values(y: Any) -> None:
    assert table(encoded(FRAME), y, FRAME).columns["target"] == {"column": "class"}


def test_a_truth_in_another_coding_is_kept_as_the_model_knows_it() -> None:
    y = (FRAME["class"] == "good").astype(int)
    made = table(FRAME[["income"]], y, FRAME, target={"positive": 1})
    assert made.columns["target"] == {"column": "class (y)", "positive": 1}
    assert made.frame["class (y)"].tolist() == y.tolist()
    assert made.frame["class"].tolist() == FRAME["class"].tolist()


def test_a_declared_truth_stands() -> None:
    y = (FRAME["class"] == "good").astype(int)
    made = table(encoded(FRAME), y, FRAME, target={"column": "class", "positive": "good"})
    assert made.columns["target"] == {"column": "class", "positive": "good"}


def test_arrays_are_named_as_scikit_learn_numbers_them() -> None:
    x, y = encoded(FRAME).to_numpy(), FRAME["class"].to_numpy()
    made = table(x, y, FRAME, gender={"column": "Attribute9"})
    assert answers(DecisionTreeClassifier().fit(x, y), made, x)
    assert list(made.frame.columns) == [*(f"x{i}" for i in range(x.shape[1])), "Attribute9", "class"]


@pytest.mark.parametrize(
    ("frame", "what"),
    [
        ([1, 2], "of the type list"),
        (FRAME.head(0), "has no rows"),
        (pd.concat([FRAME, FRAME], axis=1), "several columns of the name 'income'"),
    ],
)
def test_what_is_no_table_is_said_to_be_none(frame: Any, what: str) -> None:
    with pytest.raises(PermanentError, match=what):
        table(encoded(FRAME), FRAME["class"], frame)


def test_text_that_is_no_table_is_an_error_with_what_to_do() -> None:
    with pytest.raises(PermanentError, match="X is not a table"):
        table(["a", "b"], [0, 1], pd.DataFrame({"text": ["a", "b"]}))


@settings(max_examples=40, deadline=None)
@given(
    names=st.lists(st.sampled_from(["a", "b", "class", "gender", "gender (audit_data)"]), min_size=1, unique=True),
    shared=st.booleans(),
    seed=st.integers(0, 99),
)
def test_nothing_is_lost_whatever_the_names(names: list[str], shared: bool, seed: int) -> None:
    random = np.random.default_rng(seed)
    frame = pd.DataFrame({"gender": random.integers(0, 2, 20), "class": [*random.integers(0, 2, 18), 0, 1]})
    x = pd.DataFrame({name: random.normal(size=20) for name in names})
    if shared:
        x[names[0]] = frame["gender"].astype(float)
    made = table(x, frame["class"], frame)
    for name in names:
        assert made.frame[name].tolist() == x[name].tolist()
    gender = made.columns.get("gender", {"column": "gender"})["column"]
    assert made.frame[gender].tolist() == frame["gender"].tolist()
    assert made.frame[made.columns["target"]["column"]].tolist() == frame["class"].tolist()


# -- through fit --------------------------------------------------------------------------------------------------
def test_a_model_that_scales_its_input_in_place_is_audited_on_what_it_was_given(workplace: Workplace) -> None:
    x = encoded(FRAME).to_numpy()
    before = x.copy()
    vl.wrap(make_pipeline(StandardScaler(copy=False), LogisticRegression())).fit(x, FRAME["class"], audit_data=FRAME)
    assert not np.array_equal(x, before)
    left = workplace.left.table
    assert np.array_equal(left[[f"x{i}" for i in range(x.shape[1])]].to_numpy(), before)
