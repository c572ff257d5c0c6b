"""Sockets: requests read, responses written, and connections that faults slow down, damage or reset."""

from __future__ import annotations

import contextlib
import http.server
import socket
import struct
import sys
import threading
from dataclasses import dataclass, replace
from typing import Any

from .app import App, Request, Response
from .faults import Effects, Faults


@dataclass(frozen=True)
class Seen:
    """One request as tests look back at it.

    `kind` is query, mutation, filestream, upload or download; `name` the operation's name or the path; `status` what
    was answered, or would have been had the connection not been reset after it took effect (None: before).
    """

    kind: str
    name: str
    key: str | None
    status: int | None


class Listener(http.server.ThreadingHTTPServer):
    """Serves on 127.0.0.1, one thread for each connection, and ends those that are open when it closes."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, port: int, app: App, faults: Faults, seen: list[Seen]) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.app = app
        self.faults = faults
        self.seen = seen
        self.closing = threading.Event()
        self._open: set[socket.socket] = set()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news; anything else is a fault of this server and is shown."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def close(self) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body leave together
    server: Listener

    def do_GET(self) -> None:
        request = Request(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, self._body())
        kind, name = self.server.app.describe(request)
        effects = self.server.faults.claim(name, request.path)
        self.server.closing.wait(effects.delay)
        if effects.drop == "before":
            self._note(kind, name, request, None)
            self._reset()
            return
        response = self._response(request, effects)
        self._note(kind, name, request, response.status)
        if effects.drop == "after":
            self._reset()
        else:
            self._send(response, effects)

    do_POST = do_PUT = do_GET

    def _response(self, request: Request, effects: Effects) -> Response:
        if not effects.status:
            return self.server.app.answer(request, effects)
        refusal = Response.error(effects.status, "refused on purpose")
        return replace(refusal, headers=refusal.headers | effects.headers)

    def _note(self, kind: str, name: str, request: Request, status: int | None) -> None:
        self.server.seen.append(Seen(kind, name, request.key, status))

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _send(self, response: Response, effects: Effects) -> None:
        body = _damaged(response.body, effects)
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(response.body if effects.damage == "cut" else body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
        if effects.damage == "cut":
            self.close_connection = True

    def _reset(self) -> None:
        """The client's side of the connection ends with an error, not with an end of file."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.rfile.close()
        self.connection.close()

    def log_message(self, *_: object) -> None:
        """The output is for whoever started the server."""


def _damaged(body: bytes, effects: Effects) -> bytes:
    half = len(body) // 2
    if effects.damage == "flip" and body:
        return body[:half] + bytes([body[half] ^ 0x01]) + body[half + 1 :]
    return body[:half] if effects.damage in ("cut", "short") else body
