"""Each test that asks for `tracker` runs on all three kinds of real store; one that asks for `lab` has a project of its
own on a W&B server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.odd_server import OddServer, odd_server
from support.trackers import REAL_KINDS, Tracker, track
from support.wandb_world import Lab
from wandb_server import WandbServer


@pytest.fixture(params=REAL_KINDS)
def tracker(request: pytest.FixtureRequest, tmp_path: Path) -> Tracker:
    return track(request.param, request, tmp_path)


@pytest.fixture(scope="session")
def empty_wandb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WandbServer]:
    with WandbServer(tmp_path_factory.mktemp("wandb-server"), other_entities=["others"]) as server:
        yield server


@pytest.fixture
def lab(empty_wandb: WandbServer) -> Iterator[Lab]:
    yield Lab.on(empty_wandb)
    empty_wandb.faults.clear()
    empty_wandb.world.bump_heartbeat = empty_wandb.world.anonymous = False


@pytest.fixture
def odd() -> Iterator[OddServer]:
    with odd_server() as server:
        yield server
