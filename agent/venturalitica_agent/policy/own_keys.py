"""Keys of a control that only some metrics know: which must have them, which may, and what makes sense in them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from venturalitica_agent.domain.metric import METRICS, MetricSpec, Need
from venturalitica_agent.domain.policy import Control, Op, Split
from venturalitica_agent.policy.rules import line_of_text, metric, role_name
from venturalitica_agent.strict_yaml import BadValue, Fields, Scalar, nearest, shown, understand

OWN_KEYS = {
    "columns": Need.COLUMNS,
    "sensitive": Need.SENSITIVE,
    "shares": Need.SHARES,
    "logged": Need.LOGGED,
    "of_metric": Need.LOGGED,
}
"""Key -> what a metric needs that must have it."""

_NOT_LOGGED = {Need.GROUPS, Need.LOGGED, Need.SIGNATURE, Need.NOISE, Need.GAPS}
COMPARABLE = tuple(name for name, s in METRICS.items() if s.of_model and not s.needs & _NOT_LOGGED)
"""Metrics whose value a training run may have logged: one number of the whole evaluation table."""

_MAY_NAME_COLUMNS = {Need.COLUMNS, Need.ROWS, Need.SPLITS}
_ROUNDED = 0.005
"""By how much the sum of shares that were rounded to two places may miss 1."""


def must_have(spec: MetricSpec, key: str) -> bool:
    return OWN_KEYS[key] in spec.needs


def may_have(spec: MetricSpec, key: str) -> bool:
    return must_have(spec, key) or (key == "columns" and bool(spec.needs & _MAY_NAME_COLUMNS))


def on_evaluation_only(spec: MetricSpec) -> bool:
    """True for metrics that look at more than one table or at none, so that a control has no choice of one."""
    return bool(spec.needs & {Need.SPLITS, Need.EVIDENCE, Need.RECORD})


def read_own_keys(fields: Fields, control: Control) -> Control:
    """The control with the values of these keys; mistakes are noted in `fields`."""
    return replace(
        control,
        columns=_each_once(fields, "columns", fields.list_of("columns", role_name)),
        sensitive=fields.read("sensitive", role_name, None),
        shares=_shares(fields),
        logged=fields.read("logged", line_of_text, ""),
        of_metric=fields.read("of_metric", _comparable, ""),
    )


def own_complaints(control: Control, spec: MetricSpec) -> Iterator[tuple[str, str]]:
    """What is wrong with these keys in the control as a whole, as (key, sentence)."""
    for key in OWN_KEYS:
        given = bool(getattr(control, key))
        if must_have(spec, key) and not given:
            yield key, f"{spec.name} needs {shown(key)}"
        if given and not may_have(spec, key):
            yield key, f"{spec.name} doesn't look at {shown(key)}: remove it"
    if control.sensitive is not None and control.sensitive in control.columns:
        yield "sensitive", f"{shown(control.sensitive)} can't be sensitive and one of the columns that identify"
    if control.on is Split.TRAINING and on_evaluation_only(spec):
        yield "on", f"{spec.name} doesn't look at one table alone: remove 'on'"
    total = sum(control.shares.values())
    if control.shares and abs(total - 1) > _ROUNDED:
        yield "shares", f"the shares must add up to 1, not {total:g}: declare the other groups too"
    if control.of_metric:
        span = METRICS[control.of_metric].high - METRICS[control.of_metric].low
        if control.require.op in (Op.LE, Op.LT) and span < math.inf and control.require.threshold >= span:
            yield "require", f"two values of {control.of_metric} are never further apart than {span:g}: always true"


def _each_once(fields: Fields, key: str, names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        fields.complain(key, f"{shown(key)} names the same column twice")
    return names


def _shares(fields: Fields) -> dict[str, float]:
    found = fields.map("shares")
    if found is None:
        return {}
    shares: dict[str, float] = {}
    for group, _ in found.pairs():
        try:
            role_name(group)
        except BadValue as error:
            found.note(group, f"the group {shown(group.text)} {error.what}")
        shares[group.text] = found.read(group.text, _share, 0.0)
    if not shares:
        found.note(found.place, "'shares' names no group")
    return shares


def _share(scalar: Scalar) -> float:
    number = understand(scalar.text)[0]
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number <= 1:
        raise BadValue(f"must be a share between 0 and 1, not {shown(scalar.text)}")
    return float(number)


def _comparable(scalar: Scalar) -> str:
    name = metric(scalar).name
    if name not in COMPARABLE:
        what = f"{shown(scalar.text)} is not one number of a model's answers, which a run could have logged"
        raise BadValue(what, nearest(scalar.text, COMPARABLE))
    return name
