"""An HTTP server that answers as a test says: what no honest server of W&B would."""

from __future__ import annotations

import http.client
import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

Answer = Callable[["Handler"], None]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.seen.append((self.path, dict(self.headers)))
        self.server.answer(self)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def say(self, status: int, body: bytes = b"", **headers: str) -> None:
        """`headers` by their names, with _ for -."""
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """The output is the test's."""


class OddServer(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer: Answer = lambda handler: handler.say(404)
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: Any) -> None:
        """A client that went away is what some tests are about."""


@contextmanager
def odd_server() -> Iterator[OddServer]:
    server = OddServer()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def passing_to(target: str) -> Answer:
    """An answer that is another server's."""

    def answer(handler: Handler) -> None:
        asked = http.client.HTTPConnection(urlsplit(target).netloc, timeout=60)
        kept = {name: value for name, value in handler.headers.items() if name.lower() not in ("host", "connection")}
        asked.request(handler.command, handler.path, handler.body, kept)
        found = asked.getresponse()
        content = found.read()
        about = {name.replace("-", "_"): found.headers[name] for name in _KEPT if name in found.headers}
        handler.say(found.status, content, **about)
        asked.close()

    return answer


_KEPT = ("Content-Type", "Content-Disposition")
