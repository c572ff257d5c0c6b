"""Serves the status page: on a thread of the service, or for `venturalitica ui`."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections.abc import Callable
from types import FrameType

import uvicorn

from venturalitica_agent.errors import ConfigError
from venturalitica_agent.logging import get_logger
from venturalitica_agent.settings import Settings
from venturalitica_agent.web.app import create_app
from venturalitica_agent.web.reader import Reader

log = get_logger(__name__)

_BACKLOG = 128
_MOST_AT_ONCE = 100
_PATIENCE = 2  # whole seconds for answers in hand at the end


class PageServer:
    """Listens from the beginning, answers from `run` to `stop`.

    Raises:
        ConfigError: the state can't be opened, others could read the page unseen, or the address can't be listened on.
    """

    def __init__(self, settings: Settings, on_started: Callable[[], None] = lambda: None) -> None:
        self._reader = Reader(settings)
        try:
            app = create_app(settings, self._reader)
            self._socket = listen(settings.web.host, settings.web.port)
        except BaseException:
            self._reader.close()
            raise
        host, port = self._socket.getsockname()[:2]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
        config = uvicorn.Config(
            app,
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            limit_concurrency=_MOST_AT_ONCE,
            timeout_graceful_shutdown=_PATIENCE,
        )
        self._server = _Server(config, on_started)
        self._thread: threading.Thread | None = None

    def run(self) -> None:
        """Answer until `stop`, or until a signal when in the main thread."""
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._socket.close()
            self._reader.close()

    def start(self) -> None:
        """Answer from a thread of its own."""
        self._thread = threading.Thread(target=self._outlive, name="web", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.end()
        if self._thread is not None:
            self._thread.join()

    def _outlive(self) -> None:
        """What goes wrong with the page never stops an audit."""
        try:
            self.run()
        except Exception:
            log.exception("web.failed", url=self.url, remedy="restart the service to have the page again")


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        ConfigError: somebody else does, or nobody may.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind)
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(address)
            found.listen(_BACKLOG)
        except OSError:
            found.close()
            raise
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        raise ConfigError(
            f"the status page can't listen there: {error.strerror}",
            subject=f"{host}:{port}",
            remedy="set another `web.port`" if taken else "set another `web.host`",
        ) from error
    return found


class _Server(uvicorn.Server):
    """Sleeps while nobody asks; uvicorn's own loop wakes up ten times a second, to keep a date and see a flag."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = asyncio.Event()

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self.on_tick(0)
        self._on_started()
        if not self.should_exit:
            await self._ended.wait()

    def end(self) -> None:
        """May be called from any thread, and by a signal."""
        self.should_exit = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._ended.set)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self.end()
