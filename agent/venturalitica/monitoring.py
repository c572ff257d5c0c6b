"""`vl.monitor`: the same record for any framework, for code that has no `fit` to wrap. It observes a block of code,
notes what came in and went out by hash, and leaves that on the run; what `wrap` finds out by itself is told by hand.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from venturalitica import trackers
from venturalitica.attaching import TABLE, Snapshot, Trouble, declaration, parquet, safely, snapshot
from venturalitica.environment import environment, peak_memory
from venturalitica.model_files import FOLDER, model_files
from venturalitica.roles import column_of
from venturalitica.trackers import folder_run, mlflow_run, wandb_run

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = "venturalitica.monitor/1"
RECORD = "venturalitica/monitor.json"
_CHUNK = 1 << 20


class Monitor:
    """A block of code under observation; made by `monitor`. Nothing of it raises into the block."""

    def __init__(self, name: str, policy: Path) -> None:
        self._name = name
        self._policy_file = policy
        self._inputs: dict[str, dict[str, Any]] = {}
        self._outputs: dict[str, dict[str, Any]] = {}
        self._problems: list[Trouble] = []
        self._columns: dict[str, dict[str, Any]] = {}
        self._frame: pd.DataFrame | None = None
        self._parquet = b""
        self._model: dict[str, bytes] = {}
        self._undeclared: Trouble | None = None

    # -- what the block tells -----------------------------------------------------------------------------------
    def input(self, name: str, value: Any) -> None:
        """Note what the code reads: path of a file or folder, DataFrame, array or bytes. Only the hash is kept."""
        self._note(self._inputs, name, value)

    def output(self, name: str, value: Any) -> None:
        """Note what the code wrote, likewise; call it when it is written."""
        self._note(self._outputs, name, value)

    def audit_data(self, frame: pd.DataFrame, **roles: Any) -> None:
        """The table that is audited, and which column plays which role of the policy.

        Args:
            roles: role -> the name of its column, or a map as in agent.yaml: `{"column": "age", "bins": [25]}`.
        """
        done = safely(lambda: self._take_data(frame, roles), "the audit data can't be used")
        self._undeclared = done if isinstance(done, Trouble) else self._undeclared

    def model(self, model: Any) -> None:
        """The model that is audited: a fitted scikit-learn-like object, or the path of a model's file or folder."""
        done = safely(lambda: self._take_model(model), "the model can't be written")
        self._undeclared = done if isinstance(done, Trouble) else self._undeclared

    def _take_data(self, frame: pd.DataFrame, roles: dict[str, Any]) -> None:
        columns = {role: {"column": role, **column_of(role, said)} for role, said in roles.items()}
        self._frame, self._columns, self._parquet = frame, columns, parquet(frame)

    def _take_model(self, model: Any) -> None:
        if isinstance(model, str | Path):
            path = Path(model)
            self._model = {f"{FOLDER}/{name}": file.read_bytes() for name, file in _files(path)}
        else:
            names = [str(name) for name in getattr(model, "feature_names_in_", ())]
            frame = self._frame
            known = frame is not None and set(names) <= set(frame.columns)
            self._model = model_files(
                model, [(n, frame[n].dtype) for n in names] if known and frame is not None else ()
            )

    def _note(self, where: dict[str, dict[str, Any]], name: str, value: Any) -> None:
        found = safely(lambda: fingerprint(value), f"{name!r} can't be hashed")
        if isinstance(found, Trouble):
            self._problems.append(found)
            found = {"problem": found.what}
        where[name] = found

    # -- the block ----------------------------------------------------------------------------------------------
    def __enter__(self) -> Monitor:
        self._snapshot: Snapshot = snapshot(self._policy_file)
        self._mlflow_run = safely(mlflow_run.last, "MLflow can't be asked")
        self._environment = safely(environment, "the environment can't be described")
        self._memory = peak_memory()
        self._began, self._clock = time.time(), time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        seconds = time.monotonic() - self._clock
        runs = safely(self._runs, "the active run can't be found")
        if isinstance(runs, Trouble):
            return
        record = safely(lambda: self._record(kind, seconds), "the record can't be made")
        for run in runs:
            run_id = run.place.run_id
            done = safely(partial(self._attach, run, record), f"nothing was attached to {run_id}")
            if isinstance(done, Trouble):
                told = partial(run.put, self._declaration(done))
                safely(told, f"the failure can't be recorded on {run_id}")
            safely(partial(run.end, failed=kind is not None), f"the run {run_id} can't be ended")
        if kind is None:
            safely(lambda: _expect(runs, self._snapshot.path), "the audit can't be arranged")

    def _runs(self) -> list[trackers.Tracker]:
        before = self._mlflow_run if isinstance(self._mlflow_run, str) else None
        found = [mlflow_run.active(before), wandb_run.active()]
        there: list[trackers.Tracker] = [run for run in found if run is not None]
        return there or [replace(folder_run.begin(self._name), started=int(self._began * 1000))]

    def _record(self, kind: type[BaseException] | None, seconds: float) -> dict[str, bytes]:
        known: dict[str, Any] = {} if isinstance(self._environment, Trouble) else self._environment
        about = {
            "schema": SCHEMA,
            "name": self._name,
            "status": "finished" if kind is None else "failed",
            "error": None if kind is None else f"{kind.__module__}.{kind.__qualname__}",  # its words may hold data
            "started": _rfc3339(self._began),
            "ended": _rfc3339(self._began + seconds),
            "seconds": round(seconds, 3),
            "peak_memory_bytes": {"before": self._memory, "after": peak_memory()},
            "inputs": self._inputs,
            "outputs": self._outputs,
            "environment": known,
            "problems": [problem.what for problem in self._problems],
        }
        return {RECORD: (json.dumps(about, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "replace")}

    def _attach(self, run: trackers.Tracker, record: dict[str, bytes] | Trouble) -> None:
        policy = self._snapshot
        files = {f"policy_snapshot/{policy.path.name}": policy.content} if policy.content else {}
        run.put({**files, **self._model, **({} if isinstance(record, Trouble) else record)})
        if self._frame is not None:
            run.put_table(TABLE, self._parquet, self._frame, ["evaluation"])
        if self._frame is not None or self._model or self._trouble is not None:
            run.put(self._declaration(self._trouble))

    @property
    def _trouble(self) -> Trouble | None:
        """Why what the block declares can't be relied on; a hash that can't be taken is no such reason."""
        return self._undeclared or (self._snapshot.policy if isinstance(self._snapshot.policy, Trouble) else None)

    def _declaration(self, trouble: Trouble | None) -> dict[str, bytes]:
        data = {"evaluation": {"artifact": TABLE}} if self._frame is not None else {}
        return declaration(
            self._snapshot, by="monitor", model=bool(self._model), data=data, columns=self._columns, trouble=trouble
        )


def monitor(name: str, policy: str | Path = "model_policy.yaml") -> Monitor:
    """Observe a block of code: `with vl.monitor("training", policy="model_policy.yaml") as m: …`.

    At its end the record (`venturalitica/monitor.json`), the policy snapshot and what was declared are attached to the
    active run of MLflow or W&B, or to a new one in a folder, and the run is audited when it ends. An exception passes
    through and is recorded as failed.

    Args:
        policy: file of the policy; read when the block begins.
    """
    return Monitor(name, Path(policy).absolute())


def fingerprint(value: Any) -> dict[str, Any]:
    """What identifies a value without keeping it: kind, size and SHA-256 (64 hex).

    A DataFrame's is of its column names, types and the hash of each row with its index; an array's of type, shape and
    bytes; a folder's of what `sha256sum` prints for its files, sorted by name.

    Raises:
        TypeError: a kind of value that has no such identity. OSError: a file that can't be read.
    """
    if isinstance(value, str | Path):
        return _of_path(Path(value))
    if isinstance(value, bytes | bytearray | memoryview):
        return {"kind": "bytes", "bytes": len(value), "sha256": sha256(value).hexdigest()}
    if hasattr(value, "to_pandas") and not hasattr(value, "dtypes"):
        value = value.to_pandas()
    kind = type(value).__module__.partition(".")[0]
    if kind == "pandas":
        return _of_pandas(value)
    if hasattr(value, "detach"):  # a tensor of torch
        value = value.detach().cpu().numpy()
    if type(value).__module__.partition(".")[0] == "numpy" and hasattr(value, "tobytes"):
        if value.dtype.hasobject:
            raise TypeError("an array of objects has no bytes of its own; note a DataFrame instead")
        digest = sha256(f"{value.dtype.str}{value.shape}".encode() + value.tobytes()).hexdigest()
        return {"kind": "array", "shape": list(value.shape), "dtype": str(value.dtype), "sha256": digest}
    raise TypeError(f"a {type(value).__name__} can't be hashed; pass a path, a DataFrame, an array or bytes")


def _of_pandas(value: Any) -> dict[str, Any]:
    import pandas as pd

    frame = value.to_frame() if isinstance(value, pd.Series) else value
    head = repr([(str(name), str(dtype)) for name, dtype in zip(frame.columns, frame.dtypes, strict=True)])
    rows = pd.util.hash_pandas_object(frame, index=True).to_numpy().tobytes()
    digest = sha256(head.encode() + rows).hexdigest()
    return {"kind": "table", "rows": len(frame), "columns": len(frame.columns), "sha256": digest}


def _of_path(path: Path) -> dict[str, Any]:
    files = [(name, file.stat().st_size, _digest(file)) for name, file in _files(path)]
    size = sum(size for _, size, _ in files)
    if not path.is_dir():
        return {"kind": "file", "name": path.name, "bytes": size, "sha256": files[0][2]}
    listed = "".join(f"{digest}  {name}\n" for name, _, digest in files)
    digest = sha256(listed.encode()).hexdigest()
    return {"kind": "folder", "name": path.name, "files": len(files), "bytes": size, "sha256": digest}


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """(name below `path`, file), sorted by name; `path` itself where it is a file."""
    if path.is_dir():
        found = ((file.relative_to(path).as_posix(), file) for file in path.rglob("*") if file.is_file())
        yield from sorted(found)
    else:
        yield path.name, path


def _digest(file: Path) -> str:
    found = sha256()
    with file.open("rb") as source:
        while chunk := source.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _expect(runs: list[trackers.Tracker], policy: Path) -> None:
    from venturalitica.aftermath import expect

    expect([run.place for run in runs], policy)
