from __future__ import annotations

import tempfile
from collections.abc import Iterator

import pytest
from service_manager import Manager


@pytest.fixture
def manager() -> Iterator[Manager]:
    """A socket in the file system, with a short name: 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="notify-") as short:
        manager = Manager(f"{short}/notify")
        yield manager
        manager.close()
