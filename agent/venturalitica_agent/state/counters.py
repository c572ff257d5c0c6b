"""What only grows: counts and durations of what the agent did, kept in the state so that a restart forgets none and any
process can tell them. Noted in memory and written together, so that counting costs an audit nothing."""

from __future__ import annotations

import json
import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from venturalitica_agent.state.dialects import insert_of
from venturalitica_agent.state.tables import counters

BOUNDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 86_400.0)
"""Upper bounds of the buckets of durations, seconds, inclusive; what is longer is in a last one."""

Counted = Mapping[tuple[tuple[str, str], ...], float]
"""Labels (pairs, sorted by name) -> how much."""

_Key = tuple[str, str]  # the name, the labels as JSON


class Counters:
    """Thread-safe. What was not flushed when a process dies is lost: these are figures to watch, no records."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._insert = insert_of(engine)
        self._guard = threading.Lock()
        self._pending: defaultdict[_Key, float] = defaultdict(float)

    def add(self, name: str, labels: Mapping[str, str] | None = None, amount: float = 1.0) -> None:
        """Count something that happened, under labels of which there are few."""
        with self._guard:
            self._pending[name, _text(labels or {})] += amount

    def observe(self, name: str, labels: Mapping[str, str], seconds: float) -> None:
        """Count a duration in its bucket, and add it to the sum of all."""
        place = bisect_left(BOUNDS, seconds)
        bucket = f"{BOUNDS[place]:g}" if place < len(BOUNDS) else "+Inf"
        self.add(f"{name}_bucket", {**labels, "le": bucket})
        self.add(f"{name}_sum", labels, seconds)

    def flush(self) -> None:
        """Write what was counted since the last time; what can't be written now is kept for the next."""
        with self._guard:
            pending, self._pending = self._pending, defaultdict(float)
        if not pending:
            return
        try:
            with self._engine.begin() as db:
                for (name, labels), amount in sorted(pending.items()):
                    db.execute(self._grown(name, labels, amount))
        except BaseException:
            with self._guard:
                for key, amount in pending.items():
                    self._pending[key] += amount
            raise

    def _grown(self, name: str, labels: str, amount: float) -> sa.Insert:
        row: dict[str, Any] = {"name": name, "labels": labels, "value": amount}
        statement = self._insert(counters).values(**row)
        grown = {"value": counters.c.value + statement.excluded.value}
        return statement.on_conflict_do_update(index_elements=["name", "labels"], set_=grown)


def counted_so_far(engine: sa.Engine) -> dict[str, Counted]:
    """Name -> labels -> how much. Buckets hold what is in them, not what is below them too."""
    found: defaultdict[str, dict[tuple[tuple[str, str], ...], float]] = defaultdict(dict)
    with engine.connect() as db:
        for name, labels, value in db.execute(sa.select(counters)):
            found[name][tuple(sorted(json.loads(labels).items()))] = value
    return dict(found)


def _text(labels: Mapping[str, str]) -> str:
    return json.dumps(labels, sort_keys=True, ensure_ascii=True)
