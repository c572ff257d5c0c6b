"""What was given up, tried again because a person says so; a service that works on the same state then does it."""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path

import sqlalchemy as sa

from venturalitica_agent.domain.ledger import Phase, again
from venturalitica_agent.errors import ConfigError
from venturalitica_agent.settings import Settings
from venturalitica_agent.state.ledger import Ledger
from venturalitica_agent.state.machines import machines_of
from venturalitica_agent.state.opening import open_state
from venturalitica_agent.state.services import holder_of


def hand_over(settings: Settings, runs: Collection[str] = ()) -> int | None:
    """Make due what was given up; returns how many runs, or None when no service is there that would take them up.

    Args:
        runs: ids; empty for all.

    Raises:
        ConfigError: one of `runs` was not given up, so there is nothing to try again.
    """
    engine = open_state(settings.state)
    try:
        with engine.connect() as db:
            shared = engine.dialect.name != "sqlite" and any(one.notices for one in machines_of(db))
        ledger = Ledger(engine)
        found = [entry for entry in ledger.given_up() if not runs or entry.ref.run_id in runs]
        if unknown := sorted(set(runs) - {entry.ref.run_id for entry in found}):
            raise ConfigError(
                "this run was not given up",
                subject=unknown[0],
                remedy="`venturalitica-agent status` lists those that were; `audit --run` audits any run again",
            )
        now = time.time()
        given = sum(ledger.move(entry, Phase.DUE, now=now, **again(entry, now=now)) for entry in found)
    finally:
        engine.dispose()
    url = sa.make_url(settings.state)
    held = url.get_backend_name() == "sqlite" and holder_of(Path(url.database or "").with_suffix(".lock")) is not None
    return given if held or shared else None
