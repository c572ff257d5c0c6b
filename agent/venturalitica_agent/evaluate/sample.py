"""What metrics may look at: labels, predictions, scores and groups of one table as codes, or why a part is not there.

Everything doubtful (which class is positive, whether a model's classes are the table's classes) is settled here, once,
so that no metric ever guesses.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from venturalitica_agent.domain.metric import Need
from venturalitica_agent.domain.own_metric import Told
from venturalitica_agent.domain.subject import Predictions, Problem, Subject
from venturalitica_agent.evaluate.alignment import Scalar, align, positive_class, translate
from venturalitica_agent.evaluate.background import Background
from venturalitica_agent.evaluate.coding import MAX_CLASSES, Coded, encode, find, find_all, listing
from venturalitica_agent.evaluate.grouping import Grouping, cross, group
from venturalitica_agent.evaluate.stress import AskedAgain, Stress
from venturalitica_agent.evaluate.undefined import Undefined

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cells:
    """How many cells of a whole table are missing, and how many there are."""

    missing: int
    total: int

    @classmethod
    def of(cls, frame: pd.DataFrame) -> Cells:
        return cls(int(frame.isna().to_numpy(dtype=bool).sum()), frame.size)


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One table as codes.

    Attributes:
        n: rows of the table, also those whose label or prediction is missing.
        labels, predictions: None when not there; when both are there they share one tuple of values.
        scores: (n,) score of the positive class, NaN = missing.
        probabilities: (n, k) of every class, in the order of the labels' values; NaN = missing.
        truth, estimates: (n,) target and answer of a regression, NaN = missing.
        positive: the positive class, one of the values; None when not known.
        groups: role -> grouping, for every bound role that can be one.
        cells: how many cells of the table are missing; None when that was not counted.
        problems: why a part is not there, by "labels", "predictions", "scores", "probabilities", "truth", "estimates",
            "positive", "cells", "role:<role>".
        notes: what a person should know, by the same keys.
        told: what metrics of users' packages told, by control, or why they did not.
        asked_again: what the model answered about disturbed rows, or why it did not.
        background: what stands behind the codes, for metrics that look at more than outcomes and groups.
    """

    n: int
    labels: Coded | None
    predictions: Coded | None
    scores: NDArray[np.float64] | None
    positive: object | None
    groups: Mapping[str, Grouping]
    cells: Cells | None = None
    probabilities: NDArray[np.float64] | None = None
    truth: NDArray[np.float64] | None = None
    estimates: NDArray[np.float64] | None = None
    problems: Mapping[str, Problem] = field(default_factory=dict)
    notes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    background: Background = field(default_factory=Background)
    asked_again: Mapping[Stress, AskedAgain | Problem] = field(default_factory=dict)
    told: Mapping[str, Told | Problem] = field(default_factory=dict)

    def grouping(self, roles: Sequence[str]) -> Grouping:
        """The groups of one bound role, or the intersections of several."""
        found = cross([self.groups[role] for role in roles])
        if isinstance(found, Problem):
            raise Undefined(found.what, remedy=found.remedy)
        return found


def build_sample(
    frame: pd.DataFrame,
    subject: Subject,
    predictions: Predictions | None = None,
    *,
    target: str = "target",
    prediction: str = "prediction",
    score: str = "score",
    columns: Sequence[str] | None = None,
    cells: Cells | Problem | None = None,
    asked: Collection[Need] = frozenset(Need),
) -> Sample:
    """Everything of `frame` that the metrics of one audit may look at.

    Args:
        frame: the table, any index; only columns that are bound by a role are read as values.
        predictions: the model's answer for the rows of `frame`, in their order. Without one the columns bound to the
            roles `prediction` and `score` are used, where there are such.
        target, prediction, score: the roles of truth, predicted class and score; an SDK policy may name others.
        columns: the names of all columns of the table, where `frame` has only those that are bound.
        cells: what is missing in the whole table, or why that isn't known; None to count it in `frame`.
        asked: what the metrics need; of probabilities and quantities, which take memory, only these are made.
    """
    names = list(frame.columns) if columns is None else list(columns)
    return _Builder(frame, subject, target, prediction, score, names, asked).build(
        predictions, cells or Cells.of(frame)
    )


