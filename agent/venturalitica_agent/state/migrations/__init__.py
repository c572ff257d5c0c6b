"""How a state of an older agent becomes one of this agent. `versions/` holds one file a step, never changed after a
release; the tables as they are now are in state/tables.py, and a test holds the two against each other."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

_HERE = Path(__file__).parent


def config_for(db: sa.Connection) -> Config:
    """Alembic's configuration for these migrations on `db`."""
    config = Config()
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = db
    return config


def upgrade(db: sa.Connection, to: str = "head") -> None:
    """Take the tables of `db` from whatever version they have to `to`, in the caller's transaction."""
    command.upgrade(config_for(db), to)
