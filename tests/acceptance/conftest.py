"""A folder with an agent in it, and a fresh store of each local kind."""

from __future__ import annotations

from pathlib import Path

import pytest
from workplace import Workplace


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)


@pytest.fixture(params=["sqlite", "files"])
def store_uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh store of each local kind."""
    return f"sqlite:///{tmp_path}/mlflow.db" if request.param == "sqlite" else str(tmp_path / "mlruns")
