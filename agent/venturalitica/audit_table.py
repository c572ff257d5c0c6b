"""The table that is audited: what the model eats, the truth, and the columns that play roles, row by row.

Training code keeps these in different hands: `audit_data` as people read it, X as the model eats it, y as it is coded.
Where they are the same rows they are put side by side without loss; where they are not, `audit_data` must hold the
model's own input columns. What can't be told is an error, because a model that is fed other columns than it knows still
answers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from venturalitica.roles import DATA, TARGET
from venturalitica_agent.errors import PermanentError

if TYPE_CHECKING:
    import pandas as pd

_SAME_ROWS = "the audit data are the rows that the model was trained on"
_WORD = "that the audit data are prepared as the model's inputs were is the word of the training code"
_ENCODED = (
    f"pass {DATA} with the columns that the model is fitted on, or the same rows in the same order as X "
    "(then X itself is written beside them), or wrap the pipeline that encodes them"
)


@dataclass(frozen=True)
class AuditTable:
    """A table and what its columns mean.

    Attributes:
        frame: rows by columns; names are text and unique.
        columns: role -> as agent.yaml's `columns:`.
        training: whether these are the rows of X.
        notes: what a reader of the verdict must know of it.
    """

    frame: pd.DataFrame
    columns: Mapping[str, Mapping[str, Any]]
    training: bool
    notes: tuple[str, ...] = ()


def inputs_of(x: Any) -> list[tuple[str, Any]]:
    """Name and dtype of each column of X, named as scikit-learn would; empty where X is no table."""
    names = list(getattr(x, "columns", ()))
    if names and all(isinstance(name, str) for name in names):
        return [(name, x[name].dtype) for name in names]
    shape = getattr(x, "shape", None)
    if shape is None and isinstance(x, list | tuple) and x and isinstance(x[0], list | tuple):
        shape = (len(x), len(x[0]))
    if shape is None or len(shape) != 2:
        return []
    dtypes = list(x.dtypes) if names else [getattr(x, "dtype", None)] * shape[1]
    return [(f"x{i}", dtypes[i]) for i in range(shape[1])]


def audit_table(
    x: Any, y: Any, given: Any, said: Mapping[str, Mapping[str, Any]], roles: Collection[str]
) -> AuditTable:
    """Put the table together.

    Args:
        given: `audit_data`. said: role -> what `fit` was told of it (see `roles.column_of`).
        roles: every role of the policy; a column with the name of one is kept as if it had been named.

    Raises:
        PermanentError: the model's inputs can't be had from this, with what to do.
    """
    frame = _frame(given)
    _check(frame)
    wanted = _wanted(said, roles, frame)
    features = _features(x)
    if features is not None and _same_rows(features, frame, x, y, said):
        return _side_by_side(features, frame, y, said, wanted)
    return _as_given(features, frame, y, said)


def _frame(given: Any) -> pd.DataFrame:
    import pandas as pd

    if not isinstance(given, pd.DataFrame) and hasattr(given, "to_pandas"):
        given = given.to_pandas()
    if not isinstance(given, pd.DataFrame):
        what = f"{DATA} is of the type {type(given).__name__}, and a pandas DataFrame was expected"
        raise PermanentError(what, remedy=f"pass the table as a DataFrame: {DATA}=train_df")
    return given.set_axis([str(name) for name in given.columns], axis=1)


def _check(frame: pd.DataFrame) -> None:
    twice = list(frame.columns[frame.columns.duplicated()])
    if twice or not len(frame):
        what = f"{DATA} has several columns of the name {twice[0]!r}" if twice else f"{DATA} has no rows"
        raise PermanentError(what, remedy="rename them" if twice else "pass the rows that are to be audited")


def _features(x: Any) -> pd.DataFrame | None:
    """X as a table with the names of `inputs_of`; None where it is none."""
    import pandas as pd

    names = [name for name, _ in inputs_of(x)]
    if hasattr(x, "toarray"):  # sparse: its zeros are values like others
        x = x.toarray()
    if not names or len(set(names)) < len(names):
        return None
    if hasattr(x, "to_pandas"):
        x = x.to_pandas()
    return x.set_axis(names, axis=1) if isinstance(x, pd.DataFrame) else pd.DataFrame(x, columns=names)


def _wanted(said: Mapping[str, Mapping[str, Any]], roles: Collection[str], frame: pd.DataFrame) -> list[str]:
    """The columns of `audit_data` that play roles, in its order."""
    named = {str(binding["column"]) for binding in said.values() if "column" in binding}
    return [name for name in frame.columns if name in named or (name in roles and name not in said)]


# -- the same rows ------------------------------------------------------------------------------------------------
def _same_rows(
    features: pd.DataFrame, frame: pd.DataFrame, x: Any, y: Any, said: Mapping[str, Mapping[str, Any]]
) -> bool:
    """Equal length, equal index where X has one, and nothing that both know tells otherwise."""
    import pandas as pd

    if len(features) != len(frame) or (isinstance(x, pd.DataFrame) and not features.index.equals(frame.index)):
        return False
    labels = _labels(y)
    truth = said.get(TARGET, {}).get("column") or getattr(y, "name", None)
    if truth in frame.columns and labels is not None:
        return _recoded(frame[truth], labels)
    shared = [name for name in features.columns if name in frame.columns]
    if not shared or any(_equal(features[name], frame[name]) for name in shared):
        return True
    return labels is not None and any(_tells(frame[name], labels) for name in frame.columns)


def _labels(y: Any) -> pd.Series | None:
    """y as one column without an index; None where it is none."""
    import numpy as np
    import pandas as pd

    values = np.asarray(y) if y is not None else np.empty((0, 0))
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    return pd.Series(values) if values.ndim == 1 else None


def _recoded(truth: pd.Series, labels: pd.Series) -> bool:
    """Whether each value of `truth` always goes with one value of `labels`: equal, or the same in another coding."""
    import pandas as pd

    if len(truth) != len(labels):
        return False
    pairs = pd.DataFrame({"truth": truth.to_numpy(), "label": labels.to_numpy()}).drop_duplicates()
    return bool(pairs["truth"].duplicated().sum() == 0)


def _tells(column: pd.Series, labels: pd.Series) -> bool:
    """Whether a column is y in another coding, which a column of ids or of measurements would be by accident."""
    return column.nunique() <= len(column) // 2 and _recoded(column, labels)


def _equal(one: pd.Series, other: pd.Series) -> bool:
    """Value by value, by position, whatever the dtypes."""
    import numpy as np

    a, b = (column.astype(object).where(column.notna(), None).to_numpy() for column in (one, other))
    return len(a) == len(b) and bool(np.all([p is q or p == q for p, q in zip(a, b, strict=True)]))


def _side_by_side(
    features: pd.DataFrame, frame: pd.DataFrame, y: Any, said: Mapping[str, Mapping[str, Any]], wanted: Sequence[str]
) -> AuditTable:
    labels = _labels(y)
    frame = frame.reset_index(drop=True)
    features = features.reset_index(drop=True)
    truth = _truth(frame, y, labels, said)
    renamed: dict[str, str] = {}
    if set(features.columns) <= set(frame.columns) and all(_equal(features[n], frame[n]) for n in features.columns):
        table = frame.copy(deep=False)
    else:
        table = features.copy(deep=False)
        for name in dict.fromkeys([*wanted, *([truth] if truth else [])]):
            renamed[name] = _add(table, name, frame[name], DATA)
    columns = {role: dict(binding) for role, binding in said.items()}
    for role in (name for name in wanted if renamed.get(name, name) != name and name not in said):
        columns.setdefault(role, {"column": role})  # it was bound by its name, which is now the input's
    for binding in columns.values():
        if "column" in binding:
            binding["column"] = renamed.get(binding["column"], binding["column"])
    if "column" not in columns.get(TARGET, {}) and labels is not None:
        name = str(getattr(y, "name", None) or TARGET)
        column = renamed.get(truth, truth) if truth else _add(table, name, labels, "y")
        columns[TARGET] = {"column": column, **columns.get(TARGET, {})}
    return AuditTable(table, columns, True, (_SAME_ROWS,))


def _truth(frame: pd.DataFrame, y: Any, labels: pd.Series | None, said: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The column that holds exactly y: of y's own name, or else the first one; the one that `target=` names."""
    if declared := said.get(TARGET, {}).get("column"):
        return str(declared) if declared in frame.columns else None
    if labels is None:
        return None
    first = [str(name)] if (name := getattr(y, "name", None)) is not None and str(name) in frame.columns else []
    return next((str(n) for n in [*first, *frame.columns] if _equal(frame[n], labels)), None)


