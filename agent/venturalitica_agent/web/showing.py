"""Shows the status page in the browser: the one that the service serves already, or one of its own."""

from __future__ import annotations

import json
import threading
import urllib.request
import webbrowser

from venturalitica_agent.settings import Settings
from venturalitica_agent.web.access import read_access
from venturalitica_agent.web.health import state_mark

_PATIENCE = 2.0
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - names of "any address", to be reached by another
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def served_already(settings: Settings) -> str:
    """The URL of the page where an agent with the same state serves it; empty where none does.

    Raises:
        ConfigError: anyone could read the page from another machine.
    """
    read_access(settings)
    host = _ANY.get(settings.web.host, settings.web.host)
    url = f"http://{f'[{host}]' if ':' in host else host}:{settings.web.port}/"
    try:
        with _DIRECT.open(f"{url}healthz", timeout=_PATIENCE) as answer:
            told = json.loads(answer.read(1 << 16))
    except (OSError, ValueError):
        return ""
    return url if isinstance(told, dict) and told.get("state") == state_mark(settings) else ""


def open_browser(url: str) -> threading.Thread:
    """Open the page, on a thread: a browser of the terminal holds up whoever opens it."""
    thread = threading.Thread(target=webbrowser.open, args=(url,), daemon=True)
    thread.start()
    return thread
