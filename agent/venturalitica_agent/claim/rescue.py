"""Claimed runs whose job is not alive any more: nothing may stay claimed for ever."""

from __future__ import annotations

from collections.abc import Callable

from venturalitica_agent.claim.engine import ALIVE, ENDED
from venturalitica_agent.domain.ledger import Phase
from venturalitica_agent.logging import get_logger
from venturalitica_agent.state.ledger import Ledger

log = get_logger(__name__)


def rescue(ledger: Ledger, status_of: Callable[[str], str | None], *, now: float) -> int:
    """Make due again every claimed run whose job ended without moving it on, or was lost; returns how many.

    A job that took the process down more often than the engine allows counts as a failed attempt like any other, so
    that after some attempts its run gets an `error` verdict with that reason. One that came to its end and could not
    note it, since the state was away, says nothing of its run.
    """
    rescued = 0
    for entry in ledger.in_phase(Phase.CLAIMED):
        status = status_of(entry.job)
        if status in ALIVE:
            continue
        reason = f"its job ended as {status} without a verdict" if status else "its job was lost"
        failures = entry.failures + (status != ENDED)
        if ledger.move(entry, Phase.DUE, now=now, attempts=entry.attempts + 1, failures=failures, reason=reason):
            rescued += 1
            log.warning("audit.rescued", run=entry.ref.run_id, job=entry.job, reason=reason)
    return rescued
