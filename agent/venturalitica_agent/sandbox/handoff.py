"""Puts a job into a worker's slot: private copies of the model's files, and tables of features as Arrow files in
batches, written as they are read, so that they are never in memory as a whole.

The copy is hashed while it is made, so the model that predicts is the model whose digest goes into the evidence, even
when the cache is swapped in between.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from venturalitica_agent.domain.subject import FileDigest, ModelSubject
from venturalitica_agent.errors import SandboxError, SandboxUnavailable
from venturalitica_agent.sandbox.answer import printable

if TYPE_CHECKING:
    import pandas as pd

BATCH_ROWS = 1 << 16
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Features:
    """Rows for a model, which are read when they are handed over.

    Attributes:
        columns: the names that there are; the model is given some or all of them.
        rows: how many rows there are.
        batches: gives all rows of the named columns as `pyarrow.RecordBatch`es of one schema, in order.
    """

    columns: tuple[str, ...]
    rows: int
    batches: Callable[[Sequence[str]], Iterable[Any]]

    @classmethod
    def of(cls, frame: pd.DataFrame, *, batch_rows: int = BATCH_ROWS) -> Features:
        """Those of a table in memory."""

        def batches(columns: Sequence[str]) -> Iterator[Any]:
            import pyarrow as pa

            table = pa.Table.from_pandas(frame[list(columns)], preserve_index=False)
            yield from table.to_batches(max_chunksize=batch_rows)

        return cls(tuple(frame.columns), len(frame), batches)


def stage(slot: Path, model: ModelSubject, tables: Sequence[Features], *, model_bytes: int) -> int:
    """Write `model/`, a file for each table and `job.json` into `slot`.

    Returns:
        How many tables the job is about: those before the first that can't be handed over.

    Raises:
        SandboxError: when a file of the model isn't what the subject says, or the first table can't be handed over.
        SandboxUnavailable: the disk has no room for them. What reading the features raises comes through as it is.
    """
    staged: list[dict[str, Any]] = []
    for features in tables:
        path = slot / f"features-{len(staged)}.arrow"
        try:
            wanted = _signature_columns(model, features)
            if not staged:
                _copy_model(slot / "model", model, model_bytes)
            staged.append({"file": path.name, "gaps": _write_features(path, features, wanted)})
        except (SandboxError, SandboxUnavailable):
            if not staged:
                raise
            path.unlink(missing_ok=True)
            break
    job = {
        "flavor": model.flavor,
        "format": model.format,
        "file": model.file,
        "named": bool(model.inputs),
        "tables": staged,
    }
    (slot / "job.json").write_text(json.dumps(job))
    return len(staged)


def _signature_columns(model: ModelSubject, features: Features) -> tuple[str, ...]:
    if features.rows == 0:
        raise SandboxError("there are no rows to predict", remedy="Bind evaluation data that has rows.")
    if repeated := [name for name, times in Counter(features.columns).items() if times > 1]:
        names = printable(", ".join(map(str, repeated[:20])), 400)
        raise SandboxError(f"the data has several columns of the same name: {names}", remedy="Rename them in the data.")
    missing = [name for name in model.inputs if name not in features.columns]
    if missing:
        names = printable(", ".join(missing[:20]), 400)
        raise SandboxError(
            f"the model's signature wants columns that the data doesn't have: {names}",
            remedy="Bind the evaluation data that the model was made for, with all its input columns.",
        )
    if not features.columns:
        raise SandboxError(
            "there are no columns to predict from", remedy="Bind evaluation data that has the model's input columns."
        )
    return model.inputs or features.columns


def _copy_model(folder: Path, model: ModelSubject, most: int) -> None:
    if model.file not in {file.name for file in model.files}:
        raise SandboxError(
            f"the model has no file {printable(model.file, 200)!r}",
            remedy="Log the model again; its files are incomplete.",
        )
    total = sum(file.size for file in model.files)
    if total > most:
        raise SandboxError(
            f"the model's files have {total:,} bytes; at most {most:,} are loaded",
            remedy="Raise the sandbox's limit for models, or log a smaller model.",
        )
    folder.mkdir()
    for file in model.files:
        relative = PurePosixPath(file.name)
        if relative.is_absolute() or ".." in relative.parts or not relative.parts:
            raise _changed(file)
        target = folder / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        _copy(Path(model.path, relative), target, file)


def _copy(source: Path, target: Path, file: FileDigest) -> None:
    digest = hashlib.sha256()
    left = file.size + 1
    try:
        fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _changed(file) from error
    with os.fdopen(fd, "rb", buffering=0) as reader, target.open("xb") as writer:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise _changed(file)
        while left and (chunk := reader.read(min(_CHUNK, left))):
            digest.update(chunk)
            writer.write(chunk)
            left -= len(chunk)
    if digest.hexdigest() != file.sha256:
        raise _changed(file)


def _changed(file: FileDigest) -> SandboxError:
    return SandboxError(
        "a file of the model is not the one that was fetched",
        subject=printable(file.name, 200),
        remedy="Empty the agent's cache and audit the run again; if it comes back, find out who writes there.",
    )


def _write_features(path: Path, features: Features, columns: Sequence[str]) -> list[str]:
    """Returns the columns with missing values: a model must see one type in all batches, and gaps decide on it."""
    import pyarrow as pa

    rows, gaps = 0, set()
    options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)  # later batches may know more categories
    try:
        batches = iter(features.batches(columns))
        first = next(batches)
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, first.schema, options=options) as writer:
            for batch in chain((first,), batches):
                writer.write_batch(batch)
                rows += batch.num_rows
                gaps |= {name for name, column in zip(columns, batch.columns, strict=True) if column.null_count}
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise SandboxError(
            f"the data can't be handed to the sandbox: {printable(str(error), 300)}",
            remedy="Give each column values of one kind (text, numbers, booleans or dates).",
        ) from error
    except OSError as error:
        raise SandboxUnavailable(
            f"the model's input can't be written: {error.strerror or error}",
            remedy="Free some space in the `cache:` folder of agent.yaml; the data are unpacked there.",
        ) from error
    if rows != features.rows:
        raise SandboxError(
            f"the data have {rows:,} rows, {features.rows:,} were expected", remedy="Write the table again."
        )
    return sorted(gaps)
