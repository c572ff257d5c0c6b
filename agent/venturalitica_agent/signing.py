"""What `key` shows and does: the keys that evidence is signed with, and the log's name that goes with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from venturalitica_agent.agent import keys_of
from venturalitica_agent.attest.notary import Notary
from venturalitica_agent.attest.note import verifier_key
from venturalitica_agent.attest.sign import key_id
from venturalitica_agent.errors import ConfigError
from venturalitica_agent.settings import Settings
from venturalitica_agent.state.log import Log
from venturalitica_agent.state.opening import open_state


def key_document(settings: Settings) -> dict[str, Any]:
    """The key that signs now, all public keys with the one that tools for signed notes take, and the log's name.

    Raises:
        ConfigError: no key was made yet.
    """
    keys = keys_of(settings)
    if not keys.public():
        raise ConfigError(
            "there is no key yet",
            subject=str(keys.folder),
            remedy="the first `venturalitica-agent run` or `audit` makes it; `key rotate` makes one now",
        )
    with _log(settings) as log:
        origin = log.origin()
    now = key_id(keys.current())
    rows = [
        {
            "id": name,
            "signs": name == now,
            "public_key": text,
            "verifier_key": verifier_key(origin, text) if origin else None,
        }
        for name, text in keys.public().items()
    ]
    return {"folder": str(keys.folder), "log": origin, "keys": sorted(rows, key=lambda row: not row["signs"])}


def rotate_key(settings: Settings) -> tuple[str, str]:
    """Sign with a new key from now on; returns the ids of the old one and of the new one."""
    with _log(settings) as log:
        return Notary(keys_of(settings), log).rotate()


@contextmanager
def _log(settings: Settings) -> Iterator[Log]:
    engine = open_state(settings.state)
    try:
        yield Log(engine)
    finally:
        engine.dispose()
