"""Chooses the one model of a run that is audited and brings it into the cache, checked but never loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath

from venturalitica_agent.domain.run import LoggedModel, Run
from venturalitica_agent.domain.subject import ModelSubject
from venturalitica_agent.fetch.advice import advice_for
from venturalitica_agent.fetch.cache import Cache, Entry
from venturalitica_agent.fetch.mlmodel import ModelDescription, parse_mlmodel, parse_requirements
from venturalitica_agent.fetch.modelfile import check_file, find_model_file
from venturalitica_agent.fetch.problems import Unfit, listed
from venturalitica_agent.stores.base import Store
from venturalitica_agent.strict_yaml import MAX_BYTES

MAX_MODEL = 4 << 30
_MAX_REQUIREMENTS = 1 << 16
_DESCRIPTION = "MLmodel"


def choose_model(run: Run) -> LoggedModel:
    """The run's model: of those that the tracker calls ready, the one of the latest step, the last logged if several.

    Raises:
        Unfit: the run logged no model, or none that was completely logged.
    """
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


def fetch_model(store: Store, run: Run, cache: Cache) -> ModelSubject:
    """Copy the run's model into the cache and describe it, by its `MLmodel` or as the one model file that it is.

    Raises:
        Unfit: there is no model to audit. UntrustedInput: there is one that must not be loaded.
    """
    model = choose_model(run)
    entry = cache.add(lambda folder: store.fetch_model(run.ref.run_id, model, folder), limit=MAX_MODEL)
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
    )


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
