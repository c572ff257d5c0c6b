"""Each test that asks for `tracker` runs on all three kinds of real store."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.trackers import REAL_KINDS, Tracker, track


@pytest.fixture(params=REAL_KINDS)
def tracker(request: pytest.FixtureRequest, tmp_path: Path) -> Tracker:
    return track(request.param, request, tmp_path)
