"""Chooses the one model of a run that is audited and brings it into the cache, checked but never loaded."""

from __future__ import annotations

import zipfile
from pathlib import Path

from venturalitica_agent.domain.run import LoggedModel, Run
from venturalitica_agent.domain.subject import ModelSubject
from venturalitica_agent.errors import UntrustedInput
from venturalitica_agent.fetch.cache import Cache, Entry
from venturalitica_agent.fetch.mlmodel import ModelDescription, parse_mlmodel, parse_requirements
from venturalitica_agent.fetch.problems import Unfit, listed
from venturalitica_agent.stores.base import Store
from venturalitica_agent.strict_yaml import MAX_BYTES, shown

MAX_MODEL = 4 << 30
_MAX_REQUIREMENTS = 1 << 16
_MAX_UNPACKED = 4 << 30
_MAX_MEMBERS = 50_000
_ZIP = b"PK\x03\x04"
_PACKED = {b"\x1f\x8b": "gzip", b"7z\xbc\xaf\x27\x1c": "7z", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"PK": "zip"}


def choose_model(run: Run) -> LoggedModel:
    """The run's model: of those that the tracker calls ready, the one of the latest step, the last logged if several.

    Raises:
        Unfit: the run logged no model, or none that was completely logged.
    """
    ready = [m for m in run.models if m.ready]
    if ready:
        return max(reversed(ready), key=lambda m: m.step)
    if run.models:
        names = listed([m.name for m in run.models])
        raise Unfit(
            f"the run's model was not completely logged ({names}: the tracker doesn't call it READY)",
            remedy="look for an error of log_model in the training output and log the model again",
            code="missing",
        )
    raise Unfit(
        "the run logged no model",
        remedy="call mlflow.sklearn.log_model (or autolog) in the training run, or bind the column that holds the "
        "predictions in agent.yaml",
        code="missing",
    )


def fetch_model(store: Store, run: Run, cache: Cache) -> ModelSubject:
    """Copy the run's model into the cache and describe it.

    Raises:
        Unfit: there is no model to audit. UntrustedInput: there is one that must not be loaded.
    """
    model = choose_model(run)
    entry = cache.add(lambda folder: store.fetch_model(run.ref.run_id, model, folder), limit=MAX_MODEL)
    description = parse_mlmodel(_read(entry, "MLmodel", MAX_BYTES + 1))
    check_file(entry.path, {f.name for f in entry.files}, description)
    pins = parse_requirements(_read_optional(entry, "requirements.txt").decode("utf-8", "replace"))
    return ModelSubject(
        name=model.name,
        path=str(entry.path),
        digest=entry.digest,
        files=entry.files,
        flavor=description.flavor,
        file=description.file,
        format=description.format,
        inputs=description.inputs,
        model_id=model.model_id,
        environment=pins | dict(description.environment),
    )


def check_file(folder: Path, names: set[str], description: ModelDescription) -> None:
    """Refuse a model file that is absent, or that isn't what its description calls it, by its first bytes."""
    if description.file not in names:
        raise UntrustedInput(
            f"MLmodel names the file {shown(description.file)}, which is not among the model's files",
            subject="MLmodel",
            remedy="log the model again",
        )
    path = folder / description.file
    with path.open("rb") as file:
        head = file.read(16)
    match description.format:
        case "pickle" | "cloudpickle":
            fine = len(head) > 2 and head[0] == 0x80 and 2 <= head[1] <= 5
        case "skops":
            fine = head.startswith(_ZIP)
        case "ubj" | "json":
            fine = head.lstrip()[:1] == b"{"
        case "lgb":
            fine = head.startswith(b"tree")
        case _:
            fine = not head.startswith(tuple(_PACKED))
    if not fine:
        looks = next((f", it looks like {kind}" for magic, kind in _PACKED.items() if head.startswith(magic)), "")
        raise UntrustedInput(
            f"{shown(description.file)} is not a {description.format} file{looks}",
            subject="MLmodel",
            remedy="log the model with MLflow itself, uncompressed",
        )
    if description.format == "skops":
        _check_archive(path, description.file)


def _check_archive(path: Path, name: str) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise UntrustedInput(f"{shown(name)} is a broken archive", subject="MLmodel") from error
    unpacked = sum(m.file_size for m in members)
    if unpacked > _MAX_UNPACKED or len(members) > _MAX_MEMBERS:
        raise UntrustedInput(
            f"{shown(name)} unpacks to {unpacked:,} bytes in {len(members):,} members", subject="MLmodel"
        )


def _read(entry: Entry, name: str, most: int) -> bytes:
    if all(f.name != name for f in entry.files):
        raise Unfit(
            f"the model has no {name} file (there is {listed([f.name for f in entry.files]) or 'nothing'})",
            remedy="log the model with mlflow.<flavor>.log_model, not as a plain artifact",
            code="missing",
        )
    with (entry.path / name).open("rb") as file:
        return file.read(most)


def _read_optional(entry: Entry, name: str) -> bytes:
    if any(f.name == name for f in entry.files):
        return _read(entry, name, _MAX_REQUIREMENTS)
    return b""
