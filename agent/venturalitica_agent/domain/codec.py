"""Domain dataclasses to JSON and back, with the types that the dataclasses declare. JSON has no NaN and no infinity:
they are written as the words "NaN", "Infinity" and "-Infinity", which any parser reads and ours turns back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter

T = TypeVar("T")


_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}


def _adapter(kind: Any) -> TypeAdapter[Any]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def to_plain(kind: type[T], value: T) -> Any:
    """`value` as what JSON can hold: dicts, lists, text, finite numbers, booleans, None."""
    return _plain(_adapter(kind).dump_python(value))


def to_json(kind: type[T], value: T) -> str:
    """`value` as compact JSON text, fields in the order that the dataclass declares."""
    return json.dumps(to_plain(kind, value), separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def from_plain(kind: type[T], value: Any) -> T:
    """The inverse of `to_plain`; raises pydantic.ValidationError on anything else."""
    checked: T = _adapter(kind).validate_python(value)
    return checked


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value
