"""Reads what came out of the sandbox as data, and as nothing else.

For each table that a model was asked about, an answer is one JSON line and raw little-endian arrays:
`{"rows": n, "values": [...] | null, "score_classes": [...] | null, "notes": [...]}`, then n int32 codes (or n float64
numbers where `values` is null), then n*k float64 scores where `score_classes` names k classes; not a byte more.
`{"failed": stage, "type": ..., "message": ...}` alone says why there are no predictions.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from venturalitica_agent.domain.subject import Predictions
from venturalitica_agent.errors import SandboxError

if TYPE_CHECKING:
    import numpy as np

Label = str | int | float | bool

_HEADER_BYTES = 1 << 20
_MOST_CLASSES = 1000
_LONGEST_NAME = 256
_MOST_NOTES = 10
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control, invisible formatting, half surrogates, line separators

REMEDY_FORGED = (
    "The model's code does not answer as its library would; look at how it was made before you trust it, "
    "and log a model of a supported library."
)


class Failure(Exception):
    """The worker says that it has no predictions. `stage`: load, features or predict; both texts are clean."""

    def __init__(self, stage: str, message: str) -> None:
        super().__init__(message)
        self.stage = stage
        self.message = message

    @property
    def of_memory(self) -> bool:
        """Whether the model ran out of it."""
        return self.message.split(":")[0] in ("MemoryError", "ArrowMemoryError", "_ArrayMemoryError")


def printable(text: str, limit: int) -> str:
    """Untrusted text for one line of a message: control characters become spaces, the end is cut at `limit`."""
    line = " ".join("".join(" " if unicodedata.category(c) in _UNPRINTABLE else c for c in text[: 8 * limit]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def read(raw: bytes | bytearray, *, rows: Sequence[int]) -> Iterator[Predictions | Failure]:
    """The answers in `raw`, one for each table, as far as they can be read.

    Args:
        rows: how many predictions were asked for, by table; at least 1 each.

    Raises:
        SandboxError: when what follows in `raw` is anything but a reported failure or as many valid predictions.
    """
    rest = memoryview(raw)
    for i, asked in enumerate(rows):
        found, used = _next(rest, asked, last=i == len(rows) - 1)
        yield found
        rest = rest[used:]


def _next(raw: memoryview, rows: int, *, last: bool) -> tuple[Predictions | Failure, int]:
    """The first answer in `raw` and its length in bytes; nothing may follow the last one."""
    import numpy as np

    header, body = _split(raw)
    start = len(raw) - len(body)
    if "failed" in header:
        return _failure(header, body if last else b""), start
    if set(header) != {"rows", "values", "score_classes", "notes"}:
        _refuse("the answer's header has other fields than an answer has")
    said = header["rows"]
    if type(said) is not int or said != rows:
        _refuse(f"predictions have {printable(repr(said), 20)} rows, {rows} expected")
    values = _labels(header["values"], "predicted classes")
    score_classes = _labels(header["score_classes"], "classes with scores")
    if values is None and score_classes is not None:
        _refuse("the answer has class probabilities beside numbers")

    width = len(score_classes) if score_classes is not None else 0
    main = np.dtype("<f8") if values is None else np.dtype("<i4")
    expected = rows * (main.itemsize + 8 * width)
    body = body if last else body[:expected]
    if len(body) != expected:
        _refuse(f"the answer has {len(body)} bytes of predictions, {expected} expected for {rows} rows")
    column = np.frombuffer(body, main, rows)
    scores = np.frombuffer(body, "<f8", rows * width, rows * main.itemsize).reshape(rows, width) if width else None
    notes = _notes(header["notes"])
    if scores is not None:
        _check_scores(scores)
    if values is None:
        if not np.isfinite(column).all():
            _refuse(f"{_count(~np.isfinite(column))} of {rows} predicted numbers are not finite")
        return Predictions(rows, None, None, numbers=column.astype(np.float64), notes=notes), start + expected
    if column.min() < 0 or column.max() >= len(values):
        _refuse("some predictions point at a class that the answer does not name")
    told = Predictions(rows, values, column.astype(np.int64), scores=scores, score_classes=score_classes, notes=notes)
    return told, start + expected


def _refuse(what: str) -> NoReturn:
    raise SandboxError(what, remedy=REMEDY_FORGED)


def _split(raw: memoryview) -> tuple[Mapping[str, Any], memoryview]:
    head = bytes(raw[:_HEADER_BYTES])
    end = head.find(b"\n")
    if end < 0:
        _refuse("the answer has no header")
    try:
        header = json.loads(head[:end], parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        _refuse("the answer's header can't be read")
    if not isinstance(header, dict):
        _refuse("the answer's header is not an object")
    return header, raw[end + 1 :]


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _failure(header: Mapping[str, Any], body: memoryview | bytes) -> Failure:
    stage, kind, message = header.get("failed"), header.get("type"), header.get("message")
    if (
        stage not in ("load", "features", "predict")
        or not isinstance(kind, str)
        or not isinstance(message, str)
        or body
    ):
        _refuse("the answer reports a failure in a form that the worker does not use")
    # A KeyError's text is only a key: its type makes it a sentence, as in a traceback.
    return Failure(stage, printable(": ".join(part for part in (kind, message) if part), 400))


def _labels(found: object, what: str) -> tuple[Label, ...] | None:
    if found is None:
        return None
    if not isinstance(found, list) or not 1 <= len(found) <= _MOST_CLASSES:
        _refuse(f"the {what} are not a list of 1 to {_MOST_CLASSES}")
    for label in found:
        _check_label(label, what)
    if len(set(found)) != len(found):
        _refuse(f"the {what} are not distinct")
    return tuple(found)


def _check_label(label: object, what: str) -> None:
    if isinstance(label, str):
        if len(label) > _LONGEST_NAME:
            _refuse(f"one of the {what} has a name of {len(label)} characters; {_LONGEST_NAME} are allowed")
        if any(unicodedata.category(c) in _UNPRINTABLE for c in label):
            _refuse(f"one of the {what} has control characters in its name: {printable(repr(label), 80)}")
    elif isinstance(label, float):
        if not math.isfinite(label):
            _refuse(f"one of the {what} is not a finite number")
    elif isinstance(label, int):
        if not -(2**63) <= label < 2**63:
            _refuse(f"one of the {what} is a number of more than 64 bits")
    else:
        _refuse(f"one of the {what} is neither text, a number nor a boolean")


def _check_scores(scores: np.ndarray) -> None:
    import numpy as np

    missing = ~np.isfinite(scores)
    if missing.any():
        _refuse(f"class probabilities of {_count(missing.any(axis=1))} of {len(scores)} rows are not finite numbers")
    outside = (scores < 0) | (scores > 1)
    if outside.any():
        _refuse(f"class probabilities of {_count(outside.any(axis=1))} of {len(scores)} rows are outside 0 to 1")


def _count(mask: Any) -> int:
    return int(mask.sum())


def _notes(found: object) -> tuple[str, ...]:
    if not isinstance(found, list) or len(found) > _MOST_NOTES or not all(isinstance(note, str) for note in found):
        _refuse(f"the answer's notes are not a list of at most {_MOST_NOTES} texts")
    return tuple(printable(note, 300) for note in found)
