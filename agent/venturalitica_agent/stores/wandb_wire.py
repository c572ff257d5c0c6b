"""What HTTP says and wants, apart from who asks: credentials, addresses, waits, and why a connection failed. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit


class Nobody:
    """No credentials at all; without it `requests` would look into netrc."""

    def __call__(self, request: Any) -> Any:
        return request


class Basic(Nobody):
    def __init__(self, credentials: str) -> None:
        self._header = f"Basic {credentials}"

    def __call__(self, request: Any) -> Any:
        request.headers["Authorization"] = self._header
        return request


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port; empty where it is none."""
    try:
        parts = urlsplit(url)
        scheme, port = parts.scheme.casefold(), parts.port
    except ValueError:
        return "", "", 0
    return scheme, parts.hostname or "", port or {"http": 80, "https": 443}.get(scheme, 0)


def signed(url: str) -> bool:
    """Whether an address carries a signature, as those of object stores do (X-Amz-Signature, Signature, sig)."""
    return any("sig" in name.casefold() for name in parse_qs(urlsplit(url).query))


def seconds_of(header: str | None) -> float:
    """Seconds from a Retry-After or RateLimit-Reset header: a number, or (RFC 9110) a date; 0 when it is neither."""
    if not header:
        return 0.0
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return 0.0
    return max(0.0, (when - datetime.now(UTC)).total_seconds()) if when.tzinfo else 0.0


def cause(error: BaseException) -> str:
    """The innermost reason of a failed request, without URLs, which may carry tokens."""
    words = str(error)
    for known in ("Name or service not known", "Connection refused", "Connection reset", "CERTIFICATE_VERIFY_FAILED"):
        if known in words:
            return known
    return type(error).__name__
