"""Readers that accept one spelling only. Where a lenient reader sees the same content in two files, a changed byte
could hide; so what is read here must be exactly what the writer writes for that content."""

from __future__ import annotations

import binascii
import json
import math
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, NoReturn

from venturalitica_verify.outcome import Broken

_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def read_json(content: bytes, what: str) -> Any:
    """JSON by the standard: UTF-8, no NaN, no key twice."""

    def refuse(word: str) -> NoReturn:
        raise Broken(f"{what} holds {word}, which is not JSON")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise Broken(f"{what} has an object with one key twice")
        return found

    try:
        return json.loads(content.decode("utf-8"), parse_constant=refuse, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise Broken(f"{what} is not JSON ({error})") from error


def canonical(document: Any) -> bytes:
    """The one spelling of a JSON document that digests are taken of."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def read_object(content: bytes, what: str) -> Mapping[str, Any]:
    """A canonical JSON object."""
    document = read_json(content, what)
    if not isinstance(document, dict) or canonical(document) != content:
        raise Broken(f"{what} is not a JSON object in its canonical spelling")
    return document


def read_base64(text: object, what: str) -> bytes:
    try:
        if not isinstance(text, str):
            raise Broken(f"{what} is not text")
        content = b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Broken(f"{what} is not base64 ({error})") from error
    if b64encode(content).decode() != text:
        raise Broken(f"{what} has bits behind its end, which base64 leaves unused")
    return content


def number(value: object) -> float:
    """A number as evidence writes it, with words for what isn't finite."""
    if isinstance(value, str) and value in _NUMBERS:
        return _NUMBERS[value]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Broken(f"{value!r} stands where a number belongs")
    return float(value)
