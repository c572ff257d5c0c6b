"""One worker answers about several tables of one model, and no answer depends on what else was asked."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cloudpickle
import pandas as pd
import pytest

from venturalitica_agent.domain.subject import Predictions
from venturalitica_agent.errors import SandboxError
from venturalitica_agent.sandbox.launcher import Sandbox

cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Fragile:
    """Predicts whether `age` is odd. It dies of a row with 666 in it, and, if it is tired, when it is asked twice."""

    n_features_in_ = 1
    feature_names_in_ = ("age",)

    def __init__(self, tired: bool) -> None:
        self.tired = tired
        self.asked = 0

    def predict(self, rows: Any) -> Any:
        import os

        self.asked += 1
        if (rows["age"] == 666).any() or (self.tired and self.asked > 1):
            os.abort()
        return (rows["age"] % 2).to_numpy()


def ages(*values: int) -> pd.DataFrame:
    return pd.DataFrame({"age": values})


def labels(told: object) -> list[object]:
    assert isinstance(told, Predictions)
    assert told.values is not None
    assert told.codes is not None
    return [told.values[code] for code in told.codes]


@pytest.fixture
def started(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The scripts of the workers that the session's sandbox starts from now on."""
    scripts: list[Path] = []
    start = sandbox._start

    def counted(script: Path, *more: Any) -> Any:
        scripts.append(script)
        return start(script, *more)

    monkeypatch.setattr(sandbox, "_start", counted)
    return scripts


def test_one_worker_answers_about_all_tables(sandbox, save, started) -> None:
    first, others = sandbox.predict_also(
        save(cloudpickle.dumps(Fragile(tired=False))), ages(1, 2), [ages(4), ages(), ages(3, 3)]
    )
    assert labels(first) == [1, 0]
    assert labels(others[0]) == [0]
    assert isinstance(others[1], SandboxError)
    assert "no rows" in others[1].what
    assert labels(others[2]) == [1, 1]
    assert len(started) == 3, "one until the table that can't be handed over, one for it, one for the last"


def test_a_table_on_which_the_worker_breaks_down_is_asked_again_alone(sandbox, save, started) -> None:
    tired = save(cloudpickle.dumps(Fragile(tired=True)))
    first, others = sandbox.predict_also(tired, ages(1, 2), [ages(5)])
    assert (labels(first), labels(others[0])) == ([1, 0], [1])
    assert len(started) == 2


def test_a_breakdown_is_told_of_its_own_table_only(sandbox, save) -> None:
    model = save(cloudpickle.dumps(Fragile(tired=False)))
    first, others = sandbox.predict_also(model, ages(1), [ages(2, 666), ages(3)])
    assert labels(first) == [1]
    assert isinstance(others[0], SandboxError)
    assert "ended by SIGABRT" in others[0].what
    assert labels(others[1]) == [1]


def test_a_breakdown_on_the_first_table_ends_it(sandbox, save, started) -> None:
    with pytest.raises(SandboxError, match="SIGABRT") as caught:
        sandbox.predict_also(save(cloudpickle.dumps(Fragile(tired=False))), ages(666), [ages(1), ages(2)])
    assert caught.value.subject == "credit"
    assert len(started) == 1


def test_no_more_workers_wait_than_will_be_asked(tmp_path, save) -> None:
    model = save(cloudpickle.dumps(Fragile(tired=False)))
    with Sandbox(workdir=tmp_path / "work") as sandbox:
        sandbox.warm(1, at_most=1)
        assert len(sandbox._waiting) == 1
        assert labels(sandbox.predict(model, ages(1))) == [1]
        assert len(sandbox._waiting) == 0, "it was used, and not replaced"
        assert labels(sandbox.predict(model, ages(2))) == [0], "one is started for whoever asks after all"
