"""Runs inside the sandbox: loads one untrusted model, predicts batch by batch, answers once for each table, dies.

It is a plain script that imports nothing of the agent, because nothing of the agent is in the sandbox. Everything it
says is checked on the other side as data; nothing in here is a defence.

Protocol: it writes `ready` once its libraries are imported, waits for one line on stdin, reads /in/job.json, and
writes for each table one JSON line, followed by the raw little-endian arrays that it announces (see `answer.py`).
"""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SLOT = Path("/in")
_MOST_CLASSES = 1000
_OPTIONAL = ("xgboost", "lightgbm", "onnxruntime")  # the extra `models` of the agent's package brings them
_WHOLE = ("tensor(int64)", "tensor(int32)", "tensor(int16)", "tensor(int8)", "tensor(uint8)")
_FLOATS = ("tensor(float)", "tensor(double)", "tensor(float16)")
_LABELS = ("tensor(int64)", "tensor(int32)", "tensor(string)", "tensor(bool)")


class Refused(Exception):
    """The model or its answer is not something that can be audited; the message says why."""


def import_libraries() -> None:
    """What every table needs; and unless a job is there by then, everything that common models need, so that a worker
    that waits warm has paid for it. The last lines warm lazy imports. With a job, its model imports what it needs."""
    import cloudpickle  # noqa: F401
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    if (SLOT / "job.json").exists():
        return
    import joblib  # noqa: F401
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    frame = pa.table({"text": ["a", "b"] * 4, "number": [float(i) for i in range(8)]}).to_pandas()
    columns = ColumnTransformer(
        [("text", OneHotEncoder(), ["text"]), ("number", make_pipeline(SimpleImputer(), StandardScaler()), ["number"])]
    )
    labels = np.array(["no", "yes"] * 4)
    for model in (LogisticRegression(), RandomForestClassifier(n_estimators=1)):
        fitted = make_pipeline(columns, model).fit(frame, labels)
        pd.factorize(fitted.predict(frame))
        fitted.predict_proba(frame)


def load(flavor: str, form: str, path: Path) -> Any:
    """The model object; trusting the file is fine here, because the sandbox is the protection."""
    native = {"xgboost": _load_xgboost, "lightgbm": _load_lightgbm, "onnx": _load_onnx}
    if flavor != "sklearn" and flavor not in native:
        raise Refused(f"there is no loader for models of flavor {flavor!r}")
    try:
        if form in ("pickle", "cloudpickle", "joblib", "skops"):
            return _with_manners(_unpickle(form, path))
        if flavor in native:
            return native[flavor](path)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _OPTIONAL:
            raise
        raise Refused(
            f"it needs {missing}, which is not installed: pip install 'venturalitica-agent[models]'"
        ) from error
    raise Refused(f"there is no loader for {flavor} models in the format {form!r}")


def _unpickle(form: str, path: Path) -> Any:
    if form == "skops":
        import skops.io

        return skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))
    if form == "joblib":
        import joblib

        return joblib.load(path)
    import pickle

    with path.open("rb") as file:
        return pickle.load(file)  # noqa: S301 -- this process exists to be the place where that is safe


def _with_manners(model: Any) -> Any:
    """A pickled booster without its scikit-learn class answers scores where a class is expected."""
    for name, wrap in (("xgboost", _xgboost), ("lightgbm", _lightgbm)):
        library = sys.modules.get(name)
        if library is not None and isinstance(model, library.Booster):
            return wrap(model)
    return model


def _load_xgboost(path: Path) -> Any:
    import xgboost

    return _xgboost(xgboost.Booster(model_file=str(path)))


def _xgboost(booster: Any) -> _Booster:
    import xgboost

    objective = json.loads(booster.save_config())["learner"]["objective"]["name"]
    best = booster.attr("best_iteration")  # set by early stopping; the library's own classifier stops there too
    rounds = (0, int(best) + 1) if best else (0, 0)

    def raw(x: Any) -> Any:
        return booster.predict(xgboost.DMatrix(x), iteration_range=rounds)

    return _Booster(raw, objective, booster.feature_names, booster.num_features())


def _load_lightgbm(path: Path) -> Any:
    import lightgbm

    return _lightgbm(lightgbm.Booster(model_file=str(path)))


