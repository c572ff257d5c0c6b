"""Failures of governance never break training: they are logged in a line and recorded on the run."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.tree import DecisionTreeClassifier
from support.companion import Workplace, encoded, people

import venturalitica as vl
from venturalitica_agent.fetch.declaration import parse_declaration

FRAME = people()
X, Y = encoded(FRAME), FRAME["class"]


def missing(folder: Path) -> None:
    (folder / "model_policy.yaml").unlink()


def broken(folder: Path) -> None:
    (folder / "model_policy.yaml").write_text("policy: tiny\ncontrols: [")


def unwritable(folder: Path) -> None:
    (folder / ".venturalitica").write_text("a file where the runs should be")


CASES: list[tuple[Callable[[Path], None], dict[str, Any], str]] = [
    (missing, {"audit_data": FRAME, "gender": "Attribute9"}, "can't be read"),
    (broken, {"audit_data": FRAME, "gender": "Attribute9"}, "can't be used"),
    (lambda _: None, {"audit_data": "train.csv"}, "of the type str"),
    (lambda _: None, {"audit_data": FRAME, "gender": FRAME["Attribute9"]}, "gender= takes the name of a column"),
    (lambda _: None, {"audit_data": FRAME, "age": {"column": "Attribute13", "bin": [25]}}, "unknown key 'bin'"),
    (lambda _: None, {"audit_data": FRAME, "gender": "Attri\nbute9"}, "declaration is refused"),
    (lambda _: None, {"audit_data": FRAME.assign(odd=[{"a": 1}, 2] * 60), "gender": "odd"}, "audit data can't be used"),
]


@pytest.mark.parametrize(("before", "said", "what"), CASES)
def test_training_goes_on_and_the_run_says_why_there_is_no_verdict(
    before: Callable[[Path], None],
    said: dict[str, Any],
    what: str,
    workplace: Workplace,
    caplog: pytest.LogCaptureFixture,
) -> None:
    before(workplace.folder)
    wrapped = vl.wrap(DecisionTreeClassifier(random_state=0))
    with caplog.at_level(logging.INFO, "venturalitica"):
        wrapped.fit(X, Y, **said)
    bare = DecisionTreeClassifier(random_state=0).fit(X, Y)
    assert np.array_equal(wrapped.predict_proba(X), bare.predict_proba(X))
    (record,) = [r for r in caplog.records if r.name == "venturalitica"]
    assert what in record.getMessage()
    assert "\n" not in record.getMessage()
    error = parse_declaration(workplace.left.file("venturalitica/declaration.json").read_bytes()).error
    assert error is not None
    assert what in error[0]


def test_a_model_that_cannot_be_written_is_said_on_the_run(workplace: Workplace) -> None:
    class Locked(BaseEstimator):
        def fit(self, features: Any, labels: Any) -> Locked:
            self.lock_ = threading.Lock()
            return self

    vl.wrap(Locked()).fit(X, Y, audit_data=FRAME)
    declared = workplace.left.declaration
    assert "the model can't be written" in declared["error"]["what"]
    assert declared["model"] is None
    assert declared["data"] == {
        "evaluation": {"artifact": "venturalitica_data/audit.parquet"},
        "training": {"artifact": "venturalitica_data/audit.parquet"},
    }


def test_training_goes_on_where_no_run_can_be_begun(workplace: Workplace, caplog: pytest.LogCaptureFixture) -> None:
    unwritable(workplace.folder)
    wrapped = vl.wrap(DecisionTreeClassifier()).fit(X, Y, audit_data=FRAME)
    assert wrapped.get_depth() > 0
    assert "the active run can't be found" in caplog.text


def test_a_broken_policy_s_bytes_are_kept(workplace: Workplace) -> None:
    broken(workplace.folder)
    vl.wrap(DecisionTreeClassifier()).fit(X, Y)
    assert workplace.left.file("policy_snapshot/model_policy.yaml").read_text() == "policy: tiny\ncontrols: ["


def test_the_policy_in_force_is_that_of_the_moment_of_training(workplace: Workplace) -> None:
    file = workplace.folder / "model_policy.yaml"
    wrapped = vl.wrap(DecisionTreeClassifier())
    file.write_text(file.read_text().replace('"1.0"', '"1.1"'))
    wrapped.fit(X, Y)
    assert workplace.left.declaration["policy"]["version"] == "1.1"


def test_the_agent_understands_every_word_of_a_declaration(workplace: Workplace) -> None:
    groups = {"man": ["A91"], "woman": np.array(["A92", "A93"])}
    vl.wrap(DecisionTreeClassifier()).fit(
        X,
        Y,
        audit_data=FRAME,
        gender={"column": "Attribute9", "groups": groups},
        age={"column": "Attribute13", "bins": (np.int64(25), 40)},
        target={"positive": "good"},
    )
    read = parse_declaration(workplace.left.file("venturalitica/declaration.json").read_bytes())
    assert read.columns["gender"].groups == {"man": ("A91",), "woman": ("A92", "A93")}
    assert read.columns["age"].bins == (25.0, 40.0)
    assert (read.columns["target"].column, read.columns["target"].positive) == ("class", "good")
    assert read.notes == ("the audit data are the rows that the model was trained on",)
