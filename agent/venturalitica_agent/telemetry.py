"""What the pipeline tells about its own work: how long each stage takes, what came out, what went wrong.

For an operations team. Nothing in here decides anything, and no name, value or word of a run leaves by it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from venturalitica_agent.state.counters import Counters
from venturalitica_agent.tracing import Tracing

AUDITS = "venturalitica_audits_total"
RETRIES = "venturalitica_audit_retries_total"
STAGES = "venturalitica_stage_seconds"
DELAY = "venturalitica_verdict_delay_seconds"
EVIDENCE = "venturalitica_evidence_bytes_total"
POLL_ERRORS = "venturalitica_poll_errors_total"
KILLS = "venturalitica_sandbox_kills_total"
STALE = "venturalitica_stale_total"


class Telemetry:
    """Thread-safe. Without counters and tracing it is silent."""

    def __init__(self, counters: Counters | None = None, tracing: Tracing | None = None) -> None:
        self._counters = counters
        self._tracing = tracing

    @contextmanager
    def stage(self, name: str, **attributes: str) -> Iterator[None]:
        """Time what is done in here, also when it fails, under the stage's name and as a span of the trace."""
        began = time.perf_counter()
        with self._tracing.span(name, attributes) if self._tracing else nullcontext():
            try:
                yield
            finally:
                if self._counters:
                    self._counters.observe(STAGES, {"stage": name}, time.perf_counter() - began)

    def published(self, policy: str, status: str, size: int) -> None:
        """A verdict and its evidence, of so many bytes, are on a run."""
        if self._counters:
            self._counters.add(AUDITS, {"policy": policy, "status": status})
            self._counters.add(EVIDENCE, amount=size)

    def delayed(self, seconds: float) -> None:
        """A run that was seen while it went on has its verdicts, so long after its end."""
        if self._counters:
            self._counters.observe(DELAY, {}, max(0.0, seconds))

    def retried(self, error: str) -> None:
        """An audit is put off by this kind of error."""
        if self._counters:
            self._counters.add(RETRIES, {"error": error})

    def poll_failed(self, store: str) -> None:
        """A store did not answer when it was asked."""
        if self._counters:
            self._counters.add(POLL_ERRORS, {"store": store})

    def killed(self, limit: str) -> None:
        """The sandbox ended what ran in it."""
        if self._counters:
            self._counters.add(KILLS, {"limit": limit})

    def stale(self) -> None:
        """The model or the data of a run changed after its audit."""
        if self._counters:
            self._counters.add(STALE)

    def flush(self) -> None:
        """Write down what was counted."""
        if self._counters:
            self._counters.flush()

    def close(self) -> None:
        """Write down and send what is left."""
        try:
            self.flush()
        finally:
            if self._tracing:
                self._tracing.close()


SILENT = Telemetry()
"""For whoever measures without a service that is watched."""
