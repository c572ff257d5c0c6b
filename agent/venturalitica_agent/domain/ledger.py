"""Where each run stands with us, and how a new sight of it changes that. Pure: the ledger's rows live in `state`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from venturalitica_agent.domain.run import RunRef, RunStatus

MAX_FAILURES = 3  # failed jobs after which a run gets `error` and is left alone


class Phase(StrEnum):
    """Where a run stands. Every run that we ever saw is in exactly one of these; `status` counts them."""

    RUNNING = "running"  # has not ended
    SETTLING = "settling"  # ended; late metrics and datasets may still arrive
    DUE = "due"  # ready, not yet handed to the engine
    CLAIMED = "claimed"  # the engine has a durable job for it
    DONE = "done"  # this revision was audited and tagged
    IGNORED = "ignored"  # not to be audited; the reason says why
    GONE = "gone"  # deleted in the store
    STUCK = "stuck"  # not even an `error` could be written back; the reason says why


@dataclass(frozen=True, slots=True)
class Entry:
    """One run in the ledger. Times are seconds since the epoch by our clock; `ref` holds the store's.

    Attributes:
        live: noticed while we watched (goes first), not found in a backlog.
        ready_at: not before this moment.
        attempts: how many jobs there were before; makes the id of the next one, so it never falls back: a revision
            can come back (deleted and restored, resumed and ended at the same instant), a finished job can't.
        failures: how many of them failed for another reason than a store that was away.
        job: id of the job that holds it, when claimed.
        audited_revision: the last revision whose verdict was tagged.
    """

    ref: RunRef
    phase: Phase
    reason: str = ""
    live: bool = False
    ready_at: float = 0.0
    attempts: int = 0
    failures: int = 0
    job: str = ""
    audited_revision: str = ""


def after_sight(known: Entry | None, ref: RunRef, *, now: float, settle: float, backlog: bool) -> Entry:
    """The ledger entry after the run was seen as `ref`; equal to `known` when nothing follows from it.

    Level-triggered: seeing the same run a thousand times has the effect of seeing it once.

    Args:
        settle: quiet seconds after a run's end before it is due.
        backlog: True during the first scan of a store: runs that ended before it are not urgent.
    """
    audited = known.audited_revision if known else ""
    attempts = known.attempts + bool(known.job) if known else 0
    if ref.deleted:
        if known and known.phase is Phase.GONE and known.ref == ref:
            return known
        return Entry(ref, Phase.GONE, "deleted in the store", attempts=attempts, audited_revision=audited)
    if not ref.status.ended:
        if known and known.phase is Phase.RUNNING and known.ref == ref:
            return known
        return Entry(ref, Phase.RUNNING, attempts=attempts, audited_revision=audited)
    if known and known.ref.revision == ref.revision and known.phase not in (Phase.GONE, Phase.RUNNING):
        return known
    if audited == ref.revision:  # restored after a deletion: its verdict still stands
        return Entry(ref, Phase.DONE, attempts=attempts, audited_revision=audited)
    ended = (ref.end_time or 0) / 1000
    if backlog and ended + settle <= now:
        return Entry(ref, Phase.DUE, attempts=attempts, audited_revision=audited)
    return Entry(
        ref,
        Phase.SETTLING,
        live=not backlog,
        ready_at=now + settle,
        attempts=attempts,
        audited_revision=audited,
    )


def vanished(known: Entry) -> Entry:
    """The entry of a run that a complete scan did not find."""
    return replace(known, phase=Phase.GONE, reason="no longer in the store")


def stale(entry: Entry, *, now: float, limit: float) -> bool:
    """RUNNING for longer than `limit` seconds: killed without a word, most likely. It never ended, so it is
    never audited; it is counted and shown."""
    started = (entry.ref.start_time or 0) / 1000
    return entry.phase is Phase.RUNNING and entry.ref.status is RunStatus.RUNNING and now - started > limit


def gave_up(entry: Entry) -> bool:
    """Whether no further attempt is made at a run that has no verdict but, at most, `error`; its reason says why."""
    return entry.phase is Phase.STUCK or (entry.phase is Phase.DONE and entry.failures >= MAX_FAILURES)


def again(entry: Entry, *, now: float) -> dict[str, Any]:
    """What changes beside the phase when an entry becomes due anew, as if nothing had ever failed."""
    return {"reason": "", "attempts": entry.attempts + bool(entry.job), "failures": 0, "ready_at": now}
