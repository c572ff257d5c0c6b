"""The service: opens everything, watches every store, and keeps the auditor fed until it is told to stop.

Told to reload it builds the agent that the files now ask for, and only when that can be built the old one ends.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler

from venturalitica_agent import __version__
from venturalitica_agent.agent import Agent, refuse_silent_channels
from venturalitica_agent.claim.crew import Crew
from venturalitica_agent.detect.poll import Poll
from venturalitica_agent.detect.watch import FolderWatch
from venturalitica_agent.domain.ledger import Entry, Phase
from venturalitica_agent.domain.run import RunRef
from venturalitica_agent.errors import AgentError, ConfigError, RetryableError, StateUnavailable
from venturalitica_agent.logging import get_logger
from venturalitica_agent.settings import Settings
from venturalitica_agent.state.dialects import is_away
from venturalitica_agent.state.services import announced, services_folder
from venturalitica_agent.stores.mlflow_file import MlflowFileStore
from venturalitica_agent.stores.mlflow_sqlite import MlflowSqliteStore
from venturalitica_agent.stores.opening import AnyStore
from venturalitica_agent.web.access import read_access

if TYPE_CHECKING:
    from venturalitica_agent.notify.notifier import Notifier
    from venturalitica_agent.web.server import PageServer

log = get_logger(__name__)

_VERSION_CHECK = 0.1  # seconds between two looks at SQLite's data_version: 3 microseconds each
_SWEEP_SHARE = 500  # a sweep may take one part in so many of the time between two
_COOL_AFTER = 600.0
_LONGEST_PAUSE = 60.0
_DISCOVER = 60.0  # seconds between two looks for new projects, at least
_POLICY_CHECK = 10.0  # seconds between two looks at the policies' files, at most: a stat of each
_UPKEEP = 30.0  # seconds between two turns of upkeep, at most, each of which takes at most so much of them
_UPKEEP_SHARE = 0.1
_PROMOTE = 15.0  # seconds between two looks at the model registries
_TIDY = 86_400.0  # seconds between two removals of what the state needs no longer
_TIDY_FIRST = 300.0  # seconds after the start, which has other things to do
_JUMP = 1.0  # seconds by which a clock is set back at least; what is less is waited for
_THREADS = 20
_BEAT = 2.0  # seconds between two looks at the other machines that share the state
_COMPARE = 30.0  # seconds between two looks whether the key that signs is theirs
_LOOK_AT_OTHERS = 0.5
_OF_EVERY_MACHINE = frozenset({"policies", "web", "prepare"})  # what is planned whoever notices runs


@dataclass
class _Watched:
    """One store and how it is being watched."""

    store: AnyStore
    poll_every: float
    watcher: FolderWatch | Poll | None = None
    failures: int = 0
    swept_at: float = -math.inf  # monotonic
    sweep_again: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


Reread = Callable[[Mapping[str, str]], Settings]
"""Reads the configuration again, with these variables of the environment."""


class Orders:
    """What signals ask of the service, whichever configuration it runs on just then."""

    def __init__(self) -> None:
        self.end = False
        self.reload = False
        self.given = threading.Event()

    def listen(self) -> None:
        """SIGTERM and SIGINT end the service, SIGHUP has it read its configuration again. For the main thread."""
        signal.signal(signal.SIGTERM, self._end)
        signal.signal(signal.SIGINT, self._end)
        signal.signal(signal.SIGHUP, self._reload)

    def _end(self, *_: object) -> None:
        self.end = True
        self.given.set()

    def _reload(self, *_: object) -> None:
        self.reload = True
        self.given.set()


def serve(settings: Settings, reread: Reread, *, helps: bool = False) -> None:
    """Run the service until it is told to end, on one configuration after the other.

    Args:
        helps: it only executes what another process that shares the state noticed.

    Raises:
        ConfigError: it can't begin, or can't go on together with the other processes.
    """
    orders = Orders()
    orders.listen()
    agent = Agent(settings, helps=helps)
    if helps and agent.crew is None:
        agent.dispose()
        raise ConfigError(
            "nobody can share this state, so there is nobody to help",
            subject=agent.state_shown,
            remedy="set `state:` to the postgresql:// URL that all machines share, or use `venturalitica-agent run`",
        )
    agent.config_record.clear(_file_of(settings))
    while (successor := Service(agent, orders, reread).run()) is not None:
        _notify("WATCHDOG=1")  # the next turn of the work loop is one start away
        for name in agent.lent.keys() - successor.lent.keys():
            os.environ.pop(name, None)
        agent = successor


def _file_of(settings: Settings) -> str:
    return str(settings.file or settings.folder)


class Service:
    """Runs until `stop`. Threads: one per watched store, the engine's, the scheduler's, the page's, and the caller's.

    Args:
        reread: how to read the configuration again; None where only this one is meant.

    Raises:
        ConfigError: anyone could read the status page from another machine, or a channel has no URL.
    """

    def __init__(self, agent: Agent, orders: Orders | None = None, reread: Reread | None = None) -> None:
        self._agent = agent
        self._orders = orders or Orders()
        self._reread = reread
        self._successor: Agent | None = None
        self._settings = agent.settings
        self._serves_page = self._settings.web.serve and not agent.helps
        if self._serves_page:
            read_access(self._settings)
        refuse_silent_channels(self._settings)
        self._page: PageServer | None = None
        self._wake = self._orders.given
        self._stopping = threading.Event()
        # One slow server must not keep the others waiting; a turn that was late is still wanted, once.
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": {"type": "threadpool", "max_workers": _THREADS}},
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        )
        self._noticing = False
        self._refused: ConfigError | None = None
        self._asked_at = self._compared_at = -math.inf  # monotonic
        self._in_step = True
        self._watched = [_Watched(store, agent.poll_of(store)) for store in agent.stores.values()]
        self._notifier: Notifier | None = None
        self._warm_at = 0.0
        self._warm = False
        self._clocks = time.time() - time.monotonic()
        self._policy_check = min(self._settings.reconcile, _POLICY_CHECK)
        self._upkeep = min(self._settings.drift.every, _UPKEEP)
        agent.on_progress = self._wake.set

    def stop(self) -> None:
        self._stopping.set()
        self._wake.set()

    def run(self) -> Agent | None:
        """Blocks until `stop` or an order; returns the agent to go on with when the configuration changed."""
        agent = self._agent
        agent.open(alone=False)
        known = contextlib.ExitStack()
        known.enter_context(announced(services_folder(os.environ), agent.state_shown, agent.stores))
        try:
            log.info(
                "service.started",
                version=__version__,
                stores=[s.uri for s in agent.stores.values()],
                policies=[p.ref for p in agent.in_force.book.policies.values()],
                state=agent.state_shown,
            )
            self._scheduler.start()
            self._at(self._policy_check, "policies", self._look_at_policies)
            if agent.crew is None:
                self._start_noticing()
            if self._serves_page:
                self._at(0.0, "web", self._serve_page)
            _notify("READY=1")
            self._work()
        finally:
            self._stopping.set()
            log.info("service.stopping", reloading=self._successor is not None)
            if self._successor is None:
                _notify("STOPPING=1")
            known.close()
            # A scheduler that is stopped while it hands out a job misses that job in its store, and says so with a
            # traceback. Paused it hands out none, and asking for its jobs waits for the one in its hands.
            self._scheduler.pause()
            self._scheduler.get_jobs()
            self._scheduler.shutdown(wait=False)
            self._stop_telling()
            if self._page is not None:
                self._page.stop()
            for watched in self._watched:
                if watched.watcher is not None:
                    watched.watcher.stop()
            agent.close()
            log.info("service.stopped", reloading=self._successor is not None)
        if self._refused is not None:
            raise self._refused
        return self._successor

    def _start_noticing(self) -> None:
        """Look at the stores from now on."""
        self._noticing = True
        self._agent.auditor.reconsider()
        for watched in self._watched:
            self._schedule(watched, 0.0)
        if self._agent.follows:
            self._at(0.0, "discover", self._discover, 0)
        self._at(self._upkeep, "upkeep", self._keep_up)
        self._at(_TIDY_FIRST, "tidy", self._tidy)
        if self._settings.promote:
            self._at(0.0, "promote", self._promote)
        self._notifier = self._agent.notifier()
        if self._notifier is not None:
            self._notifier.start()

    def _stop_telling(self) -> None:
        notifier, self._notifier = self._notifier, None
        if notifier is not None:
            notifier.stop()

    def _stop_noticing(self) -> None:
        """Leave the stores to another machine; what is under way ends by itself, and does no harm."""
        self._noticing = False
        self._stop_telling()
        for job in self._scheduler.get_jobs():
            if job.id not in _OF_EVERY_MACHINE:
                with contextlib.suppress(JobLookupError):  # it has just begun
                    job.remove()
        for watched in self._watched:
            watcher, watched.watcher = watched.watcher, None
            watched.swept_at = -math.inf
            if watcher is not None:
                watcher.stop()

    def _reload(self, reread: Reread) -> None:
        """Build the agent that the files now ask for. Where that can't be done, say why and go on as before."""
        monotonic = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        _notify(f"RELOADING=1\nMONOTONIC_USEC={monotonic}")
        agent, lent = self._agent, self._agent.lent
        environ = {name: value for name, value in os.environ.items() if lent.get(name) != value}
        try:
            settings = reread(environ)
            if settings.web.serve and self._serves_page:
                read_access(settings)
            refuse_silent_channels(settings)
            successor = Agent(settings, lent=lent, helps=agent.helps)
        except Exception as error:
            for name in os.environ.keys() - environ.keys() - lent.keys():
                del os.environ[name]  # a credential of the refused configuration
            os.environ.update(lent)
            known = isinstance(error, AgentError)
            words = str(error.diagnostics()) if isinstance(error, AgentError) else type(error).__name__
            log.warning("config.refused", reason=words, exc_info=None if known else error)
            with self._surviving("config"):
                agent.config_record.note_mistake(_file_of(self._settings), words, now=time.time())
            _notify("STATUS=The changed configuration was refused; the one before it goes on.\nREADY=1")
            return
        self._successor = successor
        with self._surviving("config"):
            for record in (agent.config_record, successor.config_record):
                record.clear(_file_of(settings))
        log.info("config.reloaded", file=_file_of(settings))
        _notify("STATUS=")
        self._stopping.set()

    def _serve_page(self) -> None:
        """Serve the status page on a thread of its own. Audits don't need it, so they go on without it."""
        from venturalitica_agent.web.server import PageServer  # 20 MB that nobody else needs

        try:
            self._page = PageServer(self._settings)
        except AgentError as error:
            log.warning("web.failed", reason=error.what, subject=error.subject, remedy=error.remedy)
            return
        except Exception:
            log.exception("web.failed", remedy="`venturalitica ui` serves the page in a process of its own")
            return
        self._page.start()
        log.info("web.started", url=self._page.url)
        if self._stopping.is_set():
            self._page.stop()

    # -- the work loop --------------------------------------------------------------------------------------
    def _work(self) -> None:
        """Settle, claim, rest; sleeps until something moved or becomes ready."""
        rescued_at = -math.inf
        while True:
            self._wake.clear()  # before the looks at what was asked: an order that comes after them wakes the sleep
            if self._stopping.is_set() or self._orders.end:
                return
            if self._orders.reload and self._reread is not None:
                self._orders.reload = False
                self._reload(self._reread)
                continue
            now = time.monotonic()
            with self._surviving("work"):
                self._mind_clock()
                crew = self._agent.crew
                if crew is not None:
                    self._stand(crew)
                if self._noticing:
                    self._agent.auditor.settle()
                    self._agent.auditor.claim(self._agent.engine, width=self._width(crew))
                busy = bool(self._agent.ledger.in_phase(Phase.CLAIMED))
                if self._noticing and ((busy and now - rescued_at > 30) or rescued_at == -math.inf):
                    self._agent.auditor.rescue(self._agent.engine)
                    rescued_at = now
                self._agent.engine.rest(busy=busy, now=not self._in_step)
                self._keep_warm(busy)
                if crew is not None and busy and self._in_step:
                    self._get_warm()
            with self._surviving("telemetry"):
                self._agent.telemetry.flush()
            _notify("WATCHDOG=1")
            self._wake.wait(self._pause())

    def _mind_clock(self) -> None:
        """What was planned by a clock that was then set back would wait for as long as that was: it is planned anew."""
        clocks = time.time() - time.monotonic()
        jump, self._clocks = clocks - self._clocks, clocks
        if jump > -_JUMP:
            return
        log.warning("clock.set_back", seconds=round(-jump, 1))
        for job in self._scheduler.get_jobs():
            with contextlib.suppress(JobLookupError):  # its turn came meanwhile
                self._scheduler.modify_job(job.id, next_run_time=job.next_run_time + timedelta(seconds=jump))
        self._agent.auditor.hasten()

    def _pause(self) -> float:
        ready = None
        with self._surviving("work"):
            ready = self._agent.ledger.next_moment(time.time()) if self._noticing else None
        longest = 10.0 if self._agent.crew is None else _LOOK_AT_OTHERS  # nothing here wakes us when others are ready
        if ready is None:
            return longest
        return min(longest, max(0.01, ready - time.time()))

    # -- other machines -------------------------------------------------------------------------------------
    def _stand(self, crew: Crew) -> None:
        """Be known as alive, notice runs if nobody else does, take up what dead machines had in hand.

        Raises:
            StateUnavailable: the state can't be asked; then nothing is noticed here until it can.
        """
        at = time.monotonic()
        if at - self._asked_at < _BEAT:
            return
        try:
            notices = self._agent.notice()
            self._in_step = notices or crew.agrees()
            if notices and self._agent.ledger.in_phase(Phase.CLAIMED):
                crew.rescue(self._agent.engine)
            if at - self._compared_at > _COMPARE:
                self._agent.notary.must_agree()
                self._compared_at = at
        except ConfigError as error:
            self._refused = error
            self.stop()
        finally:
            if self._noticing and not self._agent.notices:
                log.warning("service.helping", machine=crew.machines.id)
                self._stop_noticing()
        self._asked_at = at
        if self._agent.notices and not self._noticing and self._refused is None:
            log.info("service.noticing", machine=crew.machines.id)
            self._start_noticing()

    def _width(self, crew: Crew | None) -> int:
        return self._agent.engine.width if crew is None else crew.room(self._agent.engine.width)

    @contextlib.contextmanager
    def _surviving(self, where: str) -> Iterator[None]:
        """The loop outlives any error; it says so and goes on."""
        try:
            yield
        except RetryableError as error:
            log.warning(f"{where}.failed", reason=error.what, subject=error.subject)
            self._stopping.wait(1.0)
        except Exception as error:
            if is_away(error):
                log.warning(f"{where}.failed", reason="the state doesn't answer", subject=self._agent.state_shown)
            else:
                log.exception(f"{where}.failed")
            self._stopping.wait(1.0)

    # -- warmth ---------------------------------------------------------------------------------------------
    def _keep_warm(self, busy: bool) -> None:
        """Workers wait warm while training goes on or work is in hand, and not otherwise: each holds 200 MB."""
        if busy:
            self._warm_at = time.monotonic()
        elif self._warm and time.monotonic() - self._warm_at > _COOL_AFTER:
            self._warm = False
            self._agent.sandbox.cool()

    def _get_warm(self) -> None:
        self._warm_at = time.monotonic()
        if self._warm:
            return
        self._warm = True
        self._at(0.0, "prepare", self._agent.prepare)

    # -- noticing -------------------------------------------------------------------------------------------
    def _seen(self, refs: Iterable[RunRef]) -> None:
        """Record what was seen; raises when that fails, so that a poll asks again."""
        self._noticed(self._agent.reconciler.seen(refs))

    def _seen_by_watch(self, watched: _Watched, ref: RunRef) -> None:
        try:
            self._seen([ref])
        except RetryableError as error:
            self._blind(watched, f"a sight could not be recorded: {error.what}")
        except Exception as error:
            log.exception("detect.failed", store=watched.store.uri)
            self._blind(watched, f"a sight could not be recorded: {type(error).__name__}")

    def _noticed(self, changed: list[Entry]) -> None:
        if any(e.phase in (Phase.RUNNING, Phase.SETTLING) and self._agent.may_matter(e.ref) for e in changed):
            self._get_warm()
        for entry in changed:
            log.debug("run.seen", run=entry.ref.run_id, status=entry.ref.status.value, phase=entry.phase.value)
        if changed:
            self._wake.set()

    def _at(self, delay: float, name: str, work: Callable[..., None], *args: Any) -> None:
        """Have the scheduler do it in so many seconds, instead of whenever it was planned before."""
        wanted = self._noticing or name in _OF_EVERY_MACHINE
        if wanted and not self._stopping.is_set():
            when = datetime.fromtimestamp(time.time() + delay, UTC)
            self._scheduler.add_job(work, "date", run_date=when, args=args, id=name, replace_existing=True)

    def _schedule(self, watched: _Watched, delay: float) -> None:
        self._at(delay, f"sweep-{watched.store.id}", self._sweep, watched)

    def _turn(self, watched: _Watched, poll: Poll) -> None:
        pause = watched.poll_every
        with self._surviving("poll"):
            pause = poll.turn()
        self._at(pause, f"poll-{watched.store.id}", self._turn, watched, poll)

    def _discover(self, failures: int) -> None:
        """Take up the projects that appeared under an `entity/*`."""
        pause = max(self._settings.reconcile, _DISCOVER)
        try:
            found = self._agent.discover()
        except RetryableError as error:
            failures += 1
            pause = max(error.pause, min(pause, 2.0 ** min(failures, 8)))
            if failures == 1:
                log.warning("discover.failed", reason=error.what, subject=error.subject, remedy=error.remedy)
        except Exception:
            log.exception("discover.failed")
        else:
            failures = 0
            for store in found:
                log.info("store.found", store=store.uri)
                watched = _Watched(store, self._agent.poll_of(store))
                self._watched.append(watched)
                self._schedule(watched, 0.0)
        self._at(pause, "discover", self._discover, failures)

    def _look_at_policies(self) -> None:
        """Take up changed policies; what they ask of old runs is due at once."""
        with self._surviving("policies"):
            if self._agent.refresh_policies():
                if self._noticing:
                    self._agent.auditor.reconsider()
                self._wake.set()
            if self._noticing and self._agent.auditor.mind_waivers():
                self._wake.set()
        self._at(self._policy_check, "policies", self._look_at_policies)

    def _keep_up(self) -> None:
        """Compare old runs with what was audited and published, a part of the time."""
        with self._surviving("drift"):
            if self._agent.upkeep.turn(self._upkeep * _UPKEEP_SHARE):
                self._wake.set()
        self._at(self._upkeep, "upkeep", self._keep_up)

    def _promote(self) -> None:
        with self._surviving("promote"):
            self._agent.promote()
        self._at(_PROMOTE, "promote", self._promote)

    def _tidy(self) -> None:
        with self._surviving("tidy"):
            self._agent.tidy()
        self._at(_TIDY, "tidy", self._tidy)

    def _sweep(self, watched: _Watched) -> None:
        """Bring one store up if it was down, scan all of it, and plan the next time."""
        store, agent = watched.store, self._agent
        with watched.lock:
            again, watched.sweep_again = watched.sweep_again, False
            try:
                store.ping()
                if watched.watcher is None:
                    watched.watcher = self._start_watcher(watched)
                rested = time.monotonic() - watched.swept_at
                if rested < store.sweep_every and not again:
                    # It was away and is back: what it did meanwhile is found by the poll, which reaches back to then.
                    if agent.records.store_up(store.id, store.uri, now=time.time()):
                        log.info("store.up", store=store.uri)
                    watched.failures = 0
                    self._schedule(watched, store.sweep_every - rested)
                    return
                first = agent.records.stores().get(store.id, {}).get("scanned_at") is None
                found = agent.reconciler.sweep(store, backlog=first)
                is_back = agent.records.store_up(store.id, store.uri, now=time.time(), scanned=True)
            except RetryableError as error:
                watched.failures += 1
                self._store_down(watched, error)
                pause = min(_LONGEST_PAUSE, 2.0 ** min(watched.failures, 6))
                self._schedule(watched, max(error.pause, pause))
                return
            except Exception:
                log.exception("sweep.failed", store=store.uri)
                self._schedule(watched, _LONGEST_PAUSE)
                return
            watched.failures = 0
            watched.swept_at = time.monotonic()
            if is_back:
                log.info("store.up", store=store.uri, runs=found.seen)
            if isinstance(watched.watcher, FolderWatch):
                for ref in found.unfinished:
                    watched.watcher.follow(ref)
            if found.changed:
                log.info("sweep.done", store=store.uri, runs=found.seen, changed=found.changed)
                if any(agent.may_matter(ref) for ref in found.unfinished):
                    self._get_warm()
                self._wake.set()
            rest = max(self._settings.reconcile, store.sweep_every, _SWEEP_SHARE * found.seconds)
            self._schedule(watched, 1.0 if watched.sweep_again else rest)

    def _start_watcher(self, watched: _Watched) -> FolderWatch | Poll:
        store = watched.store
        if isinstance(store, MlflowFileStore):
            watch = FolderWatch(
                store,
                store.look_at,
                on_run=lambda ref: self._seen_by_watch(watched, ref),
                on_blind=lambda why: self._blind(watched, why),
            )
            watch.start()
            return watch
        checked = isinstance(store, MlflowSqliteStore)
        every = _VERSION_CHECK if checked else watched.poll_every
        poll = Poll(
            store,
            every=every,
            on_runs=self._seen,
            on_error=lambda error, _pause: self._store_down(watched, error),
        )
        if checked:  # so often that a thread of its own is cheaper than a scheduler's turns
            poll.start()
        else:
            self._turn(watched, poll)
        return poll

    def _blind(self, watched: _Watched, why: str) -> None:
        log.warning("watch.blind", store=watched.store.uri, reason=why)
        watched.sweep_again = True
        self._schedule(watched, 1.0)

    def _store_down(self, watched: _Watched, error: RetryableError) -> None:
        """Say it once; the sweep keeps trying and says when it is back."""
        store = watched.store
        if isinstance(error, StateUnavailable):  # it is not the store that is away
            log.warning("state.unavailable", reason=error.what, subject=error.subject, remedy=error.remedy)
            return
        self._agent.telemetry.poll_failed(store.id)
        with self._surviving("detect"):
            if self._agent.records.store_down(store.id, store.uri, error.what, error.remedy, now=time.time()):
                log.warning("store.down", store=store.uri, reason=error.what, remedy=error.remedy)
                self._schedule(watched, max(2.0, error.pause))


def _notify(state: str) -> None:
    """Tell systemd (`Type=notify`); nothing happens elsewhere."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.connect("\0" + address[1:] if address.startswith("@") else address)
        channel.sendall(state.encode())
