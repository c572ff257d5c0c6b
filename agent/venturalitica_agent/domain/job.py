"""A durable unit of work: audit one revision of one run under the policies that apply to it."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from venturalitica_agent.domain.codec import to_json
from venturalitica_agent.domain.subject import DataPlan


@dataclass(frozen=True, slots=True)
class AuditTask:
    """One policy to audit the run under, with the data and columns that agent.yaml binds for it.

    Attributes:
        audit: name of the entry in agent.yaml, or the policy's id where `applies_to` selected the run.
        policy: SHA-256 of the policy's bytes; the bytes are kept in the state.
        since: when this version of the policy first came into force, seconds since the epoch by our clock.
        note: why this version decides, for readers of the evidence.
    """

    audit: str
    policy: str
    plan: DataPlan
    since: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class AuditJob:
    """What the engine executes exactly once.

    Attributes:
        revision: `RunRef.revision` that is due.
        attempt: 0, or how often an earlier job for the same revision failed.
        give_up: why no further attempt is made; every control then becomes `error` with these words.
        unfinished: whether an earlier job may have logged its verdict and not come to publish it.
    """

    store: str
    run_id: str
    revision: str
    tasks: tuple[AuditTask, ...]
    attempt: int = 0
    give_up: str = ""
    unfinished: bool = False

    @property
    def id(self) -> str:
        """The same job has the same id in every process, so that enqueueing it twice executes it once."""
        return sha256(to_json(AuditJob, self).encode()).hexdigest()[:32]
