"""What is audited in a run: model + data + column binding, all by digest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class DigestCheck(StrEnum):
    """Our recomputation of the tracker's own digest."""

    MATCH = "match"
    MISMATCH = "mismatch"
    UNCHECKABLE = "uncheckable"


@dataclass(frozen=True, slots=True)
class FileDigest:
    """One file by name (relative, POSIX), size in bytes and SHA-256 (64 hex)."""

    name: str
    size: int
    sha256: str


def files_digest(files: Iterable[FileDigest]) -> str:
    """SHA-256 (64 hex) of the list that `sha256sum` prints for these files, sorted by name."""
    lines = (f"{f.sha256}  {f.name}\n" for f in sorted(files, key=lambda f: f.name))
    return sha256("".join(lines).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a part of the subject is not there. `what` and `remedy` are sentences for a person."""

    what: str
    remedy: str = ""
    code: str = "unavailable"


@dataclass(frozen=True, slots=True)
class ModelSubject:
    """A model in our cache, described by our own reading of `MLmodel`, or by what its only model file is.

    Attributes:
        path: folder in the cache that holds exactly `files`.
        flavor: who loads it: "sklearn" (for every pickled object), "xgboost", "lightgbm" or "onnx".
        file: the model file to load, relative to `path`.
        format: "pickle", "cloudpickle", "joblib" (also plain pickles, packed or not), "skops", "onnx" or a booster's
            native format ("ubj", "json", "xgb", "lgb").
        inputs: column names of the signature, in order; empty when there is none.
        input_kinds: the signature's type of each of them, "" where it has none that we know.
        environment: package versions that the model says it was trained with.
        digest: SHA-256 over the sorted (name, sha256) list, see `files_digest`.
        place: where among the run's artifacts it is, for one that the tracker doesn't know as a model.
    """

    name: str
    path: str
    digest: str
    files: tuple[FileDigest, ...]
    flavor: str
    file: str
    format: str
    inputs: tuple[str, ...] = ()
    model_id: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    input_kinds: tuple[str, ...] = ()
    place: str = ""


@dataclass(frozen=True, slots=True)
class DataSubject:
    """One table in our cache.

    Attributes:
        path: the file in the cache.
        format: "csv", "parquet", "json-split" (mlflow.log_table) or "wandb-table".
        origin: where it came from, in words: "artifact data/test.csv of the run".
        tracker_digest: the tracker's digest of the same dataset, empty when it logged none.
        check: our recomputation of that digest.
        columns: names of all its columns, in order; rows: how many rows.
        place: where the same bytes are found again, see `fetch.sources.Source`; empty in decisions that don't know it.
    """

    name: str
    path: str
    format: str
    origin: str
    file: FileDigest
    columns: tuple[str, ...]
    rows: int
    tracker_digest: str = ""
    check: DigestCheck = DigestCheck.UNCHECKABLE
    check_reason: str = ""
    place: str = ""


@dataclass(frozen=True, slots=True)
class ColumnBinding:
    """A role bound to a column.

    Attributes:
        how: "declared" in agent.yaml, "policy" (named by the policy), "name" (the column has the role's
            name), or "inferred" (a synonym, only with `auto: true`).
        positive: the positive class as agent.yaml writes it; None when it doesn't say.
        groups: group name -> the values that belong to it; empty for "each value is a group".
        bins: upper edges, ascending: [25] makes `<= 25` and `> 25`.
    """

    role: str
    column: str
    how: str
    positive: str | int | float | bool | None = None
    groups: Mapping[str, tuple[str | int | float | bool, ...]] = field(default_factory=dict)
    bins: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Subject:
    """What one audit looks at. What is missing is said in `problems`, by "model", a split, or "role:<name>".

    A problem never stops the audit: it makes the controls that need the part `error`, with its words.

    Attributes:
        metrics: which package each metric that isn't the agent's own comes from, with version and digest.
    """

    model: ModelSubject | None = None
    data: Mapping[str, DataSubject] = field(default_factory=dict)
    binding: Mapping[str, ColumnBinding] = field(default_factory=dict)
    problems: Mapping[str, Problem] = field(default_factory=dict)
    metrics: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """What the sandboxed model answered, validated as data.

    Attributes:
        n: rows.
        values: the distinct predicted classes, or None for a regression.
        codes: (n,) int index into `values`; None for a regression.
        numbers: (n,) float, for a regression.
        scores: (n, k) class probabilities in the order of `score_classes`, or None.
        notes: sentences worth keeping in the evidence.
    """

    n: int
    values: tuple[str | int | float | bool, ...] | None
    codes: NDArray[np.int64] | None
    numbers: NDArray[np.float64] | None = None
    scores: NDArray[np.float64] | None = None
    score_classes: tuple[str | int | float | bool, ...] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DataRef:
    """Where agent.yaml says that a split is.

    Attributes:
        kind: "artifact" (a glob), "dataset" (name or context), "file" or "wandb".
    """

    kind: str
    value: str


@dataclass(frozen=True, slots=True)
class DataPlan:
    """What one audit entry of agent.yaml says about data and columns.

    Attributes:
        data: split ("evaluation", "training") -> where it is.
        columns: role -> declared binding.
        auto: whether a role without a binding may be bound by a synonym (the evidence then says "inferred").
    """

    data: Mapping[str, DataRef] = field(default_factory=dict)
    columns: Mapping[str, ColumnBinding] = field(default_factory=dict)
    auto: bool = False