def sample_of_audit(background: Background) -> Sample:
    """A sample of no table, for what is measured of an audit as a whole."""
    return Sample(1, None, None, None, None, {}, background=background)


class _Builder:
    """The steps of `build_sample`. Each gives its part or the problem that stands in its place."""

    def __init__(
        self,
        frame: pd.DataFrame,
        subject: Subject,
        target: str,
        prediction: str,
        score: str,
        columns: Sequence[str],
        asked: Collection[Need],
    ) -> None:
        self.asked = asked
        self.frame = frame
        self.columns = columns
        self.subject = subject
        self.target = target
        self.prediction = prediction
        self.score = score
        self.problems: dict[str, Problem] = {k: p for k, p in subject.problems.items() if k.startswith("role:")}
        self.notes: dict[str, list[str]] = {}

    def build(self, answer: Predictions | None, cells: Cells | Problem) -> Sample:
        labels = self._keep("labels", self._coded(self.target))
        raw = self._from_column() if answer is None else self._from_model(answer)
        predictions = self._keep("predictions", raw)
        positive = self._keep("positive", self._positive(labels, predictions))
        if labels is not None and predictions is not None:
            theirs = self._declared_positive(self.prediction) if answer is None else None
            both = self._keep("predictions", self._aligned(labels, predictions, positive, theirs))
            labels, predictions = both or (labels, None)
        scores = self._score_column() if answer is None else self._model_scores(answer, positive)
        chances = self._if_asked(Need.PROBABILITIES, lambda: self._probabilities(answer, labels, scores, positive))
        truth = self._if_asked(Need.TRUTH, lambda: self._quantities(self.target, labels))
        estimates = self._if_asked(Need.ESTIMATES, lambda: self._estimates(answer, predictions))
        return Sample(
            n=len(self.frame),
            labels=labels,
            predictions=predictions,
            scores=self._keep("scores", scores),
            probabilities=self._keep("probabilities", chances),
            truth=self._keep("truth", truth),
            estimates=self._keep("estimates", estimates),
            positive=positive,
            groups=self._groups(),
            cells=self._keep("cells", cells),
            problems=self.problems,
            notes={key: tuple(found) for key, found in self.notes.items()},
            background=Background(self.frame, self.subject),
        )

    def _if_asked(self, need: Need, make: Callable[[], T | Problem]) -> T | Problem:
        return make() if need in self.asked else Problem(f"no control asks for the {need}")

    def _keep(self, key: str, found: T | Problem) -> T | None:
        if isinstance(found, Problem):
            self.problems[key] = found
            return None
        return found

    def _note(self, key: str, note: str) -> None:
        if note:
            self.notes.setdefault(key, []).append(note)

    def _declared_positive(self, role: str) -> str | int | float | bool | None:
        binding = self.subject.binding.get(role)
        return binding.positive if binding is not None else None

    def _column(self, role: str) -> pd.Series[Any] | Problem:
        binding = self.subject.binding.get(role)
        if binding is None:
            return self.subject.problems.get(f"role:{role}") or Problem(
                f"no column is bound to the role {role!r}", f"add {role!r} to `columns:` in agent.yaml"
            )
        times = list(self.frame.columns).count(binding.column)
        if times != 1:
            many = "more than one" if times else "no"
            return Problem(
                f"the data has {many} column {binding.column!r}, to which the role {role!r} is bound",
                f"correct columns.{role} in agent.yaml; the columns are {listing(self.columns, 40)}",
            )
        return self.frame[binding.column]

    def _coded(self, role: str) -> Coded | Problem:
        series = self._column(role)
        if isinstance(series, Problem):
            return series
        try:
            coded = encode(series)
        except TypeError:
            return Problem(f"column {series.name!r} holds values that are not classes, such as lists")
        if not coded.values:
            return Problem(f"column {series.name!r} holds no value")
        if len(coded.values) > MAX_CLASSES:
            what = f"column {series.name!r} has {len(coded.values)} distinct values: a quantity, not a class"
            return Problem(what, f"bind {role!r} to a column of classes")
        return coded

    def _from_column(self) -> Coded | Problem:
        if self.prediction not in self.subject.binding and (problem := self.subject.problems.get("model")):
            return problem
        return self._coded(self.prediction)

    def _from_model(self, answer: Predictions) -> Coded | Problem:
        """The model's classes; `values` begins with all the classes that it knows, where it says so."""
        for note in answer.notes:
            self._note("predictions", note)
        if answer.n != len(self.frame):
            return Problem(f"the model answered {answer.n} rows, the data has {len(self.frame)}")
        if answer.codes is None or answer.values is None:
            coded = encode(pd.Series(answer.numbers, dtype=float))
        else:
            coded = Coded(answer.codes, tuple(answer.values))
        if len(coded.values) > MAX_CLASSES:
            return Problem(
                f"the model answers with {len(coded.values)} distinct values: quantities, not classes",
                "log a model whose predict() returns classes, or bind `prediction` to a column of classes",
            )
        known = tuple(answer.score_classes or ())
        values = (*known, *(v for v in coded.values if v not in known))
        return coded.recode(values, [values.index(v) for v in coded.values])

    def _positive(self, labels: Coded | None, predictions: Coded | None) -> object | Problem:
        declared = self._declared_positive(self.target)
        if labels is not None:
            found = positive_class(declared, labels, "labels")
        elif predictions is not None:
            own = self._declared_positive(self.prediction)
            found = positive_class(declared if own is None else own, predictions, "predictions")
        else:
            found = self.problems["labels"]
        if isinstance(found, Problem):
            return found
        self._note("positive", found[1])
        return found[0]

    def _aligned(
        self, labels: Coded, predictions: Coded, positive: object | None, theirs: Scalar | None
    ) -> tuple[Coded, Coded] | Problem:
        """Labels and predictions on the same values. `theirs` is the positive class of a bound prediction column."""
        aligned = align(labels, predictions)
        if isinstance(aligned, Problem):
            other = translate(labels, positive, predictions, theirs) if theirs is not None else None
            if other is None:
                return aligned
            self._note("predictions", f"predictions were read by their own positive class {listing([theirs])}")
            return labels, other
        labels, predictions, note = aligned
        self._note("predictions", note)
        if None not in (theirs, positive) and find(theirs, labels.values)[0] != labels.values.index(positive):
            return Problem(
                "labels and predictions have the same classes, but the positive one is declared to be "
                f"{listing([positive])} of the labels and {listing([theirs])} of the predictions",
                f"correct `positive:` of columns.{self.target} or columns.{self.prediction} in agent.yaml",
            )
        return labels, predictions

    def _score_column(self) -> NDArray[np.float64] | Problem:
        """A column bound to the role is taken to be the score of the positive class."""
        nobody = self.score not in self.subject.binding and self.prediction not in self.subject.binding
        if nobody and (problem := self.subject.problems.get("model")):
            return problem  # the model was to answer: that there is no column instead is not what went wrong
        series = self._column(self.score)
        return series if isinstance(series, Problem) else _numbers(series)

    def _model_scores(self, answer: Predictions, positive: object | None) -> NDArray[np.float64] | Problem:
        if answer.n != len(self.frame):
            return self.problems["predictions"]
        if answer.scores is None or answer.score_classes is None:
            return Problem("the model gives no class probabilities", "log a model that has predict_proba")
        if positive is None:
            return self.problems["positive"]
        index, _ = find(positive, answer.score_classes)
        if index is None:
            classes = listing(answer.score_classes)
            return Problem(f"the model's classes {classes} do not hold the positive class {listing([positive])}")
        return np.asarray(answer.scores, dtype=np.float64)[:, index]

    def _probabilities(
        self,
        answer: Predictions | None,
        labels: Coded | None,
        scores: NDArray[np.float64] | Problem,
        positive: object | None,
    ) -> NDArray[np.float64] | Problem:
        """Those of the model; a score column is that of two classes."""
        if labels is None:
            return self.problems["labels"]
        if answer is None:
            if isinstance(scores, Problem):
                return scores
            if positive is None or len(labels.values) != 2:
                what = f"the column of scores is that of one class, and the labels are {listing(labels.values)}"
                return Problem(what, "log a model that has predict_proba")
            return np.column_stack([scores if v == positive else 1 - scores for v in labels.values])
        if answer.n != len(self.frame):
            return self.problems["predictions"]
        if answer.scores is None or answer.score_classes is None:
            return Problem("the model gives no class probabilities", "log a model that has predict_proba")
        index, _ = find_all(labels.values, answer.score_classes)
        columns = [i for i in index if i is not None]
        if len(columns) < len(index):
            known = listing(answer.score_classes)
            return Problem(f"the model's classes {known} do not hold all of the labels {listing(labels.values)}")
        return np.asarray(answer.scores, dtype=np.float64)[:, columns]

    def _estimates(self, answer: Predictions | None, predictions: Coded | None) -> NDArray[np.float64] | Problem:
        if answer is None:
            missing = None if self.prediction in self.subject.binding else self.subject.problems.get("model")
            return missing or self._quantities(self.prediction, predictions)
        if answer.n != len(self.frame):
            return Problem(f"the model answered {answer.n} rows, the data has {len(self.frame)}")
        if answer.numbers is not None:
            return np.asarray(answer.numbers, dtype=np.float64)
        if answer.codes is None or not all(type(v) in (int, float) for v in answer.values or ("",)):
            return Problem(
                "the model answers with classes, not with quantities", "ask for a metric of classes, or log a regressor"
            )
        return np.array(answer.values, dtype=np.float64)[answer.codes]

    def _quantities(self, role: str, coded: Coded | None) -> NDArray[np.float64] | Problem:
        """A column as finite numbers. What has been read as few classes needn't be read again, row by row."""
        series = self._column(role)
        if isinstance(series, Problem):
            return series
        if coded is not None and not all(isinstance(v, int | float) for v in coded.values):
            values = pd.to_numeric(pd.Series(list(coded.values), dtype=object), errors="coerce")
            if values.isna().any():
                return Problem(f"column {series.name!r} holds values that are not numbers")
        numbers = _numbers(series)
        if not isinstance(numbers, Problem) and np.isinf(numbers).any():
            return Problem(f"column {series.name!r} holds infinite values", "remove or correct these rows")
        return numbers

    def _groups(self) -> dict[str, Grouping]:
        groups = {}
        for role, binding in self.subject.binding.items():
            if role in (self.target, self.prediction, self.score):
                continue
            series = self._column(role)
            found = series if isinstance(series, Problem) else group(series, binding)
            if kept := self._keep(f"role:{role}", found):
                groups[role] = kept
        return groups


def _numbers(series: pd.Series[Any]) -> NDArray[np.float64] | Problem:
    if series.dtype.kind in "mM":
        return Problem(f"column {series.name!r} holds times, not numbers")
    numbers = pd.to_numeric(series.astype(object) if series.dtype == "category" else series, errors="coerce")
    if (numbers.isna() & series.notna()).any():
        return Problem(f"column {series.name!r} holds values that are not numbers")
    return numbers.to_numpy(dtype=np.float64, na_value=np.nan)
