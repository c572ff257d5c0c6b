"""Servers between the agent and a tracking server: one that can go away and come back, one that always refuses."""

from __future__ import annotations

import contextlib
import http.server
import socket
import socketserver
import threading
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit


class Relay:
    """Passes bytes on to a server, from a port of its own that stays the same while it is closed and opened."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "", parts.port or 80)
        self._port = 0
        self._server: socketserver.ThreadingTCPServer | None = None
        self._passing: set[socket.socket] = set()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def open(self) -> None:
        relay = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with socket.create_connection(relay._target) as out:
                    relay._passing |= {self.request, out}
                    back = threading.Thread(target=_pump, args=(out, self.request), daemon=True)
                    back.start()
                    _pump(self.request, out)
                    back.join()

        class Listener(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        self._server = Listener(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        """No new connection is taken, and the present ones end."""
        if self._server is not None:
            self._server.shutdown()
            self._server.socket.close()
            self._server = None
        while self._passing:
            _shut(self._passing.pop())

    def __enter__(self) -> Relay:
        self.open()
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: Any, _trace: TracebackType | None) -> None:
        self.close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while chunk := source.recv(65536):
            target.sendall(chunk)
    except OSError:
        pass
    _shut(target)


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


class Refusing:
    """Answers everything with one status and body; the context gives its address."""

    def __init__(self, code: int, body: str) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(body.encode())

            do_POST = do_GET

            def log_message(self, *_: Any) -> None:
                """The tests' output is for failures."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> str:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __exit__(self, _kind: type[BaseException] | None, _error: Any, _trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