def _lightgbm(booster: Any) -> _Booster:
    lines = booster.model_to_string(num_iteration=1).splitlines()
    objective = next((line.partition("=")[2].split()[0] for line in lines if line.startswith("objective=")), "")
    objective = {"binary": "binary:logistic", "multiclass": "multi:softprob"}.get(objective, objective)
    return _Booster(booster.predict, objective, booster.feature_name(), booster.num_feature())


def _load_onnx(path: Path) -> Any:
    import onnxruntime  # type: ignore[import-untyped, import-not-found, unused-ignore]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # it would reserve address space that the limit counts
    options.log_severity_level = 4
    return _Onnx(onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]))


class _Booster:
    """A native booster with the manners of a scikit-learn model.

    Native files don't keep the names of the classes: they are 0 … k-1, as both libraries require in training.
    """

    def __init__(self, raw: Any, objective: str, names: list[str] | None, width: int) -> None:
        import numpy as np

        self._raw = raw
        self._binary = objective == "binary:logistic"
        if not self._binary and objective.startswith(("binary:", "multi:softmax", "rank", "multiclassova", "lambda")):
            raise Refused(f"a booster with the objective {objective!r} does not predict class probabilities")
        self._classifier = self._binary or objective == "multi:softprob"
        self.n_features_in_ = width
        if names:
            self.feature_names_in_ = np.array(names, dtype=object)

    def predict(self, x: Any) -> Any:
        if not self._classifier:
            return self._raw(x).astype(float)
        return self.predict_proba(x).argmax(axis=1)

    @property
    def predict_proba(self) -> Any:
        if not self._classifier:
            raise AttributeError("predict_proba")
        return self._probabilities

    def _probabilities(self, x: Any) -> Any:
        import numpy as np

        raw = self._raw(x)
        scores = np.column_stack([1 - raw, raw]) if self._binary else raw
        self.classes_ = np.arange(scores.shape[1])
        return scores


class _Onnx:
    """An ONNX graph with the manners of a scikit-learn model.

    It takes one table of numbers (or of text), or one input per column, named like the column; it answers one label
    per row, maybe with class probabilities (a tensor, or the list of maps that converters call ZipMap), or one number.
    """

    def __init__(self, session: Any) -> None:
        import numpy as np

        self._session = session
        self._inputs = session.get_inputs()
        shapes = [given.shape for given in self._inputs]
        if any(shape and isinstance(shape[0], int) for shape in shapes):
            raise Refused("it takes a fixed number of rows at a time; export it with a free first dimension")
        self._table = len(shapes) == 1 and len(shapes[0]) == 2
        if self._table:
            if isinstance(shapes[0][1], int):
                self.n_features_in_ = shapes[0][1]
        elif all(len(shape) == 1 or (len(shape) == 2 and shape[1] == 1) for shape in shapes):
            self.feature_names_in_ = np.array([given.name for given in self._inputs], dtype=object)
        else:
            raise Refused(f"its inputs have the shapes {shapes}; one table, or one input per column, was expected")
        self._label, self._score = self._choose_outputs([output.type for output in session.get_outputs()])
        self._asked: Any = None
        self._answers: list[Any] = []
        self._named: list[dict[Any, None]] = []

    @staticmethod
    def _choose_outputs(types: list[str]) -> tuple[int, int | None]:
        """Which output is the label (or the number), and which the probabilities."""
        labels = [i for i, type_ in enumerate(types) if type_ in _LABELS]
        scores = [i for i, type_ in enumerate(types) if type_ in _FLOATS or type_.startswith("seq(map(")]
        if len(labels) == 1:
            return labels[0], scores[0] if len(scores) == 1 else None
        if not labels and len(types) == 1 and types[0] in _FLOATS:
            return 0, None
        raise Refused(f"its outputs are {', '.join(types)[:200]}; one label, or one number, per row was expected")

    def predict(self, x: Any) -> Any:
        return self._run(x)[self._label]

    @property
    def predict_proba(self) -> Any:
        if self._score is None:
            raise AttributeError("predict_proba")
        return self._probabilities

    def _probabilities(self, x: Any) -> Any:
        import numpy as np

        answers = self._run(x)
        found = answers[self._score or 0]
        if isinstance(found, list):
            classes = list(found[0])
            scores = np.array([[row[name] for name in classes] for row in found], dtype=float)
            labels = None
        else:
            scores = np.asarray(found, dtype=float)
            labels = _one_per_row(answers[self._label])
        inside = scores.ndim == 2 and scores.shape[1] > 1 and (np.abs(scores - 0.5) <= 0.5 + 1e-6).all()
        if not inside or not np.allclose(scores.sum(axis=1), 1, atol=1e-3):
            raise ValueError("the scores beside the labels are not probabilities")
        seen = [{name: None} for name in classes] if labels is None else _likeliest(scores, labels)
        self._named = [known | new for known, new in zip(self._named or seen, seen, strict=True)]
        return scores.clip(0, 1)  # 32-bit numbers may end just above 1

    @property
    def classes_(self) -> list[Any]:
        """The class of each column of probabilities, as all rows so far tell it; a graph itself doesn't say it.

        Raises ValueError where they don't tell it for every column.
        """
        if not self._named:
            raise AttributeError("classes_")
        classes = [next(iter(names)) for names in self._named if len(names) == 1]
        if len(set(classes)) < len(self._named):
            raise ValueError(
                "the labels don't tell which class each column of probabilities is of; export it with ZipMap"
            )
        return classes

    def _run(self, x: Any) -> list[Any]:
        if x is not self._asked:
            self._answers = self._session.run(None, self._feed(x))
            self._asked = x
        return self._answers

    def _feed(self, x: Any) -> dict[str, Any]:
        import numpy as np
        import pandas as pd

        frame = x if isinstance(x, pd.DataFrame) else pd.DataFrame(x)
        if self._table:
            kind = self._inputs[0].type
            return {self._inputs[0].name: np.column_stack([_cells(frame[name], kind) for name in frame.columns])}
        rows = len(frame)
        return {
            given.name: _cells(frame[given.name], given.type).reshape((rows, 1)[: len(given.shape)])
            for given in self._inputs
        }


