"""One line per event, with a stable dotted name: for people in a terminal, JSON under a service."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]")


def clean(text: str) -> str:
    """Text from elsewhere made safe for a terminal and a log: no escapes, no credentials in URLs."""
    return _CREDENTIALS.sub("***@", _CONTROL.sub("\ufffd", text))


def _clean_values(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str) and key != "exception":
            event[key] = clean(value)
    return event


def configure(*, as_json: bool | None = None, verbose: bool = False) -> None:
    """Set up logging to standard error; JSON unless that is a terminal (or as told)."""
    as_json = not sys.stderr.isatty() if as_json is None else as_json
    level = logging.DEBUG if verbose else logging.INFO
    renderer: Any = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    processors: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso" if as_json else "%H:%M:%S", utc=as_json),
        *([structlog.processors.format_exc_info] if as_json else []),
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
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s: %(message)s")
    for chatty in ("alembic", "apscheduler", "dbos", "mlflow", "watchdog"):
        logging.getLogger(chatty).setLevel(logging.ERROR)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger whose events are stable dotted names, e.g. `audit.published`."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger
