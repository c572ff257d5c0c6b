"""Policies in our own shape, made by hypothesis: right ones, and right ones with something replaced."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import strategies as st

from venturalitica_agent.domain.metric import METRICS, Need
from venturalitica_agent.policy import stress_keys
from venturalitica_agent.policy.own_keys import COMPARABLE, may_have, must_have, on_evaluation_only
from venturalitica_agent.policy.rules import OPERATORS, SEVERITIES, may_have_reference

Document = dict[str, Any]

# Printable, without the exotic spaces that the loader refuses; with spaces at the ends, quotes, and other alphabets.
_CHARACTERS = "aZ09 .,:;#'\"\\{}[]&*!|>%@`~-_=éñ信用ЖĂ😀"
lines = st.text(_CHARACTERS, min_size=1, max_size=12).filter(str.strip) | st.sampled_from(["null", "~", "1.10", "true"])
ids = st.text("aZ09().-_:#/é信", min_size=1, max_size=8)
roles = lines
names = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,8}", fullmatch=True)
versions = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,8}", fullmatch=True)


def _maybe(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Document]:
    return st.fixed_dictionaries({}, optional=keys)


@st.composite
def requirements(draw: st.DrawFn, metric: str) -> str:
    """A requirement inside the metric's range, in its direction, that is neither always true nor never."""
    spec = METRICS[metric]
    of_one = math.isfinite(spec.high) or metric in ("disparate_impact", "declared_difference", "declared_shortfall")
    high = min(spec.high, 1.0 if of_one else 1e6)
    low = max(spec.low, -1e6)
    share = draw(st.floats(0.01, 0.99))
    rising = {">", ">=", "==", "!="} if spec.better == "higher" else {"<", "<=", "==", "!="}
    spelling = draw(st.sampled_from([word for word, op in OPERATORS.items() if op in rising]))
    return f"{spelling} {low + share * (high - low)!r}"


def own_keys(metric: str) -> st.SearchStrategy[Document]:
    """The keys that this metric must have and may have, and that only some metrics know."""
    spec = METRICS[metric]
    halves = st.lists(roles, min_size=2, max_size=2, unique=True)
    values: dict[str, st.SearchStrategy[Any]] = {
        "columns": st.lists(roles, min_size=1, max_size=3, unique=True),
        "sensitive": st.just("the sensitive one"),
        "shares": halves.map(lambda pair: {pair[0]: 0.25, pair[1]: 0.75}),
        "logged": lines,
        "of_metric": st.sampled_from(COMPARABLE),
    }
    must = {key: value for key, value in values.items() if must_have(spec, key)}
    may = {key: value for key, value in values.items() if may_have(spec, key) and key not in must}
    sizes = {name: key for name, key in stress_keys.STRESS_KEYS.items() if stress_keys.may_have(spec, name)}
    may |= {name: st.floats(key.low, key.high) for name, key in sizes.items()}
    return st.fixed_dictionaries(must, optional=may)


def usual_keys(metric: str) -> Document:
    """Some value for each key that the metric must have and others don't know."""
    values = {"columns": ["a"], "sensitive": "s", "shares": {"a": 0.5, "b": 0.5}, "logged": "m", "of_metric": "mae"}
    return {key: value for key, value in values.items() if must_have(METRICS[metric], key)}


@st.composite
def controls(draw: st.DrawFn, name: str) -> Document:
    metric = draw(st.sampled_from(sorted(METRICS)))
    spec = METRICS[metric]
    control = {"id": name, "metric": metric, "require": draw(requirements(metric))}
    if Need.GROUPS in spec.needs:
        control["role"] = draw(roles | st.lists(roles, min_size=1, max_size=3, unique=True))
    if may_have_reference(spec):
        control |= draw(_maybe(reference=roles | st.just("largest")))
    if Need.OUTCOME in spec.needs:
        control |= draw(_maybe(of=st.sampled_from(["labels", "predictions"])))
    control |= draw(own_keys(metric))
    on = {} if on_evaluation_only(spec) else {"on": st.sampled_from(["evaluation", "training"])}
    return control | draw(
        _maybe(
            **on, article=lines, title=lines, risk=lines, target=roles, prediction=roles,
            decide_on=st.sampled_from(["interval", "point"]),
            enforcement=st.sampled_from(["block", "warn", "report"]), severity=st.sampled_from(SEVERITIES),
            min_group=st.integers(1, 10**9), level=st.floats(0.5, 0.9999),
            source=st.fixed_dictionaries(
                {"kind": st.sampled_from(["law", "guidance", "convention", "house"])}, optional={"ref": lines}
            ),
        )
    )  # fmt: skip


@st.composite
def documents(draw: st.DrawFn) -> Document:
    found = draw(st.lists(ids, min_size=1, max_size=3, unique=True))
    document = {"policy": draw(names), "version": draw(versions), "controls": [draw(controls(name)) for name in found]}
    return document | draw(
        _maybe(
            title=lines,
            law=_maybe(text=lines, consolidated=st.dates().map(str)),
            applies_to=_maybe(
                experiment=lines,
                tags=st.dictionaries(st.text(_CHARACTERS, max_size=4), st.text(_CHARACTERS, max_size=4), max_size=2),
                status=st.lists(st.sampled_from(["FINISHED", "FAILED", "KILLED"]), min_size=1, max_size=3),
            ),
            retain=st.sampled_from(["10 years", "1 month", "90 days", "2036-12-31"]),
            evaluate_with=st.sampled_from(["run-start", "latest"]),
            on_change=st.sampled_from(["new-runs", "re-audit"])
            | st.fixed_dictionaries({"re-audit-since": st.from_regex(r"[1-9][0-9]{0,5}[smhd]", fullmatch=True)}),
        )
    )


_JUNK: list[Any] = [
    None, True, 0, 1, -1, 0.5, 30, "", " ", "x", "a b", "a,b", "\x01", "x" * 600, ">= 0.5", "<= 0.5", "gt .5",
    "accuracy", "disparate_impact", "labels", "predictions", "house", [], ["x"], ["x", "x"], {}, {"x": 1},
    {"kind": "law"}, "2026-02-31", "2026-02-28", "latest", "re-audit", {"re-audit-since": "30d"},
    {"re-audit-since": "0d"},
]  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn) -> Document:
    """A document with a value replaced, removed or added, in the document itself, a control or a map below."""
    document: Document = json.loads(json.dumps(draw(documents())))
    control = draw(st.sampled_from(document["controls"]))
    maps = [document, control, *(v for m in (document, control) for v in m.values() if isinstance(v, dict))]
    for _ in range(draw(st.integers(1, 2))):
        target = draw(st.sampled_from(maps))
        known = ["of", "role", "reference", "min_group", "level", "law", "source", "applies_to", "$schema", "titel"]
        known += ["evaluate_with", "on_change", "retain"]
        known += ["columns", "sensitive", "shares", "logged", "of_metric", "on", "noise", "tolerance"]
        key = draw(st.sampled_from([*target, *known]))
        if draw(st.booleans()) and key in target:
            del target[key]
        else:
            target[key] = draw(st.sampled_from(_JUNK))
    return document


def as_bytes(document: Document) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()