def _cells(column: pd.Series, kind: str) -> np.ndarray:
    """A column as the tensor of type `kind` that ONNX wants, if nothing is lost by that."""
    import numpy as np
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    column = column.infer_objects()
    if kind == "tensor(string)":
        text = column.to_numpy(dtype=object)
        if not all(isinstance(value, str) for value in text):
            raise Refused(f"the model wants text in the column {column.name!r}, which holds other or missing values")
        return text
    dtype = {"tensor(float)": "float32", "tensor(double)": "float64"}.get(kind, kind[len("tensor(") : -1])
    if kind not in (*_WHOLE, *_FLOATS, "tensor(bool)"):
        raise Refused(f"the model wants values of the type {kind}, which no column has")
    if not pd.api.types.is_numeric_dtype(column.dtype):
        raise Refused(f"the model wants numbers in the column {column.name!r}, which holds {column.dtype}")
    numbers = column.to_numpy(dtype=float, na_value=np.nan) if column.isna().any() else column.to_numpy()
    with np.errstate(invalid="ignore"):
        tensor = numbers.astype(dtype)
    if kind not in _FLOATS and not (tensor == numbers).all():
        raise Refused(f"the model wants {dtype} in the column {column.name!r}, which holds other numbers")
    return tensor


def _likeliest(scores: np.ndarray, labels: np.ndarray) -> list[dict[Any, None]]:
    """The labels of the rows in which a column of probabilities is clearly the highest, for each column."""
    import numpy as np

    ordered = np.sort(scores, axis=1)
    clear, best = ordered[:, -1] - ordered[:, -2] > 1e-6, scores.argmax(axis=1)
    return [dict.fromkeys(labels[clear & (best == column)].tolist()) for column in range(scores.shape[1])]


def choose_features(model: Any, frame: pd.DataFrame, named: bool) -> Any:
    """What the model is given.

    Args:
        named: the frame already holds exactly the columns of the model's signature.

    Raises:
        Refused: when the model wants columns that aren't there, or doesn't say which it wants.
    """
    wanted = getattr(model, "feature_names_in_", None)
    if wanted is not None and not _made_up(wanted, frame):
        missing = [str(name) for name in wanted if name not in frame.columns]
        if not missing:
            return frame[list(wanted)]
        if not named:
            raise Refused(f"the model wants columns that the data doesn't have: {', '.join(missing[:20])}")
    if named:
        return frame
    width = getattr(model, "n_features_in_", None)
    if width is None:
        raise Refused("the model says neither the names nor the number of its input columns, and has no signature")
    if width != frame.shape[1]:
        raise Refused(
            f"the model was trained on {width} columns without names, and the data has {frame.shape[1]}, "
            "so which of them it wants is unknown"
        )
    return frame.to_numpy()


