"""Each test here gets a PostgreSQL database of its own."""

from __future__ import annotations

import pytest
from support.postgres import Postgres


@pytest.fixture
def url(postgres_server: Postgres) -> str:
    """The URL of an empty database."""
    return postgres_server.database()
