"""Requests without any client between the test and the server, and what the shared training has logged."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wandb_server import WandbServer

CSV = b"age,approved\n31,1\n52,0\n"


@dataclass(frozen=True)
class Trained:
    """The server after training; `folder` is where the script ran and left its files."""

    server: WandbServer
    folder: Path


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def data(self) -> Any:
        return json.loads(self.body)["data"]


def http(method: str, url: str, *, key: str | None = None, body: bytes | None = None) -> Answer:
    """One request without any client's retries; whatever the status, its answer."""
    request = urllib.request.Request(url, body, method=method)
    if key:
        request.add_header("Authorization", "Basic " + b64encode(f"api:{key}".encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return Answer(response.status, response.read(), dict(response.headers))
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.read(), dict(error.headers))


def ask(server: WandbServer, query: str, *, key: str | None = None, **variables: Any) -> Answer:
    body = json.dumps({"query": query, "variables": variables}).encode()
    return http("POST", f"{server.url}/graphql", key=key or server.key, body=body)
