"""Fills each channel's outbox from what is on record, and empties it, on a thread of its own: a channel that is slow or
dead holds up neither an audit nor another channel."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from hashlib import sha256

import sqlalchemy as sa

from venturalitica_agent.errors import AgentError
from venturalitica_agent.logging import get_logger
from venturalitica_agent.notify import words
from venturalitica_agent.policy.waivers import Waiver, day_of, ending, expired
from venturalitica_agent.settings.model import ChannelSettings, Event
from venturalitica_agent.state.notices import Logged, Outbox, stores_now

log = get_logger(__name__)

_EVERY = 2.0  # seconds between two looks
_STORE_AWAY = 60.0  # seconds after which it is told that a store doesn't answer
_SHORTEST, _LONGEST = 15.0, 3600.0  # seconds to wait after a failure
_KEEP, _GIVE_UP = 30 * 86_400.0, 7 * 86_400.0

Send = Callable[[str, str, str], None]  # url, title, body


class Notifier:
    """The channels of one service.

    Args:
        waivers: those that are in the policies' folder now.
        send: raises AgentError when a message was not taken.
    """

    def __init__(
        self,
        channels: Sequence[ChannelSettings],
        engine: sa.Engine,
        waivers: Callable[[], Sequence[Waiver]],
        send: Send,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._stop = threading.Event()
        self._channels = [Channel(given, engine, waivers, send, clock) for given in channels]
        self._threads = [
            threading.Thread(target=self._loop, args=(one,), name=f"notify-{one.name}", daemon=True)
            for one in self._channels
        ]

    def start(self) -> None:
        for channel in self._channels:
            channel.open()  # here and not on its thread: what happens from now on is told
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """A message that is being sent now is sent again at the next start, at worst twice."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=0.5)

    def _loop(self, channel: Channel) -> None:
        while not self._stop.wait(_EVERY):
            try:
                channel.turn()
            except Exception:
                log.exception("notify.failed", channel=channel.name)
                self._stop.wait(_SHORTEST)


class Channel:
    """One channel: what it is told of, and when."""

    def __init__(
        self,
        given: ChannelSettings,
        engine: sa.Engine,
        waivers: Callable[[], Sequence[Waiver]],
        send: Send,
        clock: Callable[[], float],
    ) -> None:
        self.name = given.name
        self._given = given
        self._engine = engine
        self._waivers = waivers
        self._send = send
        self._clock = clock
        self._outbox = Outbox(engine, given.name)
        self._since = 0.0

    def open(self) -> None:
        self._since = self._outbox.open(self._clock())

    def turn(self) -> None:
        """Take up what is new, and send what waits."""
        now = self._clock()
        while self._read_log(now):
            pass
        if Event.STORE in self._given.events:
            self._look_at_stores(now)
        if Event.WAIVER in self._given.events:
            self._look_at_waivers(now)
        self._deliver(now)
        if given_up := self._outbox.forget(sent_before=now - _KEEP, waiting_before=now - _GIVE_UP):
            log.error("notify.given_up", channel=self.name, notices=given_up)

    def _read_log(self, now: float) -> bool:
        entries = self._outbox.read_log(now)
        if entries:
            told = [(e.number, event, line) for e in entries for event, line in self._told(e)]
            self._outbox.note_read(entries[-1].number + 1, told, now)
        return bool(entries)

    def _told(self, entry: Logged) -> Sequence[tuple[str, str]]:
        kind = entry.facts["kind"]
        if kind == "verdict" and entry.facts["status"] in self._given.events:
            return [(entry.facts["status"], words.of_verdict(entry.facts, entry.names))]
        if kind == "drift" and Event.DRIFT in self._given.events:
            return [(Event.DRIFT.value, words.of_drift(entry.facts, entry.names))]
        if kind == "stale" and Event.DRIFT in self._given.events:
            return [(Event.DRIFT.value, words.of_stale(entry.facts, entry.names))]
        return []

    def _look_at_stores(self, now: float) -> None:
        """That one is away is told when it stays so; that it is back, where it was told that it is away."""
        for store in stores_now(self._engine):
            last = self._outbox.last_key(f"store:{store['id']}:")
            away = last.endswith(":away")
            if store["ok"] == away and (away or now - store["since"] >= _STORE_AWAY):
                key = f"store:{store['id']}:{store['since']:.3f}:{'back' if away else 'away'}"
                self._outbox.note(key, Event.STORE.value, words.of_store(store["uri"], answers=away), now)

    def _look_at_waivers(self, now: float) -> None:
        waivers, today = self._waivers(), day_of(now)
        over = [w for w in expired(waivers, today) if w.expires >= day_of(self._since)]
        for waiver, is_over in (*((w, False) for w in ending(waivers, today)), *((w, True) for w in over)):
            about = repr((waiver.policy, waiver.control, waiver.runs, waiver.experiment, waiver.expires, is_over))
            line = words.of_waiver(waiver.policy, waiver.control, str(waiver.expires), is_over=is_over)
            self._outbox.note(f"waiver:{sha256(about.encode()).hexdigest()}", Event.WAIVER.value, line, now)

    def _deliver(self, now: float) -> None:
        waiting = self._outbox.waiting(now, self._given.digest)
        if not waiting:
            return
        try:
            self._send(self._given.url, words.title([n.event for n in waiting]), words.body([n.line for n in waiting]))
        except AgentError as error:
            pause = min(_LONGEST, _SHORTEST * 2.0 ** min(self._outbox.failures(), 10)) * random.uniform(0.8, 1.2)
            failures = self._outbox.failed(error.what, self._clock() + pause)
            log.warning("notify.waits", channel=self.name, reason=error.what, failures=failures, pause=round(pause))
        else:
            self._outbox.sent([n.number for n in waiting], self._clock())
            log.info("notify.sent", channel=self.name, notices=len(waiting))
