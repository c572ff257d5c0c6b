"""Networks of their own for processes on one machine, that can be cut off and mended. Needs root and iproute2."""

from __future__ import annotations

import os
import subprocess
from types import TracebackType


class Segment:
    """A bridge with the address `host`, and two network namespaces behind it."""

    def __init__(self) -> None:
        number = os.getpid() % 200 + 20
        self.host = f"10.199.{number}.1"
        self._net = f"10.199.{number}"
        self._bridge = f"vlbr{number}"
        self._names = [f"vlns{number}x{one}" for one in range(2)]

    def __enter__(self) -> Segment:
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("addr", "add", f"{self.host}/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")
        for number, name in enumerate(self._names):
            _ip("netns", "add", name)
            _ip("link", "add", f"{name}h", "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("link", "set", f"{name}h", "master", self._bridge, "up")
            _ip("-n", name, "addr", "add", f"{self._net}.{10 + number}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
            _ip("-n", name, "link", "set", "lo", "up")
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for name in self._names:
            subprocess.run(["ip", "netns", "del", name], check=False)
        subprocess.run(["ip", "link", "del", self._bridge], check=False)

    def inside(self, number: int) -> list[str]:
        """The words before a command that run it in one of the networks."""
        return ["ip", "netns", "exec", self._names[number]]

    def cut(self, number: int) -> None:
        """Nothing gets through any more, and nobody is told."""
        _ip("link", "set", f"{self._names[number]}h", "nomaster")

    def mend(self, number: int) -> None:
        _ip("link", "set", f"{self._names[number]}h", "master", self._bridge)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
