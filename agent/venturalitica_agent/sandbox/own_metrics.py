"""Metrics of users' own packages: found by their metadata, declared and run in the sandbox, never imported here.

Declarations are kept by the digest of the package's RECORD, so a package is asked for them once.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from venturalitica_agent import api
from venturalitica_agent.domain.metric import ALIASES, METRICS, Form, MetricSpec, Need
from venturalitica_agent.domain.own_metric import Handed, Told
from venturalitica_agent.errors import AgentError, SandboxError, SandboxUnavailable
from venturalitica_agent.logging import get_logger
from venturalitica_agent.sandbox.answer import printable
from venturalitica_agent.sandbox.launcher import Limits, Sandbox
from venturalitica_agent.sandbox.metric_packages import Package, distributions, package_of, unpack

log = get_logger(__name__)

NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_SCRIPT = Path(__file__).with_name("metric_worker.py")
_MOST_SAID = 1 << 20
_DECLARING = Limits(wall_seconds=20, cpu_seconds=20)  # an agent that starts waits for it
_KEYS = {field: type_ for field, type_ in api.Declaration.__annotations__.items() if field not in ("low", "high")}
_NEEDS = {name: Need[name.upper()] for name in api.NEEDS}


@dataclass(frozen=True, slots=True)
class OwnMetric:
    """A metric that a package declares."""

    spec: MetricSpec
    package: Package
    interval: bool


ENLISTED: dict[str, OwnMetric] = {}
"""The metrics of packages that policies may name, by name; `enlist` fills it."""


def enlist(cache: Path | None = None) -> list[AgentError]:
    """Add what the installed packages declare to METRICS; returns what is wrong with those that can't be used.

    Args:
        cache: a folder of the agent's that declarations are kept in; None asks the packages anew.
    """
    refused: list[AgentError] = []
    for name in ENLISTED:
        METRICS.pop(name, None)
    ENLISTED.clear()
    found: dict[str, list[OwnMetric]] = {}
    for distribution in distributions():
        try:
            package = package_of(distribution)
            for name, told in _declared(package, cache).items():
                try:
                    own = _own_metric(name, told, package)
                except SandboxError as error:
                    refused.append(error)
                else:
                    found.setdefault(name, []).append(own)
        except (SandboxError, SandboxUnavailable) as error:
            error.subject = error.subject or printable(str(distribution.name), 100)
            refused.append(error)
    for name, metrics in found.items():
        if len(metrics) > 1:
            owners = " and ".join(metric.package.words for metric in metrics)
            refused.append(SandboxError("two packages have it", subject=f"metric {name}", remedy=f"keep one: {owners}"))
            continue
        METRICS[name] = metrics[0].spec
        ENLISTED[name] = metrics[0]
    return refused


def measure(sandbox: Sandbox, name: str, handed: Handed) -> Told:
    """The value of an enlisted metric.

    Raises:
        SandboxError: it crashed, overran a limit, or what it returned is no value of its range.
        SandboxUnavailable: there is no sandbox to run it in.
    """
    own = ENLISTED[name]
    package = own.package

    def stage(slot: Path) -> None:
        import numpy as np

        unpack(package, slot)
        for column, array in handed.arrays.items():
            np.save(slot / f"{column}.npy", array, allow_pickle=False)
        job = {
            "entry": package.entries[name],
            "columns": list(handed.arrays),
            "values": {column: list(values) for column, values in handed.values.items()},
            "positive": handed.positive,
            "levels": list(handed.levels),
            "seed": handed.seed,
        }
        (slot / "job.json").write_text(json.dumps(job))

    remedy = f"Correct the metric in {package.words}, or remove the control."
    told = _told(sandbox, stage, package, remedy, rows=max(map(len, handed.arrays.values())))
    if "failed" in told:
        raise SandboxError(f"the metric failed: {printable(str(told['failed']), 400)}", remedy=remedy)
    try:
        return _checked(told, own, handed)
    except (KeyError, TypeError, ValueError) as error:
        raise SandboxError(f"the metric's answer is not one: {printable(str(error), 200)}", remedy=remedy) from error


def _checked(told: Mapping[str, Any], own: OwnMetric, handed: Handed) -> Told:
    spec, value = own.spec, _number(told["value"])
    if not spec.low <= value <= spec.high:
        raise ValueError(f"{value:g} is outside its declared range, {spec.low:g} to {spec.high:g}")
    pairs = [(_number(low), _number(high)) for low, high in told["ends"]]
    if len(pairs) != len(handed.levels):
        raise ValueError(f"{len(pairs)} intervals for {len(handed.levels)} levels")
    for low, high in pairs:
        if not low <= value <= high:
            raise ValueError(f"the interval {low:g} to {high:g} does not hold the value {value:g}")
    ends = [(max(low, spec.low), min(high, spec.high)) for low, high in pairs]
    note = told["note"]
    if not isinstance(note, str):
        raise TypeError("its note is no text")
    method = "the metric's own" if own.interval else f"percentiles of 1000 resamples, seed {handed.seed}"
    return Told(
        value,
        dict(zip(handed.levels, ends, strict=True)),
        method,
        (f"measured in the sandbox by {spec.origin}", *((printable(note, 300),) if note else ())),
    )


def _number(text: object) -> float:
    """The number that the worker wrote as text; never NaN."""
    if not isinstance(text, str) or len(text) > 40:
        raise TypeError("a number is not written as one")
    number = float(text)
    if math.isnan(number):
        raise ValueError("a number is not one")
    return number


def _told(
    sandbox: Sandbox, stage: Callable[[Path], None], package: Package, remedy: str, rows: int = 1
) -> dict[str, Any]:
    """What the worker says, as far as it is a JSON object."""
    try:
        raw = sandbox.run(_SCRIPT, stage, who="the metric", rows=rows)
    except SandboxError as error:
        raise SandboxError(error.what, subject=error.subject or package.words, remedy=remedy) from error
    try:
        told = json.loads(raw) if len(raw) <= _MOST_SAID else None
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise SandboxError("its answer can't be read", subject=package.words, remedy=remedy)
    return told


# -- declarations ------------------------------------------------------------------------------------------------
def _declared(package: Package, cache: Path | None) -> dict[str, Any]:
    """What each entry point says of itself, unchecked."""
    ours = _SCRIPT.read_bytes() + Path(api.__file__).read_bytes()
    key = sha256(json.dumps([package.record, dict(package.entries)]).encode() + ours).hexdigest()
    kept = cache / "metrics" / f"{key}.json" if cache is not None else None
    known = _kept(kept) if kept is not None else None
    if known is not None:
        return known
    with (
        TemporaryDirectory() as spare,
        Sandbox(limits=_DECLARING, workdir=(cache or Path(spare)) / "sandbox") as sandbox,
    ):

        def stage(slot: Path) -> None:
            unpack(package, slot)
            (slot / "job.json").write_text(json.dumps({"entries": dict(package.entries)}))

        told = _told(sandbox, stage, package, "Correct or remove the package.")
    if set(told) != set(package.entries):
        raise SandboxError("it declares other metrics than its entry points", remedy="Correct or remove the package.")
    if kept is not None and not any("failed" in said for said in told.values()):
        kept.parent.mkdir(parents=True, exist_ok=True)
        fresh = kept.with_suffix(".new")
        fresh.write_text(json.dumps(told), encoding="utf-8")
        fresh.replace(kept)
    return told


def _kept(file: Path) -> dict[str, Any] | None:
    """Declarations that were kept; None when there are none, or the disk has spoilt them: then they are asked anew."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        log.warning("metric.cache_damaged", file=str(file))
        return None
    return found if isinstance(found, dict) else None


