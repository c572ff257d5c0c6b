"""Which runs a Mongo-like filter chooses, and in what order they come."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .calls import ApiError
from .texts import read_time, snake

if TYPE_CHECKING:
    from .runs import Run

COLUMNS = {"name", "display_name", "state", "tags", "job_type", "group", "created_at", "heartbeat_at", "username"}
ORDERS = {"created_at", "heartbeat_at", "name", "display_name", "state"}

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}


def matches(run: Run, wanted: dict[str, Any]) -> bool:
    """Whether a filter chooses the run; an empty one chooses every run.

    Raises:
        ApiError: a column or an operator that the server does not know.
    """
    return all(_clause(run, key, value) for key, value in wanted.items())


def ordered(runs: Iterable[Run], order: str | None) -> list[Run]:
    """The runs by a column, `+` ascending and `-` descending; without an order, the oldest first."""
    sign, key = (order[0], order[1:]) if order and order[0] in "+-" else ("+", order or "created_at")
    column = snake(key)
    if column not in ORDERS:
        raise ApiError(400, f"invalid order: {order!r}")
    return sorted(runs, key=lambda run: getattr(run, column) or "", reverse=sign == "-")


def _clause(run: Run, key: str, value: Any) -> bool:
    match key:
        case "$and":
            return all(matches(run, part) for part in value)
        case "$or":
            return any(matches(run, part) for part in value)
        case "$nor":
            return not any(matches(run, part) for part in value)
        case "$not":
            return not matches(run, value)
    conditions = value if isinstance(value, dict) else {"$eq": value}
    found = _column(run, key)
    return all(_condition(found, op, wanted) for op, wanted in conditions.items())


def _column(run: Run, key: str) -> Any:
    root, _, rest = key.partition(".")
    match snake(root):
        case "config":
            entry = run.config.get(rest.removesuffix(".value"))
            return entry.get("value") if isinstance(entry, dict) else entry
        case "summary_metrics":
            return run.summary_metrics.get(rest)
        case "username":
            return run.user.username
        case column if column in COLUMNS and not rest:
            return getattr(run, column)
    raise ApiError(400, f"invalid filter: unknown column {key!r}")


def _condition(found: Any, op: str, wanted: Any) -> bool:
    match op:
        case "$eq":
            return _same(found, wanted)
        case "$ne":
            return not _same(found, wanted)
        case "$in":
            return any(_same(found, one) for one in wanted)
        case "$nin":
            return not any(_same(found, one) for one in wanted)
        case "$exists":
            return bool(wanted) is (found is not None)
        case "$regex":
            return isinstance(found, str) and re.search(wanted, found) is not None
    if op not in _COMPARE:
        raise ApiError(400, f"invalid filter: unknown operator {op!r}")
    if isinstance(found, datetime):
        wanted = read_time(wanted)
    if found is None or wanted is None:
        return False
    return _COMPARE[op](found, wanted)


def _same(found: Any, wanted: Any) -> bool:
    if isinstance(found, datetime):
        return found == read_time(wanted)
    if isinstance(found, list):
        return wanted in found
    return bool(found == wanted)
