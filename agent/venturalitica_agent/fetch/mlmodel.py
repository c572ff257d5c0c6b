"""Our own reading of the `MLmodel` file. MLflow's reading runs what the file asks for: a `loader_module`, a `code`
folder, a model path outside of the model. So whatever could make a loader do more than read one known file is refused
here, before any loader sees the model."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from venturalitica_agent.errors import UntrustedInput
from venturalitica_agent.fetch.problems import listed
from venturalitica_agent.strict_yaml import InvalidDocument, Mistakes, parse, plain, shown

# loader_module -> flavor
LOADERS = {"mlflow.sklearn": "sklearn", "mlflow.xgboost": "xgboost", "mlflow.lightgbm": "lightgbm"}
_PICKLES = ("pickle", "cloudpickle")
_VERSION = re.compile(r"[A-Za-z0-9.+!_-]{1,64}")
_PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,99})(?:\[[A-Za-z0-9,._ -]*\])?==([A-Za-z0-9.+!_-]{1,64})\s*(?:;.*)?")
_KIND = re.compile(r"[a-z]{1,20}")
_MAX_REQUIREMENTS = 500
_MAX_INPUTS = 10_000


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """What an `MLmodel` file says of its model, of which nothing has been checked against the files yet.

    Attributes:
        file: plain relative name of the one file to load.
        format: "pickle", "cloudpickle", "skops", or the native format of a booster ("ubj", "json", "xgb", "lgb").
        inputs: column names of the signature; empty for tensors and where there is none.
        input_kinds: the type of each, such as "double"; "" for types that are not one word of lower-case letters.
        environment: package -> version, as far as the file says it.
    """

    flavor: str
    file: str
    format: str
    inputs: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    input_kinds: tuple[str, ...] = ()


def parse_mlmodel(content: bytes) -> ModelDescription:
    """Read an `MLmodel` file. Raises UntrustedInput with the reason when the model must not be loaded."""
    document = _document(content)
    flavors = _map(document, "flavors")
    for name, flavor in flavors.items():
        if not isinstance(flavor, dict):
            raise _refused(f"flavor {shown(str(name))} is not a map")
        for key in ("code", "model_code_path"):
            if flavor.get(key) is not None:
                raise _refused(f"the model brings its own code (`{key}: {_brief(flavor[key])}`)")

    pyfunc = _map(flavors, "python_function")
    loader = pyfunc.get("loader_module")
    if not isinstance(loader, str) or loader not in LOADERS:
        raise _refused(f"loader_module is {_brief(loader)}; only {', '.join(LOADERS)} are loaded")
    flavor = LOADERS[loader]
    conf = _map(flavors, flavor)
    file, form = _sklearn(conf) if flavor == "sklearn" else _booster(flavor, conf)

    # Two names for one model are an invitation to check one file and load the other.
    for key in ("model_path", "data"):
        if pyfunc.get(key) not in (None, file):
            raise _refused(f"python_function names {_brief(pyfunc[key])} and {flavor} names {shown(file)}")
    inputs = _inputs(document.get("signature"))
    return ModelDescription(
        flavor, file, form, tuple(inputs), _versions(document, pyfunc, conf), tuple(inputs.values())
    )


def parse_requirements(text: str) -> dict[str, str]:
    """Package -> version of the exact pins in a `requirements.txt`, names lower-case; every other line is ignored."""
    pins: dict[str, str] = {}
    for line in text.splitlines()[:_MAX_REQUIREMENTS]:
        if found := _PIN.fullmatch(line[:300].strip()):
            pins[re.sub(r"[-_.]+", "-", found[1]).lower()] = found[2]
    return pins


def plain_name(name: object) -> str:
    """`name` if it is a plain relative POSIX file name; else UntrustedInput."""
    if not isinstance(name, str) or not name or len(name) > 255:
        raise _refused(f"a model file must have a plain name, not {_brief(name)}")
    parts = PurePosixPath(name).parts
    if "\\" in name or ".." in parts or "/".join(parts) != name or name.startswith("/") or not name.isprintable():
        raise _refused(f"the model file {_brief(name)} is not a plain relative name")
    return name


def _sklearn(conf: Mapping[str, Any]) -> tuple[str, str]:
    file = plain_name(conf.get("pickled_model"))
    form = conf.get("serialization_format") or "pickle"
    if form not in (*_PICKLES, "skops"):
        raise _refused(f"serialization_format {_brief(form)} is unknown")
    _expect_suffix(file, (".skops",) if form == "skops" else (".pkl", ".pickle"))
    return file, form


def _booster(flavor: str, conf: Mapping[str, Any]) -> tuple[str, str]:
    file = plain_name(conf.get("data"))
    model_class = conf.get("model_class")
    if not (isinstance(model_class, str) and model_class.startswith(f"{flavor}.")):
        raise _refused(f"model_class is {_brief(model_class)}, not a class of {flavor}")
    suffix = PurePosixPath(file).suffix
    if flavor == "xgboost":
        _expect_suffix(file, (".ubj", ".json", ".xgb"))
        return file, suffix[1:]
    _expect_suffix(file, (".lgb", ".pkl", ".skops"))
    if suffix == ".pkl":
        form = conf.get("serialization_format") or "cloudpickle"
        if form not in _PICKLES:
            raise _refused(f"serialization_format {_brief(form)} does not fit to {shown(file)}")
        return file, form
    return file, suffix[1:]


def _expect_suffix(file: str, suffixes: tuple[str, ...]) -> None:
    if not file.endswith(suffixes):
        raise _refused(f"the model file {shown(file)} does not end in {' or '.join(suffixes)}")


def _inputs(signature: Any) -> dict[str, str]:
    """Name -> type of the input columns."""
    if signature is None:
        return {}
    if not isinstance(signature, dict):
        raise _refused("the signature is not a map")
    text = signature.get("inputs")
    if text is None:
        return {}
    try:
        columns = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError) as error:
        raise _refused("the signature's inputs are not JSON") from error
    if not isinstance(columns, list) or len(columns) > _MAX_INPUTS or not all(isinstance(c, dict) for c in columns):
        raise _refused("the signature's inputs are not a list of columns")
    names = [c.get("name") for c in columns]
    if any(c.get("type") == "tensor" for c in columns) or all(n is None for n in names):
        return {}
    if not all(isinstance(n, str) and n for n in names) or len(set(names)) != len(names):
        raise _refused("the signature's inputs have missing or repeated names")
    kinds = (str(c.get("type")) for c in columns)
    return {str(n): kind if _KIND.fullmatch(kind) else "" for n, kind in zip(names, kinds, strict=True)}


def _versions(document: Mapping[str, Any], pyfunc: Mapping[str, Any], conf: Mapping[str, Any]) -> dict[str, str]:
    said = {
        "python": pyfunc.get("python_version"),
        "mlflow": document.get("mlflow_version"),
        "scikit-learn": conf.get("sklearn_version"),
        "xgboost": conf.get("xgb_version"),
        "lightgbm": conf.get("lgb_version"),
    }
    # A version such as 1.7 is a number to YAML.
    texts = {name: str(value) for name, value in said.items() if isinstance(value, str | int | float)}
    return {name: text for name, text in texts.items() if _VERSION.fullmatch(text)}


def _document(content: bytes) -> dict[str, Any]:
    mistakes = Mistakes("MLmodel")
    try:
        document = plain(parse(content, mistakes))
        mistakes.raise_if_any()
    except InvalidDocument as error:
        first = error.mistakes[0]
        raise _refused(f"line {first.line}: {first.message}") from error
    if not isinstance(document, dict):
        raise _refused("it is not a map")
    return document


def _map(parent: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = parent.get(key)
    if not isinstance(value, dict):
        there = listed([str(k) for k in parent])
        raise _refused(f"`{key}` is missing or not a map (there is {there or 'nothing'})")
    return value


def _brief(value: object) -> str:
    return shown(str(value))


def _refused(what: str) -> UntrustedInput:
    return UntrustedInput(
        f"the model is refused before loading: {what}",
        subject="MLmodel",
        remedy="log the model with mlflow.sklearn, mlflow.xgboost or mlflow.lightgbm, without code_paths",
    )
