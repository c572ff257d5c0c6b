"""What a message says. Pure.

No value, path, reason or word of an error leaves the machine by it; names were chosen by whoever trained, so nothing in
them is left that a chat would take for a mention, a link or markup.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from venturalitica_agent.logging import clean

MOST_LINES = 30
_LONGEST = 60
_HARMLESS = str.maketrans({"<": "‹", ">": "›", "@": "＠", "`": "ʼ", "*": "∗", "[": "(", "]": ")", "\n": " ", "\t": " "})


def plain(name: object, limit: int = _LONGEST) -> str:
    """A hostile name for a message: one line, bounded, without markup, mentions and addresses."""
    words = " ".join(clean(str(name)).split()).translate(_HARMLESS).replace("://", ":∕∕")
    return words if len(words) <= limit else words[: limit - 1] + "…"


def of_verdict(facts: Mapping[str, Any], names: Mapping[str, Any]) -> str:
    """A line about a verdict in the log.

    Args:
        facts: the entry. names: run_name, experiment, link and failed (ids, a line each), where they are known.
    """
    failed = [plain(control, 40) for control in names.get("failed", "").split("\n") if control]
    more = f" and {len(failed) - 3} more" if failed[3:] else ""
    controls = f", not passed: {', '.join(failed[:3])}{more}" if failed else ""
    return f"{facts['status']}: {_run(facts, names)} under {plain(facts['policy'])}{controls}{_link(names)}"


def of_drift(facts: Mapping[str, Any], names: Mapping[str, Any]) -> str:
    """A line about a run that no longer carries what was published on it."""
    return f"drift: what was published on {_run(facts, names)} was changed by somebody else{_link(names)}"


def of_stale(facts: Mapping[str, Any], names: Mapping[str, Any]) -> str:
    """A line about a run whose verdict is of another model or other data than are there now."""
    return f"drift: the model or the data of {_run(facts, names)} changed after the audit{_link(names)}"


def of_store(uri: str, *, answers: bool) -> str:
    return f"store: {plain(_place(uri), 120)} {'answers again' if answers else 'does not answer'}"


def of_waiver(policy: str, control: str, expires: str, *, is_over: bool) -> str:
    ends = f"is over since {expires} and counts no longer" if is_over else f"ends on {expires}"
    return f"waiver: that of {plain(policy)}/{plain(control)} {ends}"


def title(events: Sequence[str]) -> str:
    """Of a message with a line for each of these events: how many there are of each kind."""
    counted = ", ".join(f"{count} {event}" for event, count in Counter(events).most_common())
    return f"venturalitica: {counted}"


def body(lines: Sequence[str]) -> str:
    shown = list(lines[:MOST_LINES])
    if len(lines) > MOST_LINES:
        shown.append(f"and {len(lines) - MOST_LINES} more; `venturalitica-agent status` lists them")
    return "\n".join(shown)


def _run(facts: Mapping[str, Any], names: Mapping[str, Any]) -> str:
    known = f"{plain(names['run_name'])} in {plain(names['experiment'])}" if names else ""
    run_id = plain(facts["run_id"], 36)
    return f"run {known} ({run_id})" if known else f"run {run_id}"


def _link(names: Mapping[str, Any]) -> str:
    link = names.get("link", "")
    return f" {link}" if link.startswith(("http://", "https://")) and link.isprintable() and " " not in link else ""


def _place(uri: str) -> str:
    """A store's address without anything that lets one in."""
    parts = urlsplit(uri)
    return f"{parts.scheme} at {parts.hostname}" if parts.hostname else uri.rpartition("/")[2]
