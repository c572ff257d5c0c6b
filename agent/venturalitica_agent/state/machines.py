"""Which machines work on one PostgreSQL state, and which of them notices runs for all.

Both are locks of a database session: the database frees them when the process dies, and, after `SILENCE` seconds, when
its machine or its network does. So there is no clock to agree on, and nothing left of the dead to clean up.
"""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from zlib import crc32

import sqlalchemy as sa

from venturalitica_agent.errors import StateUnavailable
from venturalitica_agent.logging import get_logger
from venturalitica_agent.state.dialects import connecting, is_away, with_driver

log = get_logger(__name__)

GRACE = 10.0  # seconds after a lost connection in which others, who lost theirs as well, are not taken for dead
_MACHINE, _NOTICES, _JOINS = 0x76_61_00_01, 0x76_61_00_02, 0x76_61_00_03  # kinds of locks that only we take
_AGAIN = 0.1
_NAME = "venturalitica-agent"

_MINE = sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted")
_ALL = sa.text(
    "SELECT l.classid::bigint AS kind, l.pid, coalesce(a.application_name, '') AS name,"
    " coalesce(host(a.client_addr), '') AS address"
    " FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid"
    " WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 AND l.classid IN (:machine, :notices)"
    " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY l.pid"
)
_END_FORMER = sa.text(
    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2"
    " AND classid = :kind AND objid = :key AND pid <> pg_backend_pid()"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


@dataclass(frozen=True, slots=True)
class Machine:
    """One process that works on the state.

    Attributes:
        address: where it connects from, as the database sees it; empty for one on the database's own machine.
        version: of the agent. waivers: the first digits of the digest of the waivers that it judges by.
        notices: is it the one that looks at the stores?
    """

    address: str
    version: str
    waivers: str
    notices: bool


class Machines:
    """This process among those that work on the state at `url`. Thread-safe; every method raises StateUnavailable.

    Args:
        version: of the agent; at most 16 characters are told to others.

    Attributes:
        id: of this process; no other one ever has it.
        notices: whether this one notices, as of the last `beat`. waivers: what it told of them.
    """

    def __init__(self, url: str, *, version: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.id = f"{socket.gethostname()}-{secrets.token_hex(6)}"
        self.notices = False
        self._version = version[:16]
        self.waivers = ""
        self._clock = clock
        self._guard = threading.RLock()
        self._db: sa.Connection | None = None
        self._lost_at: float | None = None
        self._engine = sa.create_engine(
            with_driver(url), connect_args=connecting(url), poolclass=sa.NullPool, isolation_level="AUTOCOMMIT"
        )

    # -- joining --------------------------------------------------------------------------------------------
    @contextmanager
    def joining(self) -> Iterator[None]:
        """Be known as alive from here on. Machines join one after the other: who is inside is alone with that."""
        with self._guard:
            self._connect()
            self._take(_JOINS, 0)
        try:
            yield
        finally:
            with self._guard:
                if self._db is not None:
                    with self._asking() as db:
                        db.execute(sa.select(sa.func.pg_advisory_unlock(_JOINS, 0)))

    def leave(self) -> None:
        """Be known no longer; what this machine has in hand is then taken up by another."""
        with self._guard:
            if self._db is not None:
                with (
                    suppress(StateUnavailable),
                    self._asking() as db,
                ):  # a server takes a moment to see that a session ended
                    db.execute(sa.select(sa.func.pg_advisory_unlock_all()))
            self._drop()
            self._engine.dispose()

    def beat(self, *, notice: bool) -> bool:
        """Look whether this machine is still known as alive, and be it again if not; returns `notices`.

        Args:
            notice: may this machine notice runs, if no other one does?
        """
        with self._guard:
            held = 1 + self.notices
            if self._db is not None:
                with self._asking() as db:
                    if db.execute(_MINE).scalar() != held:
                        self._drop()
                        self._lost_at = self._clock()
                        log.warning("machine.lost", machine=self.id, reason="its locks are gone from the database")
            if self._db is None:
                self._connect()
            if notice and not self.notices:
                with self._asking() as db:
                    taken = db.execute(sa.select(sa.func.pg_try_advisory_lock(_NOTICES, 0))).scalar()
                    self.notices = bool(taken)
            return self.notices

    def tell(self, waivers: str) -> None:
        """Have others know by which waivers (their digest) this machine judges."""
        with self._guard:
            if waivers[:12] != self.waivers:
                self.waivers = waivers[:12]
                if self._db is not None:
                    self._introduce()

    # -- the others -----------------------------------------------------------------------------------------
    def all(self) -> list[Machine]:
        """Every machine that works on the state now."""
        with self._guard:
            if self._db is not None:
                with self._asking() as db:
                    return machines_of(db)
            try:
                with self._engine.connect() as db:
                    return machines_of(db)
            except sa.exc.DBAPIError as error:
                raise _away(error) from error

    def is_gone(self, machine: str) -> bool:
        """Whether the process with this id is dead, or as good as dead: the database has not heard of it for long."""
        if machine == self.id:
            return False
        with self._guard:
            if self._lost_at is not None and self._clock() - self._lost_at < GRACE:
                return False
            with self._asking() as db:
                taken = db.execute(sa.select(sa.func.pg_try_advisory_lock(_MACHINE, _key(machine)))).scalar()
                if taken:
                    db.execute(sa.select(sa.func.pg_advisory_unlock(_MACHINE, _key(machine))))
                return bool(taken)

    # -- the connection -------------------------------------------------------------------------------------
    def _connect(self) -> None:
        try:
            self._db = self._engine.connect()
        except sa.exc.DBAPIError as error:
            raise _away(error) from error
        with self._asking() as db:
            # After a broken network the database may still believe in the session of before.
            db.execute(_END_FORMER, {"kind": _MACHINE, "key": _key(self.id)})
        self._take(_MACHINE, _key(self.id))
        self._introduce()

    def _take(self, kind: int, key: int) -> None:
        """Wait for a lock. Asking again and again, because a statement that waits would keep the engine's tables from
        being made: `CREATE INDEX CONCURRENTLY` waits for every statement that began before it."""
        while True:
            with self._asking() as db:
                if db.execute(sa.select(sa.func.pg_try_advisory_lock(kind, key))).scalar():
                    return
            time.sleep(_AGAIN)

    def _introduce(self) -> None:
        name = f"{_NAME}/{self._version}/{self.waivers}"
        with self._asking() as db:
            db.execute(sa.select(sa.func.set_config("application_name", name, False)))

    @contextmanager
    def _asking(self) -> Iterator[sa.Connection]:
        if self._db is None:
            raise StateUnavailable(
                "this machine has no connection to the state", remedy="it is connected again by itself"
            )
        try:
            yield self._db
        except sa.exc.DBAPIError as error:
            if is_away(error):
                self._drop()
                self._lost_at = self._clock()
            raise _away(error) from error

    def _drop(self) -> None:
        self.notices = False
        if self._db is not None:
            self._db.invalidate()  # nothing of a session that may be dead is used again
            self._db.close()
            self._db = None


def _key(machine: str) -> int:
    """A number that a lock can have: 31 bits."""
    return crc32(machine.encode()) & 0x7FFF_FFFF


def machines_of(db: sa.Connection) -> list[Machine]:
    """Every machine that works on the state of this connection now."""
    rows = db.execute(_ALL, {"machine": _MACHINE, "notices": _NOTICES}).mappings().all()
    noticing = {row["pid"] for row in rows if row["kind"] == _NOTICES}
    found = []
    for row in rows:
        if row["kind"] == _MACHINE:
            _, version, waivers = (*row["name"].split("/"), "", "", "")[:3]
            found.append(Machine(row["address"], version, waivers, row["pid"] in noticing))
    return found


def _away(error: sa.exc.DBAPIError) -> StateUnavailable:
    words = str(error.orig).strip() or type(error.orig).__name__
    return StateUnavailable(
        f"the state doesn't answer: {words.splitlines()[0]}",
        remedy="nothing to do if the database starts again; else check `state:` and the way to it",
    )
