"""One line per event, with a stable dotted name: for people in a terminal, JSON under a service."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

# As far as the last `@`: a password may hold one, or a `/`.
_LOGIN = re.compile(r"(?<=://)[^\s\"'<>]*@")
_QUERY = re.compile(r"(?i)([?&][^=&\s]*(?:pass|pwd|token|key|secret|sig|odbc_connect)[^=&\s]*=)[^&\s\"']*")
# Besides what moves a cursor: what is invisible, turns the direction of text, or can't be encoded.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


def clean(text: str) -> str:
    """Text from elsewhere made safe for a terminal and a log: no escapes, no credentials in URLs."""
    return without_credentials(_CONTROL.sub("\ufffd", text))


def without_credentials(text: str) -> str:
    """Text without what URLs in it carry: `://user:secret@` and `?password=...`."""
    return _QUERY.sub(r"\1***", _LOGIN.sub("***@", text))


def _clean_values(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: _cleaned(value) for key, value in event.items()}


def _cleaned(value: Any) -> Any:
    match value:
        case str():
            return clean(value)
        case list() | tuple():
            return [_cleaned(item) for item in value]
        case dict():
            return {_cleaned(key): _cleaned(item) for key, item in value.items()}
        case None | bool() | int() | float():
            return value
    return clean(str(value))


class _CleanFormatter(logging.Formatter):
    """What other people's libraries say, which may quote the URL that they were given."""

    def format(self, record: logging.LogRecord) -> str:
        return clean(super().format(record))


def configure(*, as_json: bool | None = None, verbose: bool = False) -> None:
    """Set up logging to standard error; JSON unless that is a terminal (or as told)."""
    as_json = not sys.stderr.isatty() if as_json is None else as_json
    level = logging.DEBUG if verbose else logging.INFO
    renderer: Any = structlog.processors.JSONRenderer() if as_json else _on_terminal()
    processors: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso" if as_json else "%H:%M:%S", utc=as_json),
        structlog.processors.format_exc_info,
        _clean_values,
        renderer,
    ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),  # as it is then: it may be replaced meanwhile
        cache_logger_on_first_use=False,
    )
    # Other people's libraries may speak, but only when something is wrong.
    others = logging.StreamHandler(sys.stderr)
    others.setFormatter(_CleanFormatter("%(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[others])
    for chatty in ("alembic", "apscheduler", "dbos", "mlflow", "watchdog"):
        logging.getLogger(chatty).setLevel(logging.ERROR)


def _on_terminal() -> Any:
    # Not structlog's own tracebacks: they show what the variables held, credentials among it.
    return structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger whose events are stable dotted names, e.g. `audit.published`."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger
