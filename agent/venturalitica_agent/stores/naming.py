"""What stores are called in our state, logs and evidence: never with credentials, the same in every process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from urllib.parse import urlsplit


def redacted(uri: str) -> str:
    """The URI without user, password, query or fragment: what may be shown, logged and hashed."""
    parts = urlsplit(uri)
    if not parts.netloc:
        return uri
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{host}{port}{parts.path}".rstrip("/")


def store_id(uri: str) -> str:
    """Twelve hex characters that name a store in our state and in audit ids."""
    return sha256(redacted(uri).encode()).hexdigest()[:12]


def input_fingerprint(links: Sequence[str]) -> str:
    """The same text for the same set of links, whatever kind of store reports them; empty for no links."""
    return sha256("\n".join(sorted(links)).encode()).hexdigest()[:16] if links else ""


def text(value: str | None) -> str:
    """A name as text that can be encoded: a lone surrogate in it would stop every file that quotes it."""
    return (value or "").encode("utf-8", "replace").decode()


def texts(values: Mapping[str, str]) -> dict[str, str]:
    return {text(name): text(value) for name, value in values.items()}
