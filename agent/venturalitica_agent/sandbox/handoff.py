"""Puts a job into a worker's slot: private copies of the model's files, and the features as an Arrow file.

The copy is hashed while it is made, so the model that predicts is the model whose digest goes into the evidence, even
when the cache is swapped in between.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from venturalitica_agent.domain.subject import FileDigest, ModelSubject
from venturalitica_agent.errors import SandboxError
from venturalitica_agent.sandbox.answer import printable

if TYPE_CHECKING:
    import pandas as pd

_CHUNK = 1 << 20


def stage(slot: Path, model: ModelSubject, features: pd.DataFrame, *, model_bytes: int) -> None:
    """Write `model/`, `features.arrow` and `job.json` into `slot`.

    Raises:
        SandboxError: when a file of the model isn't what the subject says, or the features can't be handed over.
    """
    wanted = _signature_columns(model, features)
    _copy_model(slot / "model", model, model_bytes)
    _write_features(slot / "features.arrow", wanted)
    job = {"flavor": model.flavor, "format": model.format, "file": model.file, "named": bool(model.inputs)}
    (slot / "job.json").write_text(json.dumps(job))


def _signature_columns(model: ModelSubject, features: pd.DataFrame) -> pd.DataFrame:
    if features.shape[0] == 0:
        raise SandboxError("there are no rows to predict", remedy="Bind evaluation data that has rows.")
    repeated = features.columns[features.columns.duplicated()]
    if len(repeated):
        names = printable(", ".join(map(str, repeated[:20])), 400)
        raise SandboxError(f"the data has several columns of the same name: {names}", remedy="Rename them in the data.")
    missing = [name for name in model.inputs if name not in features.columns]
    if missing:
        names = printable(", ".join(missing[:20]), 400)
        raise SandboxError(
            f"the model's signature wants columns that the data doesn't have: {names}",
            remedy="Bind the evaluation data that the model was made for, with all its input columns.",
        )
    return features[list(model.inputs)] if model.inputs else features


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


def _write_features(path: Path, features: pd.DataFrame) -> None:
    import pyarrow as pa

    try:
        table = pa.Table.from_pandas(features, preserve_index=False)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise SandboxError(
            f"the data can't be handed to the sandbox: {printable(str(error), 300)}",
            remedy="Give each column values of one kind (text, numbers, booleans or dates).",
        ) from error
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
