"""Noticing in a store that must be asked: a nearly free version check where there is one (SQLite), else a query by end
time with an overlap, because end times are chosen by clients and arrive out of order."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable

from venturalitica_agent.domain.run import RunRef
from venturalitica_agent.errors import AgentError, RetryableError, StoreUnavailable
from venturalitica_agent.logging import get_logger
from venturalitica_agent.stores.base import PolledStore

log = get_logger(__name__)

OVERLAP_MS = 15 * 60 * 1000
_LONGEST_PAUSE = 300.0


class Poll:
    """Asks one store, again and again: from a thread of its own (`start`), or by turns of a scheduler (`turn`).

    Args:
        every: seconds between two questions; a version check makes 0.1 affordable.
        on_runs: called with what was seen, from the polling thread.
        on_error: called with each failure and the pause (seconds) before the next question; whatever goes wrong, the
            asking goes on.
    """

    def __init__(
        self,
        store: PolledStore,
        *,
        every: float,
        on_runs: Callable[[Iterable[RunRef]], None],
        on_error: Callable[[RetryableError, float], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._every = every
        self._on_runs = on_runs
        self._on_error = on_error
        self._clock = clock
        self._version: int | None = None
        self._newest = 0
        self._began = 0
        self._unfinished: frozenset[str] = frozenset()
        self._failures = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=f"poll-{store.id}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=5)

    def ask(self) -> None:
        """One question: what ended since the newest end that we know (less the overlap), and what is running."""
        version = self._store.version()
        if version is not None and version == self._version:
            return
        now = int(self._clock() * 1000)
        self._began = self._began or now  # also when this question fails: the next one must reach back to it
        # A forged end time in the future must not carry the window past the runs that really end now.
        since = min(self._newest or self._began, now) - OVERLAP_MS
        seen = list(self._store.recent(since))
        # Whoever was running and is in no answer ended at a time before the window: a clock was wrong, or lied.
        missing = self._unfinished - {r.run_id for r in seen}
        seen += [ref for run_id in sorted(missing) if (ref := self._store.look(run_id)) is not None]
        # Nor must one in the past drag it back over the whole store.
        self._newest = max([self._newest, *(r.end_time for r in seen if r.end_time and since <= r.end_time <= now)])
        self._on_runs(seen)
        self._unfinished = frozenset(r.run_id for r in seen if not r.status.ended and not r.deleted)
        self._version = version  # only now: what failed half-way is asked again

    def _loop(self) -> None:
        pause = self._every
        while not self._stop.wait(pause):
            pause = self.turn()

    def turn(self) -> float:
        """One question, and for how many seconds to rest before the next; never raises.

        Times jitter, so that many agents don't ask as one. After failures they grow, and are never shorter than the
        store itself asks for.
        """
        error = self._failure()
        if error is None:
            self._failures = 0
            return self._every if self._every < 1 else self._every * random.uniform(0.9, 1.1)
        self._failures += 1
        pause = min(_LONGEST_PAUSE, max(1.0, self._every) * 2 ** min(self._failures, 8)) * random.uniform(0.8, 1.2)
        pause = float(max(pause, error.pause))
        self._on_error(error, pause)
        return pause

    def _failure(self) -> RetryableError | None:
        """Ask; what went wrong, if anything did, as something that is tried again."""
        try:
            self.ask()
        except RetryableError as error:
            return error
        except AgentError as error:
            return StoreUnavailable(error.what, subject=error.subject, remedy=error.remedy)
        except Exception as error:
            log.exception("poll.failed", store=self._store.uri)
            return StoreUnavailable(
                f"asking it failed with {type(error).__name__}: {error}",
                subject=self._store.uri,
                remedy="see the log; it is tried again with growing pauses",
            )
        return None
