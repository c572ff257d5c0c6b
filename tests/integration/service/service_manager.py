"""systemd's side of `Type=notify`, for the tests beside this file."""

from __future__ import annotations

import socket
import time

SECONDS = 60.0


class Manager:
    """systemd's end of the notification socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.heard: list[str] = []

    def hear(self, count: int, state: str) -> None:
        """Listen until `state` was heard `count` times."""
        deadline = time.monotonic() + SECONDS
        while self.heard.count(state) < count:
            self._socket.settimeout(max(0.01, deadline - time.monotonic()))
            self.heard += self._socket.recv(4096).decode().splitlines()

    def silent(self) -> bool:
        """Whether nothing waits to be heard."""
        try:
            return not self._socket.recv(4096, socket.MSG_DONTWAIT | socket.MSG_PEEK)
        except BlockingIOError:
            return True

    def close(self) -> None:
        self._socket.close()
