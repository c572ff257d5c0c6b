"""What a fit leaves on the runs that are open: the policy, the audit data, the model, and the declaration that says
what is what. Training goes on whatever happens here: there is one boundary, `safely`, and what fails behind it is
logged and is declared on the run, so that the agent gives `error` with that reason and not a verdict on something else.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from venturalitica import trackers
from venturalitica.audit_table import AuditTable, audit_table, inputs_of
from venturalitica.model_files import FOLDER, model_files
from venturalitica.roles import DATA, column_of, roles_of
from venturalitica.trackers import mlflow_run

if TYPE_CHECKING:
    import pandas as pd

    from venturalitica_agent.domain.policy import Policy

T = TypeVar("T")
log = logging.getLogger("venturalitica")

SCHEMA = "venturalitica.declaration/1"
DECLARATION = "venturalitica/declaration.json"
TABLE = "venturalitica_data/audit.parquet"
_LONGEST = 1000  # characters of a sentence in a declaration


@dataclass(frozen=True)
class Trouble:
    """Something of ours that failed: what, and what to do."""

    what: str
    remedy: str = ""


@dataclass(frozen=True)
class Snapshot:
    """The policy file as it was when training began.

    Attributes:
        content: its bytes; empty when it can't be read.
        policy: what they mean, or why they mean nothing.
    """

    path: Path
    content: bytes
    policy: Policy | Trouble

    @property
    def known(self) -> Policy | None:
        return None if isinstance(self.policy, Trouble) else self.policy


@dataclass(frozen=True)
class Prepared:
    """What is known before the fit, which may change its inputs in place.

    Attributes:
        table: the audit data as parquet; None when `fit` got none.
        inputs: name and dtype of the model's input columns.
        mlflow_run: the run that MLflow said was its last; None where it said nothing.
    """

    snapshot: Snapshot
    inputs: list[tuple[str, Any]] = field(default_factory=list)
    table: AuditTable | None = None
    parquet: bytes = b""
    columns: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    mlflow_run: str | None = None
    trouble: Trouble | None = None


def snapshot(path: Path) -> Snapshot:
    """Read the policy. Never raises, and leaves it to `prepare` to tell what is wrong with it."""
    content = safely(lambda: _policy_file(path).read_bytes(), f"the policy {path} can't be read", logging.DEBUG)
    if isinstance(content, Trouble):
        return Snapshot(path, b"", content)
    file = _policy_file(path)
    policy = safely(lambda: _parse(content, file.name), f"the policy {file} can't be used", logging.DEBUG)
    return Snapshot(file, content, policy)


def prepare(snapshot: Snapshot, x: Any, y: Any, said: Mapping[str, Any]) -> Prepared:
    """Put the audit data together. Never raises.

    Args:
        said: our keywords of `fit`.
    """
    policy = snapshot.policy
    last = safely(mlflow_run.last, "MLflow's last run can't be found")
    before = None if isinstance(last, Trouble) else last
    if isinstance(policy, Trouble):
        _tell(policy, logging.ERROR)
        return Prepared(snapshot, mlflow_run=before, trouble=policy)
    found = safely(lambda: _prepared(snapshot, policy, x, y, said), "the audit data can't be used")
    if isinstance(found, Trouble):
        return Prepared(snapshot, mlflow_run=before, trouble=found)
    return replace(found, mlflow_run=before)


def attach(prepared: Prepared, model: Any) -> None:
    """Leave everything on the open runs and have them audited when they end. Never raises."""
    runs = safely(lambda: trackers.active(prepared.mlflow_run), "the active run can't be found")
    if isinstance(runs, Trouble):
        return
    written = safely(lambda: model_files(model, prepared.inputs), "the model can't be written")
    for run in runs:
        name = f"the {run.place.kind} run {run.place.run_id}"
        done = safely(partial(_attach, run, prepared, written), f"not everything could be attached to {name}")
        if isinstance(done, Trouble):
            safely(partial(_attach_error, run, prepared, done), f"that can't be recorded on {name} either")
        safely(run.end, f"{name} can't be ended")
    safely(lambda: _expect(runs, prepared.snapshot.path), "the audit can't be arranged")


def safely(work: Callable[[], T], otherwise: str, level: int = logging.ERROR) -> T | Trouble:
    """What `work` gives. Governance never breaks training: whatever it raises becomes a `Trouble`, and one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # trackers warn about types and paths that the user didn't choose
            return work()
    except Exception as error:  # the one boundary between governance and training
        what = getattr(error, "what", "") or f"{type(error).__name__}: {error}"
        trouble = Trouble(f"{otherwise}: {what}", getattr(error, "remedy", ""))
        _tell(trouble, level)
        log.debug("governance failed", exc_info=True)
        return trouble


def _tell(trouble: Trouble, level: int) -> None:
    line = f"{trouble.what} ({trouble.remedy})" if trouble.remedy else trouble.what
    log.log(level, "%s", _sentence(line))


