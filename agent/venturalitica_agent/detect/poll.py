"""Noticing in a store that must be asked: a nearly free version check where there is one (SQLite), else a query by end
time with an overlap, because end times are chosen by clients and arrive out of order."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable

from venturalitica_agent.domain.run import RunRef
from venturalitica_agent.errors import RetryableError
from venturalitica_agent.stores.base import PolledStore

OVERLAP_MS = 15 * 60 * 1000
_LONGEST_PAUSE = 300.0


class Poll:
    """One thread that asks one store.

    Args:
        every: seconds between two questions; a version check makes 0.1 affordable.
        on_runs: called with what was seen, from the polling thread.
        on_error: called with each failure and the pause (seconds) before the next question.
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
        # A forged end time in the future must not carry the window past the runs that really end now.
        since = min(self._newest or now, now) - OVERLAP_MS
        seen = list(self._store.recent(since))
        self._newest = max([self._newest, *(r.end_time or 0 for r in seen if (r.end_time or 0) <= now)])
        self._on_runs(seen)
        self._version = version  # only now: what failed half-way is asked again

    def _loop(self) -> None:
        failures = 0
        pause = self._every
        while not self._stop.wait(pause):
            try:
                self.ask()
            except RetryableError as error:
                failures += 1
                pause = min(_LONGEST_PAUSE, max(1.0, self._every) * 2 ** min(failures, 8))
                pause *= random.uniform(0.8, 1.2)
                self._on_error(error, pause)
            else:
                failures = 0
                pause = self._every if self._every < 1 else self._every * random.uniform(0.9, 1.1)
