"""Runs inside the sandbox: imports metrics of somebody's package, tells what they declare or measures with one, dies.

Like the worker it is a plain script, and what it says is checked on the other side. `packages/` in its slot holds the
package's files, `api.py` what they may import of the agent.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

SLOT = Path("/in")
RESAMPLES = 1000
_FEWEST_ROWS = 30
_MOST_FAILED = 0.05


class Refused(Exception):
    """The metric is not declared, or what it returns is not a value; the message says why."""


def offer_api(slot: Path) -> ModuleType:
    """Makes `venturalitica_agent.api` importable, and nothing else of that name."""
    name = "venturalitica_agent.api"
    spec = importlib.util.spec_from_file_location(name, slot / "api.py")
    assert spec is not None  # noqa: S101 -- for the type checker: it is a file
    assert spec.loader is not None  # noqa: S101
    api = importlib.util.module_from_spec(spec)
    parent = ModuleType("venturalitica_agent")
    parent.__path__ = []
    parent.api = api  # type: ignore[attr-defined]
    sys.modules |= {"venturalitica_agent": parent, name: api}
    spec.loader.exec_module(api)
    sys.path.insert(0, str(slot / "packages"))
    return api


def function_of(entry: str, attribute: str) -> tuple[Callable[..., Any], Any]:
    """The function behind `module:name`, and its declaration."""
    module, _, name = entry.partition(":")
    found: Any = importlib.import_module(module)
    for part in filter(None, name.split(".")):
        found = getattr(found, part)
    declaration = getattr(found, attribute, None)
    if declaration is None:
        raise Refused(f"{entry} is not declared: put @metric of venturalitica_agent.api on the function")
    return found, declaration


def declare(entries: dict[str, str], attribute: str) -> dict[str, Any]:
    """What each entry point declares, or why it doesn't."""
    told: dict[str, Any] = {}
    for name, entry in entries.items():
        try:
            told[name] = asdict(function_of(entry, attribute)[1])
            told[name] |= {end: repr(float(told[name][end])) for end in ("low", "high")}
        except BaseException as error:  # noqa: BLE001 -- told; SystemExit must not look like a silent end
            told[name] = {"failed": _words(error)}
    return told


def measure(job: dict[str, Any], attribute: str, slot: Path) -> dict[str, Any]:
    """The metric's value, and its interval at each of the levels."""
    try:
        function, declared = function_of(job["entry"], attribute)
        given = columns(job, slot)
        fixed = {"positive": job["positive"]} if declared.positive else {}
        if declared.interval:
            return _with_own_interval(function, given, fixed, job["levels"])
        value = number(function(**given, **fixed))
        ends, note = resampled(lambda part: function(**part, **fixed), given, value, job, declared.of_counts)
        return {"value": repr(value), "ends": [[repr(low), repr(high)] for low, high in ends], "note": note}
    except BaseException as error:  # noqa: BLE001 -- told; SystemExit must not look like a silent end
        return {"failed": _words(error)}


def columns(job: dict[str, Any], slot: Path) -> dict[str, Any]:
    """The arrays that the function takes, by name: classes and groups as themselves, numbers as numbers."""
    given: dict[str, Any] = {}
    for name in job["columns"]:
        array = np.load(slot / f"{name}.npy", allow_pickle=False)
        values = job["values"].get(name)
        if values is not None:
            alike = len({type(value) for value in values}) == 1
            array = (np.array(values) if alike else np.array(values, dtype=object))[array]
        given[name] = array
    return given


def _with_own_interval(
    function: Callable[..., Any], given: dict[str, Any], fixed: dict[str, Any], levels: list[float]
) -> dict[str, Any]:
    found = [function(**given, **fixed, level=level) for level in levels]
    values = {number(value) for value, _, _ in found}
    if len(values) > 1:
        raise Refused("its value depends on the level of the interval")
    ends = [[repr(float(low)), repr(float(high))] for _, low, high in found]
    return {"value": repr(values.pop()), "ends": ends, "note": ""}


def resampled(
    value_of: Callable[[dict[str, Any]], Any], given: dict[str, Any], value: float, job: dict[str, Any], of_counts: bool
) -> tuple[list[tuple[float, float]], str]:
    """The percentile interval at each level, unbounded where resamples don't tell how much the value varies."""
    n = len(next(iter(given.values())))
    unbounded = [(-math.inf, math.inf)] * len(job["levels"])
    if n < _FEWEST_ROWS:
        return unbounded, f"{n} rows are too few to resample, so the interval is unknown"
    values = []
    for index in _draws(given, n, of_counts, np.random.default_rng(job["seed"])):
        try:
            values.append(number(value_of({name: array[index] for name, array in given.items()})))
        except Exception:  # noqa: BLE001, S112 -- counted below
            continue
    failed = RESAMPLES - len(values)
    if failed > _MOST_FAILED * RESAMPLES:
        return unbounded, f"{failed} of {RESAMPLES} resamples have no value, so the interval is unknown"
    if min(values) == max(values):
        return unbounded, "every resample gives the same value, so how much it varies is unknown"
    quantiles = np.quantile(values, [[(1 - level) / 2, (1 + level) / 2] for level in job["levels"]])
    ends = [(min(float(low), value), max(float(high), value)) for low, high in quantiles]
    return ends, f"{failed} of {RESAMPLES} resamples have no value and were left out" if failed else ""


def _draws(given: dict[str, Any], n: int, of_counts: bool, rng: np.random.Generator) -> Iterator[Any]:
    """Places of the rows of each resample."""
    if not of_counts:
        for _ in range(RESAMPLES):
            yield rng.integers(0, n, n)
        return
    coded = np.stack([np.unique(array.astype(str), return_inverse=True)[1] for array in given.values()])
    _, first, counts = np.unique(coded, axis=1, return_index=True, return_counts=True)
    for drawn in rng.multinomial(n, counts / n, RESAMPLES):
        yield np.repeat(first, drawn)


def number(value: Any) -> float:
    found = float(value)
    if not math.isfinite(found):
        raise Refused(f"its value is {found}")
    return found


def _words(error: BaseException) -> str:
    text = str(error)[:1000]
    return text if isinstance(error, Refused) else ": ".join(filter(None, (type(error).__name__, text)))


def main() -> None:
    channel = os.dup(1)  # what the metric prints must not mix with the answer
    os.dup2(2, 1)
    os.write(channel, b"ready\n")
    if not sys.stdin.readline():
        os._exit(0)
    job = json.loads((SLOT / "job.json").read_text())
    attribute = offer_api(SLOT).ATTRIBUTE
    told = declare(job["entries"], attribute) if "entries" in job else measure(job, attribute, SLOT)
    reply = memoryview(json.dumps(told).encode())
    while reply:
        reply = reply[os.write(channel, reply) :]
    os._exit(0)  # threads and exit handlers of the metric have no say in when this ends


if __name__ == "__main__":
    main()