def _policy_file(path: Path) -> Path:
    from venturalitica_agent.errors import ConfigError
    from venturalitica_agent.policy.load import policy_files

    files = policy_files(path)
    if len(files) != 1:
        raise ConfigError(f"the folder {path} holds {len(files)} policies", remedy="name one of the files")
    return files[0]


@lru_cache(maxsize=16)
def _parse(content: bytes, name: str) -> Policy:
    """Searches fit many copies under one policy."""
    from venturalitica_agent.policy.load import parse_policy

    return parse_policy(content, name)


def _prepared(snapshot: Snapshot, policy: Policy, x: Any, y: Any, said: Mapping[str, Any]) -> Prepared:
    columns = {role: column_of(role, value) for role, value in said.items() if role != DATA}
    inputs = inputs_of(x)
    given = said.get(DATA)
    if given is None:
        columns = {role: {"column": role, **binding} for role, binding in columns.items()}
        return Prepared(snapshot, inputs, columns=columns)
    table = audit_table(x, y, given, columns, roles_of(policy))
    return Prepared(snapshot, inputs, table, parquet(table.frame), table.columns)


def parquet(frame: pd.DataFrame) -> bytes:
    import pyarrow as pa
    from pyarrow.parquet import write_table

    target = io.BytesIO()
    write_table(pa.Table.from_pandas(frame, preserve_index=False), target)
    return target.getvalue()


def _attach(run: trackers.Tracker, prepared: Prepared, written: dict[str, bytes] | Trouble) -> None:
    model = None if isinstance(written, Trouble) else written
    policy = prepared.snapshot
    files = {f"policy_snapshot/{policy.path.name}": policy.content} if policy.content else {}
    run.put({**files, **(model or {})})
    if prepared.table is not None:
        used_for = ["evaluation", "training"] if prepared.table.training else ["evaluation"]
        run.put_table(TABLE, prepared.parquet, prepared.table.frame, used_for)
        _with_table.add(run.place.run_id)
    trouble = prepared.trouble or (written if isinstance(written, Trouble) else None)
    if prepared.table is None and trouble is None and run.place.run_id in _with_table:
        trouble = _NOT_ITS_OWN
    run.put(_declared(prepared, model, trouble))


_with_table: set[str] = set()
"""The runs on which a fit of this process left audit data."""
_NOT_ITS_OWN = Trouble(
    "the last fit was given no audit data, and those of an earlier fit in this run are not its own",
    "give `audit_data` to the last fit too, or a run of its own to each",
)


def _attach_error(run: trackers.Tracker, prepared: Prepared, trouble: Trouble) -> None:
    run.put(_declared(replace(prepared, table=None, columns={}), None, trouble))


def _declared(prepared: Prepared, model: Mapping[str, bytes] | None, trouble: Trouble | None) -> dict[str, bytes]:
    """The declaration of a fit; raises what the agent would say where it would refuse it."""
    from venturalitica_agent.fetch.declaration import parse_declaration

    table = prepared.table
    data: dict[str, Any] = {}
    if table is not None:
        data["evaluation"] = {"artifact": TABLE}
        data |= {"training": {"artifact": TABLE}} if table.training else {}
    made = declaration(
        prepared.snapshot,
        by="wrap",
        model=bool(model),
        data=data,
        columns=prepared.columns,
        notes=table.notes if table else (),
        trouble=trouble,
    )
    parse_declaration(made[DECLARATION])
    return made


def declaration(
    snapshot: Snapshot,
    *,
    by: str,
    model: bool,
    data: Mapping[str, Any],
    columns: Mapping[str, Any],
    notes: Sequence[str] = (),
    trouble: Trouble | None = None,
) -> dict[str, bytes]:
    """The declaration, as a file: what is what on this run, for the agent.

    Args:
        by: "wrap" or "monitor". model: whether a model was put into `FOLDER`.
        data, columns: as agent.yaml has them.
    """
    from venturalitica_agent import __version__

    policy = snapshot.known
    identity = {
        "file": snapshot.path.name,
        "id": policy.id if policy else "",
        "version": policy.version if policy else "",
        "digest": hashlib.sha256(snapshot.content).hexdigest(),
    }
    said = {
        "schema": SCHEMA,
        "by": by,
        "version": __version__,
        "policy": identity if snapshot.content else None,
        "model": {"name": FOLDER, "model_id": "", "path": FOLDER} if model else None,
        "data": data,
        "columns": columns,
        "notes": [_sentence(note) for note in notes],
        "error": {"what": _sentence(trouble.what), "remedy": _sentence(trouble.remedy)} if trouble else None,
    }
    return {DECLARATION: json.dumps(said, ensure_ascii=False, indent=1).encode("utf-8", "replace")}


def _sentence(text: str) -> str:
    """One line that can be shown anywhere."""
    return "".join(c if c.isprintable() else " " for c in text)[:_LONGEST]


def _expect(runs: list[trackers.Tracker], policy: Path) -> None:
    from venturalitica.aftermath import expect

    expect([run.place for run in runs], policy)