def _own_metric(name: str, told: Any, package: Package) -> OwnMetric:
    wrong = _wrong(name, told)
    if wrong:
        raise SandboxError(
            wrong,
            subject=f"metric {printable(name, 100)} of {package.words}",
            remedy="Correct its declaration; docs/metrics-of-your-own.md has an example.",
        )
    needs = frozenset(_NEEDS[need] for need in told["needs"])
    spec = MetricSpec(
        name=name,
        title=told["title"],
        low=float(told["low"]),
        high=float(told["high"]),
        better=told["better"],
        needs=needs,
        positive=told["positive"] or Need.SCORES in needs,
        of_counts=told["of_counts"],
        form=Form.VALUE,
        source=told["description"] or f"defined by {package.words}",
        origin=f"{package.words} (RECORD sha256:{package.record})",
    )
    return OwnMetric(spec, package, told["interval"])


def _wrong(name: str, told: Any) -> str:
    """What is wrong with a declaration; empty when it is sound."""
    if not NAME.fullmatch(name):
        return "its name must be small letters, digits and underscores, and begin with a letter"
    if name in METRICS or name in ALIASES:
        return "there is a metric of this name already"
    if not isinstance(told, dict) or "failed" in told:
        return printable(str(told.get("failed") if isinstance(told, dict) else told), 400)
    types = {"str": str, "bool": bool, "tuple[str, ...]": list}
    if set(told) != {*_KEYS, "low", "high"} or not all(isinstance(told[k], types[t]) for k, t in _KEYS.items()):
        return "its declaration has other fields than a declaration has"
    if any(text != printable(text, 500) for text in (told["title"], told["description"])) or not told["title"]:
        return "its title and description must be lines of at most 500 visible characters"
    if told["better"] not in ("higher", "lower"):
        return "`better` must be higher or lower"
    if not told["needs"] or not set(told["needs"]) <= set(_NEEDS):
        return f"`needs` must name some of {', '.join(_NEEDS)}"
    try:
        low, high = _number(told["low"]), _number(told["high"])
    except (TypeError, ValueError):
        return "`low` and `high` must be numbers"
    return "" if low < high else "`low` must be under `high`"
