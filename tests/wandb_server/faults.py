"""Faults that a test switches on while the server runs, and their effect on one request."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal


@dataclass
class Effects:
    """What happens to one request; the default is nothing unusual.

    `delay` is in seconds; `drop` says when the connection is reset; `damage` changes the body that is sent.
    """

    delay: float = 0.0
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    drop: Literal["before", "after"] | None = None
    damage: Literal["flip", "cut", "short"] | None = None
    hidden_pages: bool = False
    unregistered: Literal["absent", "empty"] | None = None


@dataclass
class Fault:
    """A standing order: the effects happen to the next `times` (None: all) requests that match `on` (None: any).

    A pattern with a slash is searched in the URL's path, one without is the whole name of a GraphQL operation. As a
    context manager the fault ends itself on leaving. `hits` counts the requests that it has touched.
    """

    effects: Effects
    on: str | None = None
    times: int | None = None
    hits: int = 0

    def matches(self, name: str, path: str) -> bool:
        if self.times is not None and self.hits >= self.times:
            return False
        if self.on is None:
            return True
        return bool(re.search(self.on, path) if "/" in self.on else re.fullmatch(self.on, name))

    def clear(self) -> None:
        self.times = self.hits

    def __enter__(self) -> Fault:
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        self.clear()


class Faults:
    """The faults in force; `on` and `times` are those of `Fault`."""

    def __init__(self) -> None:
        self._all: list[Fault] = []
        self._lock = threading.Lock()

    def clear(self) -> None:
        with self._lock:
            self._all.clear()

    def status(
        self,
        status: int,
        *,
        on: str | None = None,
        times: int | None = None,
        retry_after: int | None = None,
        rate_limit_reset: int | None = None,
    ) -> Fault:
        """Answer with the status and do nothing; both waits are in seconds, as the headers have them."""
        waits = {"Retry-After": retry_after, "RateLimit-Reset": rate_limit_reset}
        headers = {name: str(wait) for name, wait in waits.items() if wait is not None}
        return self._add(Effects(status=status, headers=headers), on, times)

    def slow(self, seconds: float, *, on: str | None = None, times: int | None = None) -> Fault:
        return self._add(Effects(delay=seconds), on, times)

    def drop(self, *, applied: bool, on: str | None = None, times: int | None = None) -> Fault:
        """Reset the connection, before the request does anything or after it has taken effect."""
        return self._add(Effects(drop="after" if applied else "before"), on, times)

    def corrupt(self, *, on: str | None = None, times: int | None = None) -> Fault:
        """One byte of the body flipped, the length unchanged."""
        return self._add(Effects(damage="flip"), on, times)

    def truncate(self, *, honest: bool = False, on: str | None = None, times: int | None = None) -> Fault:
        """Half of the body; Content-Length tells the whole, or the half when `honest`."""
        return self._add(Effects(damage="short" if honest else "cut"), on, times)

    def hide_pages(self, *, on: str | None = None, times: int | None = None) -> Fault:
        """Pages without edges that say hasNextPage; what was hidden comes on the next page."""
        return self._add(Effects(hidden_pages=True), on, times)

    def unregistered(self, *, listed: bool = False, on: str | None = None, times: int | None = None) -> Fault:
        """Uploads are accepted, but the file is never listed, or (`listed`) stays with size 0."""
        return self._add(Effects(unregistered="empty" if listed else "absent"), on, times)

    def claim(self, name: str, path: str) -> Effects:
        """The effects on a request; counts as a hit of each fault that matches."""
        found = Effects()
        with self._lock:
            for fault in self._all:
                if fault.matches(name, path):
                    fault.hits += 1
                    changed = {k: v for k, v in vars(fault.effects).items() if v}
                    found = Effects(**(vars(found) | changed))
        return found

    def _add(self, effects: Effects, on: str | None, times: int | None) -> Fault:
        fault = Fault(effects, on, times)
        with self._lock:
            self._all.append(fault)
        return fault
