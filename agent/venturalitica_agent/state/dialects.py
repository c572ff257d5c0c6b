"""What the two kinds of database say differently."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from venturalitica_agent.errors import StateUnavailable

SILENCE = 20
"""Seconds after which a machine and a PostgreSQL that don't hear of each other take each other for dead."""

_KEEPALIVE = {"keepalives_idle": 5, "keepalives_interval": 5, "keepalives_count": (SILENCE - 5) // 5}


def insert_of(engine: sa.Engine) -> Callable[..., postgresql.Insert | sqlite.Insert]:
    """The `insert` that knows `on_conflict_do_update` there."""
    return postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert


def with_driver(url: str) -> sa.URL:
    """The URL with the driver that comes with the agent, unless it names one."""
    parsed = sa.make_url(url)
    return parsed.set(drivername="postgresql+psycopg") if parsed.drivername == "postgresql" else parsed


def connecting(url: str) -> dict[str, Any]:
    """What connections to this database are made with, beside what its URL says."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return {"timeout": 30}
    # Both ends must notice: a machine that was cut off would wait for ever, and its locks would keep others waiting.
    # Keepalives tell of a silent connection, the timeout of one on which an answer is under way that nobody confirms.
    timeout = {"tcp_user_timeout": SILENCE * 1000}
    given: dict[str, Any] = {"connect_timeout": 10, **timeout, **_KEEPALIVE}
    asked = timeout | {f"tcp_{name}": value for name, value in _KEEPALIVE.items()}
    given["options"] = " ".join(f"-c {name}={value}" for name, value in asked.items())
    return {name: value for name, value in given.items() if name not in parsed.query}


def is_away(error: BaseException) -> bool:
    """Whether this says that the database can't be asked just now, and nothing of what it was asked."""
    if isinstance(error, sa.exc.TimeoutError | StateUnavailable):
        return True
    return isinstance(error, sa.exc.DBAPIError) and (
        error.connection_invalidated or isinstance(error, sa.exc.OperationalError)
    )
