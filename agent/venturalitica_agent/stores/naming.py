"""What stores are called in our state, logs and evidence: never with credentials, the same in every process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from urllib.parse import urlsplit

_PATHS = ("", "file", "sqlite")
_YEAR_10000 = 253_402_300_800_000  # ms
_LONGEST = 500  # source: mlflow.utils.validation.MAX_EXPERIMENT_NAME_LENGTH


def redacted(uri: str) -> str:
    """The URI without user, password, query or fragment: what may be shown, logged and hashed."""
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname or "", parts.port
    except ValueError:  # no URL, or one whose password holds a `/`, a `?` or a `#` as it is
        return _after_login(uri)
    if not parts.netloc:
        return uri if parts.scheme in _PATHS else uri.partition("?")[0]
    if "@" in parts.path and "@" not in parts.netloc and parts.scheme not in ("http", "https"):
        return _after_login(uri)
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}{parts.path}".rstrip("/")


def _after_login(uri: str) -> str:
    scheme, _, rest = uri.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}".rstrip("/")


def store_id(uri: str) -> str:
    """Twelve hex characters that name a store in our state and in audit ids."""
    return sha256(redacted(uri).encode()).hexdigest()[:12]


def input_fingerprint(links: Sequence[str]) -> str:
    """The same text for the same set of links, whatever kind of store reports them; empty for no links."""
    return sha256("\n".join(sorted(links)).encode()).hexdigest()[:16] if links else ""


def text(value: str | None) -> str:
    """A name as text that can be encoded: a lone surrogate in it would stop every file that quotes it."""
    return (value or "").encode("utf-8", "replace").decode()


def name(value: object) -> str:
    """A run's or experiment's name from a record that anybody can write: at most 500 characters; empty for no text."""
    return text(value)[:_LONGEST] if isinstance(value, str) else ""


def moment(value: object) -> int | None:
    """Milliseconds since the epoch; None for anything that no clock and no calendar could show."""
    return value if type(value) is int and 0 <= value < _YEAR_10000 else None


def texts(values: Mapping[str, str]) -> dict[str, str]:
    return {text(name): text(value) for name, value in values.items()}
