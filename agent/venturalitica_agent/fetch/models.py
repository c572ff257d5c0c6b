"""Chooses the one model of a run that is audited and brings it into the cache, checked but never loaded."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath

from venturalitica_agent.domain.run import LoggedModel, Run
from venturalitica_agent.domain.subject import ModelSubject
from venturalitica_agent.fetch.advice import advice_for
from venturalitica_agent.fetch.cache import Cache, Entry
from venturalitica_agent.fetch.declaration import DeclaredModel
from venturalitica_agent.fetch.mlmodel import ModelDescription, parse_mlmodel, parse_requirements
from venturalitica_agent.fetch.modelfile import check_file, find_model_file
from venturalitica_agent.fetch.problems import Unfit, listed
from venturalitica_agent.stores.base import Store
from venturalitica_agent.stores.local_files import safe_relative
from venturalitica_agent.strict_yaml import MAX_BYTES, shown

MAX_MODEL = 4 << 30
_MAX_REQUIREMENTS = 1 << 16
_DESCRIPTION = "MLmodel"


def choose_model(run: Run, declared: DeclaredModel | None = None) -> LoggedModel:
    """The run's model: of those that the tracker calls ready, the one of the latest step, the last logged if several.

    Args:
        declared: the one that the training code means, which must be the run's own.

    Raises:
        Unfit: the run logged no model, or none that was completely logged, or not the declared one.
    """
    if declared is not None:
        return _declared(run, declared)
    ready = [m for m in run.models if m.ready]
    if ready:
        return max(reversed(ready), key=lambda m: m.step)
    advice = advice_for(run)
    if run.models:
        names = listed([m.name for m in run.models])
        raise Unfit(
            f"the run's model was not completely logged ({names}: the tracker doesn't call it {advice.ready})",
            remedy="look for an error of logging it in the training output and log the model again",
            code="missing",
        )
    raise Unfit(
        "the run logged no model",
        remedy=f"{advice.log_model}, or bind the column that holds the predictions in agent.yaml",
        code="missing",
    )


def _declared(run: Run, declared: DeclaredModel) -> LoggedModel:
    keys = ("model_id", "path", "name")
    told = next(key for key in keys if getattr(declared, key))
    meant = [m for m in run.models if getattr(m, told) == getattr(declared, told)]
    if not meant and told == "path":  # a folder among the artifacts that the tracker doesn't know as a model
        return LoggedModel(name=declared.name or declared.path, location=run.artifact_uri, path=declared.path)
    ready = [m for m in meant if m.ready]
    if ready:
        return ready[-1]
    name = shown(getattr(declared, told))
    state = (
        f"was not completely logged (the tracker doesn't call it {advice_for(run).ready})" if meant else "is not there"
    )
    raise Unfit(
        f"the model {name} that the training code declares as the run's {state}; "
        f"the run's models are {listed([m.name for m in run.models]) or 'none'}",
        remedy="look for an error of logging it in the training output and log the model again",
        code="missing",
    )


def fetch_model(store: Store, run: Run, cache: Cache, declared: DeclaredModel | None = None) -> ModelSubject:
    """Copy the run's model into the cache and describe it, by its `MLmodel` or as the one model file that it is.

    Raises:
        Unfit: there is no model to audit. UntrustedInput: there is one that must not be loaded.
    """
    model = choose_model(run, declared)
    entry = copy_model(store, run, model, cache)
    names = [f.name for f in entry.files]
    home, description = _describe(entry, names)
    check_file(entry.path, names, description)
    pins = home / "requirements.txt"
    pinned = _read(entry, pins, _MAX_REQUIREMENTS) if str(pins) in names else b""
    return ModelSubject(
        name=model.name,
        path=str(entry.path),
        digest=entry.digest,
        files=entry.files,
        flavor=description.flavor,
        file=description.file,
        format=description.format,
        inputs=description.inputs,
        input_kinds=description.input_kinds,
        model_id=model.model_id,
        environment=parse_requirements(pinned.decode("utf-8", "replace")) | dict(description.environment),
        place="" if model in run.models else model.path,
    )


def copy_model(store: Store, run: Run, model: LoggedModel, cache: Cache) -> Entry:
    """The files of a model of the run, or of a folder among its artifacts, in the cache."""
    fetch = store.fetch_model if model in run.models else partial(_fetch_artifacts, store)
    return cache.add(lambda folder: fetch(run.ref.run_id, model, folder), limit=MAX_MODEL)


def _fetch_artifacts(store: Store, run_id: str, model: LoggedModel, folder: Path) -> None:
    """The files below a path among the run's artifacts, or the one file that the path is."""
    inside = f"{model.path}/"
    files = [f.path for f in store.list_files(run_id) if f.path.startswith(inside) or f.path == model.path]
    if not files:
        raise Unfit(
            f"the training code declares {shown(model.path)} as the run's model, but there is no such artifact",
            remedy="look for an error of logging it in the training output and log the model again",
            code="missing",
        )
    for path in map(safe_relative, files):
        name = path.name if str(path) == model.path else path.relative_to(model.path)
        store.fetch_file(run_id, str(path), folder / name)


def _describe(entry: Entry, names: list[str]) -> tuple[PurePosixPath, ModelDescription]:
    """The folder in the entry that is the model, and its description with the file relative to the entry."""
    found = [path for path in map(PurePosixPath, names) if path.name == _DESCRIPTION]
    top = [path for path in found if path.parent == PurePosixPath()]
    described = top or found
    if len(described) > 1:
        raise Unfit(
            f"{len(described)} MLflow models are in one place: {listed([str(p.parent) for p in described])}",
            remedy="log each model as an artifact of its own",
            code="ambiguous",
        )
    if not described:
        description = find_model_file(entry.path, names)
        return PurePosixPath(description.file).parent, description
    home = described[0].parent
    description = parse_mlmodel(_read(entry, described[0], MAX_BYTES + 1))
    return home, replace(description, file=str(home / description.file))


def _read(entry: Entry, name: PurePosixPath, most: int) -> bytes:
    with (entry.path / name).open("rb") as file:
        return file.read(most)
