"""The fitted model as files: MLflow's own layout, so that `mlflow.sklearn.load_model` reads it and the agent needs no
second way to understand it. Made by hand, because MLflow's writer takes seconds and its import more."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Sequence
from functools import lru_cache
from importlib import metadata
from typing import Any

FOLDER = "venturalitica_model"
_FILE = "model.pkl"
_ALWAYS = ("scikit-learn", "numpy", "scipy", "cloudpickle", "pandas")
_TYPES = {"b": "boolean", "i": "long", "u": "long", "f": "double", "O": "string", "U": "string", "M": "datetime"}


def model_files(model: Any, inputs: Sequence[tuple[str, Any]]) -> dict[str, bytes]:
    """Artifact path -> content.

    Args:
        inputs: name and dtype of each input column, in order; empty when they are unknown.
    """
    import cloudpickle

    pins = _pins(model)
    return {
        f"{FOLDER}/{_FILE}": cloudpickle.dumps(model),
        f"{FOLDER}/requirements.txt": "".join(f"{name}=={version}\n" for name, version in pins.items()).encode(),
        f"{FOLDER}/MLmodel": json.dumps(_description(inputs, pins), indent=1, ensure_ascii=False).encode(),
    }


def _description(inputs: Sequence[tuple[str, Any]], pins: dict[str, str]) -> dict[str, Any]:
    python, sklearn = platform.python_version(), pins.get("scikit-learn", "")
    form = {"pickled_model": _FILE, "serialization_format": "cloudpickle", "sklearn_version": sklearn}
    pyfunc = {"loader_module": "mlflow.sklearn", "model_path": _FILE, "python_version": python}
    said: dict[str, Any] = {"flavors": {"python_function": pyfunc, "sklearn": form}}
    if inputs:
        columns = [{"name": name, "type": _TYPES.get(getattr(dtype, "kind", "O"), "string")} for name, dtype in inputs]
        said["signature"] = {"inputs": json.dumps(columns)}
    return said


def _pins(model: Any) -> dict[str, str]:
    """Package -> version, of those that loading the model takes."""
    parts = [model, *getattr(model, "get_params", dict)().values()]
    modules = {type(part).__module__.partition(".")[0] for part in parts}
    owners = metadata.packages_distributions() if modules - {"sklearn", "builtins", "numpy"} else {}
    names = [*_ALWAYS, *(owner for module in sorted(modules) for owner in owners.get(module, ()))]
    loaded = {"scikit-learn": "sklearn"}
    found = {}
    for name in dict.fromkeys(names):
        if loaded.get(name, name) in sys.modules or name not in _ALWAYS:
            found[name] = _version(name)
    return found


@lru_cache(maxsize=256)
def _version(name: str) -> str:
    return metadata.version(name)