def _made_up(names: Any, frame: pd.DataFrame) -> bool:
    """Whether they are the names that LightGBM gives to columns without names."""
    made_up = [f"Column_{i}" for i in range(len(names))]
    return list(names) == made_up and not set(made_up) & set(frame.columns)


def answer(model: Any, batches: Iterable[Any]) -> tuple[dict[str, Any], list[list[np.ndarray]]]:
    """The header and the arrays of the answer, each in pieces that follow one another.

    Raises:
        Refused: when what the model predicts is neither one class nor one number per row, or not the same in all rows.
    """
    predicted = _Predicted(model)
    for features in batches:
        predicted.add(features)
    return predicted.header(), predicted.arrays


class _Predicted:
    """What a model said of all batches so far: the answer that it would have given to all their rows at once."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._rows = 0
        self._kind = ""
        self._regression = False
        self._codes: dict[tuple[type, Any], int] = {}
        self._main: list[np.ndarray] = []
        self._scores: list[np.ndarray] | None = None
        self._notes: list[str] = []

    @property
    def arrays(self) -> list[list[np.ndarray]]:
        return [self._main] if self._scores is None else [self._main, self._scores]

    def add(self, features: Any) -> None:
        predicted = _one_per_row(self._model.predict(features))
        if len(predicted) != len(features):
            raise Refused(f"predictions have {len(predicted)} rows, {len(features)} expected")
        kind = "number" if predicted.dtype.kind == "f" else "class"
        if not self._rows:
            self._kind, self._regression = kind, _is_regression(self._model, predicted)
            self._scores = [] if not self._regression and hasattr(self._model, "predict_proba") else None
        self._rows += len(predicted)
        if self._regression:
            self._main.append(_numbers(predicted))
            return
        if kind != self._kind:
            raise Refused("it predicts classes for some rows and numbers for others")
        self._main.append(self._classes(predicted))
        self._add_scores(features, len(predicted))

    def header(self) -> dict[str, Any]:
        """To be asked before `arrays`: scores whose classes are unknown are left out, with a note."""
        classes = self._score_classes()
        values = None if self._regression else [value for _, value in self._codes]
        return {"rows": self._rows, "values": values, "score_classes": classes, "notes": self._notes}

    def _classes(self, predicted: np.ndarray) -> np.ndarray:
        import numpy as np

        codes, values = _factorize(predicted)
        table = [self._codes.setdefault((type(value), value), len(self._codes)) for value in values]
        if len(self._codes) > _MOST_CLASSES:
            raise Refused(f"the model predicts {len(self._codes)} or more classes; at most {_MOST_CLASSES} are audited")
        return np.take(np.array(table, dtype="<i4"), codes)

    def _add_scores(self, features: Any, rows: int) -> None:
        """Labels without scores can still be audited, so a failure is a note."""
        import numpy as np

        if self._scores is None:
            return
        try:
            scores = np.asarray(self._model.predict_proba(features)).astype("<f8")
        except Exception as error:  # noqa: BLE001 -- said in the notes
            self._without_scores(error)
            return
        width = self._scores[0].shape[1:] if self._scores else scores.shape[1:]
        if scores.ndim != 2 or scores.shape != (rows, *width):
            raise Refused(f"class probabilities have the shape {scores.shape} for {rows} rows")
        self._scores.append(scores)

    def _score_classes(self) -> list[str | int | float | bool] | None:
        if self._scores is None:
            return None
        try:
            classes = [_plain(value) for value in self._model.classes_]
        except Exception as error:  # noqa: BLE001 -- said in the notes
            self._without_scores(error)
            return None
        width = self._scores[0].shape[1]
        if len(classes) != width:
            raise Refused(f"class probabilities have {width} columns, and there are {len(classes)} classes")
        if len(classes) > _MOST_CLASSES:
            raise Refused(f"the model knows {len(classes)} classes; at most {_MOST_CLASSES} can be audited")
        return classes

    def _without_scores(self, error: Exception) -> None:
        self._scores = None
        self._notes.append(f"class probabilities are not available: {type(error).__name__}: {error}"[:300])


def _one_per_row(predicted: Any) -> np.ndarray:
    import numpy as np

    array = np.asarray(predicted)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise Refused(f"predictions have the shape {array.shape}; one value per row was expected")
    return array


def _is_regression(model: Any, predicted: np.ndarray) -> bool:
    """Whole numbers are classes unless the model is a regressor; floats are numbers unless it is a classifier."""
    from sklearn.base import is_classifier, is_regressor

    if hasattr(model, "classes_") or predicted.dtype.kind not in "iuf":
        return False
    try:
        return is_regressor(model) or (predicted.dtype.kind == "f" and not is_classifier(model))
    except AttributeError:  # not a scikit-learn class: it can't be asked
        return predicted.dtype.kind == "f"


def _numbers(predicted: np.ndarray) -> np.ndarray:
    if predicted.dtype.kind not in "iuf":
        raise Refused("it predicts numbers for some rows and something else for others")
    return predicted.astype("<f8")


def _factorize(predicted: np.ndarray) -> tuple[np.ndarray, list[str | int | float | bool]]:
    import pandas as pd

    codes, uniques = pd.factorize(predicted, use_na_sentinel=True)
    if len(uniques) > _MOST_CLASSES:
        raise Refused(f"the model predicts {len(uniques)} different classes; at most {_MOST_CLASSES} can be audited")
    if (codes < 0).any():
        raise Refused(f"{int((codes < 0).sum())} of {len(codes)} predictions are missing values")
    return codes, [_plain(value) for value in uniques]


def _plain(value: Any) -> str | int | float | bool:
    import numpy as np

    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value)
    if isinstance(value, str):
        return str(value)
    raise Refused(
        f"the model predicts classes of type {type(value).__name__}; text, numbers and booleans can be audited"
    )


def read_batches(path: Path, gaps: Iterable[str]) -> Iterator[pd.DataFrame]:
    """The features, batch by batch, with the types that the whole table would have.

    They are read, not mapped: a mapped file would count as memory of this process.

    Args:
        gaps: columns with missing values, maybe in other batches; pandas has no gaps in whole numbers and booleans.
    """
    import numpy as np
    import pyarrow as pa

    with pa.OSFile(str(path)) as source, pa.ipc.open_file(source) as table:
        for i in range(table.num_record_batches):
            frame = table.get_batch(i).to_pandas()
            for name in gaps:
                dtype = frame[name].dtype
                if isinstance(dtype, np.dtype) and dtype.kind in "iub":  # pandas' own types know gaps
                    frame[name] = frame[name].astype("object" if dtype.kind == "b" else "float64")
            yield frame


def work(job: dict[str, Any]) -> Iterator[memoryview]:
    """The whole job: load, then choose and predict for each table. Gives the answers in pieces."""
    import numpy as np

    model, unloaded = None, None
    try:
        model = load(job["flavor"], job["format"], SLOT / "model" / job["file"])
    except BaseException as error:  # noqa: BLE001 -- reported; SystemExit must not look like a silent end
        unloaded = _failed("load", error)
    for table in job["tables"]:
        header, arrays = unloaded or _asked(model, table, job["named"])
        yield memoryview(json.dumps(header).encode() + b"\n")
        for pieces in arrays:
            for piece in pieces:
                yield np.ascontiguousarray(piece).data.cast("B")


def _asked(model: Any, table: dict[str, Any], named: bool) -> tuple[dict[str, Any], list[list[np.ndarray]]]:
    stage = "features"
    try:
        frames = read_batches(SLOT / table["file"], table["gaps"])
        first = choose_features(model, next(frames), named)
        stage = "predict"
        return answer(model, chain((first,), (choose_features(model, frame, named) for frame in frames)))
    except BaseException as error:  # noqa: BLE001 -- reported, as above
        return _failed(stage, error)


def _failed(stage: str, error: BaseException) -> tuple[dict[str, Any], list[list[np.ndarray]]]:
    """A failure is an answer too."""
    kind = "" if isinstance(error, Refused) else type(error).__name__
    return {"failed": stage, "type": kind, "message": str(error)[:2000]}, []


def main() -> None:
    channel = os.dup(1)  # what the model prints must not mix with the answer
    os.dup2(2, 1)
    import_libraries()
    os.write(channel, b"ready\n")
    if not select.select([0], [], [], 0.2)[0]:  # waiting warm: time to import what only some models need, and slowly
        import skops.io  # noqa: F401
    if not sys.stdin.readline():
        os._exit(0)
    for piece in work(json.loads((SLOT / "job.json").read_text())):
        reply = piece
        while reply:
            reply = reply[os.write(channel, reply) :]
    os._exit(0)  # threads and exit handlers of the model have no say in when this ends


if __name__ == "__main__":
    main()
