"""What the two kinds of database say differently."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite


def insert_of(engine: sa.Engine) -> Callable[..., postgresql.Insert | sqlite.Insert]:
    """The `insert` that knows `on_conflict_do_update` there."""
    return postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
