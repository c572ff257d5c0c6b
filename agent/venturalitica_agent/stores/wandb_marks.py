"""A verdict as W&B can hold it: flat `vl:` tags to filter by, and one structured entry in the run's summary. Pure.

Tags and summary are shared with their owners, so of both only our part is ever rewritten.

The pipeline speaks of `venturalitica.*` tags, whatever the tracker; here they are translated there and back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

OURS = "vl:"
ENTRY = "venturalitica"
_PREFIX = "venturalitica."
_LONGEST = 64  # characters of a run's tag
# Numbers are left as they are written: a float of ours can't hold each of them.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)
_SPACE = re.compile(r"[ \t\n\r]*")


def to_entry(verdict: Mapping[str, str]) -> dict[str, Any]:
    """The summary entry for `venturalitica.*` tags; with several policies each is a map below `policies`."""
    entry: dict[str, Any] = {}
    policies: dict[str, dict[str, str]] = {}
    for name, value in verdict.items():
        policy, _, what = name.removeprefix(_PREFIX).rpartition(".")
        (policies.setdefault(policy, {}) if policy else entry)[what] = value
    return entry | ({"policies": policies} if policies else {})


def from_entry(entry: Any) -> dict[str, str]:
    """The `venturalitica.*` tags that a summary entry holds; whatever else is in it is left out."""
    if not isinstance(entry, Mapping):
        return {}
    found = {f"{_PREFIX}{name}": value for name, value in entry.items() if isinstance(value, str)}
    policies = entry.get("policies")
    for policy, said in policies.items() if isinstance(policies, Mapping) else ():
        if isinstance(said, Mapping):
            found |= {f"{_PREFIX}{policy}.{name}": value for name, value in said.items() if isinstance(value, str)}
    return found


def with_entry(summary: str, entry: Mapping[str, Any]) -> str:
    """A summary (JSON text) with our entry set, and all else in it as it is written, to the letter.

    Raises:
        ValueError: it is no JSON map.
    """
    kept = [summary[start:end] for name, start, end in _members(summary) if name != ENTRY]
    return "{" + ", ".join([*kept, f"{json.dumps(ENTRY)}: {json.dumps(entry)}"]) + "}"


def names_in(summary: str) -> set[str]:
    """The names of all entries of a summary. Raises ValueError when it is no JSON map."""
    return {name for name, _, _ in _members(summary)}


def _members(document: str) -> Iterator[tuple[str, int, int]]:
    """Name, start and end of each `"name": value` of a JSON map."""
    begin = _after_space(document, 0)
    if document[begin : begin + 1] != "{":
        raise ValueError("no map")
    try:
        _DECODER.decode(document)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    at = _after_space(document, begin + 1)
    while document[at] != "}":
        start = at
        name, at = _DECODER.raw_decode(document, start)
        colon = _after_space(document, at)
        _, at = _DECODER.raw_decode(document, _after_space(document, colon + 1))
        yield name, start, at
        at = _after_space(document, at)
        at = _after_space(document, at + 1) if document[at] == "," else at


def _after_space(document: str, at: int) -> int:
    found = _SPACE.match(document, at)
    return found.end() if found else at


def theirs(tags: Mapping[str, str]) -> dict[str, str]:
    """A run's tags (as pairs) without what is ours or looks so: a verdict that anybody may write is none."""
    return {k: v for k, v in tags.items() if k != OURS.rstrip(":") and not k.startswith(_PREFIX)}


def to_tags(verdict: Mapping[str, str]) -> tuple[str, ...]:
    """`vl:<status>` of the run, and `vl:<policy id>@<version>` of each policy; the status last."""
    policies = sorted({value for name, value in verdict.items() if name.rpartition(".")[2] == "policy"})
    status = verdict.get(f"{_PREFIX}status", "")
    return tuple(dict.fromkeys(_short(f"{OURS}{name}") for name in (*policies, status) if name))


def changes(present: Sequence[str], wanted: Iterable[str]) -> tuple[list[str], list[str]]:
    """(tags to add, tags to remove) so that of all `vl:` tags exactly `wanted` are there; others are not ours."""
    goal = list(wanted)
    return [t for t in goal if t not in present], [t for t in present if t.startswith(OURS) and t not in goal]


def _short(tag: str) -> str:
    return tag if len(tag) <= _LONGEST else f"{tag[: _LONGEST - 1]}~"
