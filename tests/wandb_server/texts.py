"""How ids, names and times are written on the wire."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from datetime import UTC, datetime

from .calls import ApiError


@functools.cache
def snake(name: str) -> str:
    """artifactID → artifact_id."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def node_id(kind: str, *parts: object) -> str:
    return base64.b64encode(":".join([kind, *map(str, parts)]).encode()).decode()


def id_parts(text: str, kind: str) -> list[str]:
    """What `node_id` has put in.

    Raises:
        ApiError: no id of that kind.
    """
    try:
        found, *parts = base64.b64decode(text, validate=True).decode().split(":")
    except ValueError:
        found, parts = "", []
    if found != kind:
        raise ApiError(404, f"invalid {kind} id: {text!r}")
    return parts


def written_time(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_time(text: object) -> datetime | None:
    """A time as filters give it; without its trailing Z it is none, and so matches nothing."""
    if not isinstance(text, str) or not text.endswith("Z"):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def md5_base64(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
