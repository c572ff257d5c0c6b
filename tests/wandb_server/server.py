"""The server as tests and the demonstration start it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType

from .app import App
from .artifacts import Artifact
from .calls import Access
from .faults import Faults
from .graph import Graph
from .people import Entity, User
from .runs import Run
from .wire import Listener, Seen
from .world import FEATURES, World, make_key, utc_now


class WandbServer:
    """Serves on a thread of its own from `start` (or `with`) to `stop`; a later `start` has the same port and data.

    `key` may do everything, `read_key` may only read; any other is refused. `world` has the data and the switches,
    which may be changed while the server runs. Files lie in `folder`.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        port: int = 0,
        entity: str = "acme",
        other_entities: Sequence[str] = (),
        username: str = "ana",
        modify_runs: bool = True,
        xxhash: bool = False,
        anonymous: bool = False,
        bump_heartbeat: bool = False,
        history_artifact: bool = True,
        features: frozenset[str] = FEATURES,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        blobs = Path(folder) / "blobs"
        blobs.mkdir(parents=True, exist_ok=True)
        self.entity = entity
        self.key = make_key()
        self.read_key = make_key()
        self.faults = Faults()
        self.requests: list[Seen] = []
        teams = [Entity(name, xxhash_digests_enabled=xxhash) for name in (entity, *other_entities)]
        own = Entity(username, xxhash_digests_enabled=xxhash, entity_type="user")
        self.world = World(
            blobs,
            User(username, entity, teams),
            {one.name: one for one in (*teams, own)},
            {self.key: Access.FULL, self.read_key: Access.READ},
            clock,
            features,
            bump_heartbeat,
            anonymous,
            history_artifact,
        )
        self._app = App(self.world, Graph(modify_runs=modify_runs))
        self._port = port
        self._listener: Listener | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        self._listener = Listener(self._port, self._app, self.faults, self.requests)
        self._port = self._listener.server_address[1]
        threading.Thread(target=self._listener.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def __enter__(self) -> WandbServer:
        self.start()
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        self.stop()

    def run(self, entity: str, project: str, name: str) -> Run:
        """The run itself: what is changed in it is changed on the server."""
        return self.world.run(entity, project, name)

    def artifact(self, entity: str, project: str, name: str) -> Artifact:
        """The version that `collection:alias` names.

        Raises:
            LookupError: there is none.
        """
        found = self.world.project(entity, project).version(name)
        if found is None:
            raise LookupError(name)
        return found

    def crash(self, run: Run) -> None:
        """As the real server does with a run that it has not heard of for minutes."""
        run.state = "crashed"

    def reset_log(self) -> None:
        self.requests.clear()