def _add(table: pd.DataFrame, name: str, values: pd.Series, origin: str) -> str:
    """Put the column into the table, beside one of the same name that holds other values. Returns its name there."""
    free, n = name, 1
    while free in table.columns:
        if _equal(table[free], values):
            return free
        free, n = f"{name} ({origin}{f' {n}' if n > 1 else ''})", n + 1
    table[free] = values.array
    return free


# -- other rows ---------------------------------------------------------------------------------------------------
def _as_given(
    features: pd.DataFrame | None, frame: pd.DataFrame, y: Any, said: Mapping[str, Mapping[str, Any]]
) -> AuditTable:
    if features is None:
        what = f"X is not a table, so what the model eats can't be had from {DATA}"
        raise PermanentError(what, remedy="fit on a DataFrame or a two-dimensional array")
    missing = [name for name in features.columns if name not in frame.columns]
    if missing:
        shown = ", ".join(map(repr, missing[:5])) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise PermanentError(
            f"{DATA} holds neither the rows of X nor the model's input columns; it lacks {shown}", remedy=_ENCODED
        )
    other = [name for name in features.columns if features[name].dtype.kind != frame[name].dtype.kind]
    if other:
        raise PermanentError(
            f"the column {other[0]!r} of {DATA} holds {frame[other[0]].dtype}, and the model was fitted on "
            f"{features[other[0]].dtype}: it is not what the model eats",
            remedy=_ENCODED,
        )
    columns = {role: dict(binding) for role, binding in said.items()}
    name = getattr(y, "name", None)
    if "column" not in columns.get(TARGET, {}) and name in frame.columns:
        columns[TARGET] = {"column": name, **columns.get(TARGET, {})}
    # A target whose column nobody named is bound by its name, if there is such a column.
    columns = {role: {"column": role, **binding} for role, binding in columns.items()}
    return AuditTable(frame, columns, False, (_WORD, *_overlap(features, frame)))


def _overlap(features: pd.DataFrame, frame: pd.DataFrame) -> tuple[str, ...]:
    """Says how many audited rows the model has seen, going by the values of its inputs."""
    import pandas as pd

    names = list(features.columns)
    try:
        seen = set(pd.util.hash_pandas_object(features, index=False))
        known = int(pd.util.hash_pandas_object(frame[names], index=False).isin(seen).sum())
    except TypeError:  # cells that can't be hashed
        return ("whether the audited rows are among the training rows could not be told",)
    if known == len(frame):
        return (f"all {known:,} audited rows have the same input values as rows that the model was trained on",)
    return (
        (f"{known:,} of the {len(frame):,} audited rows have the same input values as training rows",) if known else ()
    )
