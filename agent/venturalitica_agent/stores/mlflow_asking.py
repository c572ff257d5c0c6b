"""How MLflow is asked: its exceptions become ours, without credentials, and a record in the middle of a rewrite is read
again."""

from __future__ import annotations

import os
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar
from urllib.parse import quote, unquote, urlsplit

from yaml import YAMLError

from venturalitica_agent.errors import PermanentError, RecordUnreadable, RunGone, StoreUnavailable
from venturalitica_agent.logging import clean
from venturalitica_agent.stores.naming import redacted

T = TypeVar("T")

ABSENT = "RESOURCE_DOES_NOT_EXIST"
_REFUSED = frozenset({"INVALID_PARAMETER_VALUE", "INVALID_STATE", "BAD_REQUEST"})
_LOCKED_OUT = frozenset({"PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"})
_SHORTEST_SECRET = 4  # characters; to take out less would spoil the words and hide nothing
_PATIENCE = 5.0  # seconds until a record that can't be read is not just being rewritten


class Asking:
    """A context for questions to one store.

    Args:
        tracking_uri: possibly with credentials; errors carry `uri`, which has none.
    """

    def __init__(self, tracking_uri: str) -> None:
        self._tracking_uri = tracking_uri
        self.uri = redacted(tracking_uri)

    @contextmanager
    def __call__(self, subject: str) -> Iterator[None]:
        """Turn MLflow's exceptions into ours."""
        from sqlalchemy.exc import SQLAlchemyError

        from venturalitica_agent.stores.mlflow_api import MlflowException

        try:
            yield
        except MlflowException as error:
            words, code = self._short(error), error.error_code
            if code == ABSENT:
                raise RunGone(words, subject=subject, remedy="nothing to do if it was deleted on purpose") from error
            if code in _REFUSED and not _connection_lost(words):
                raise PermanentError(
                    words, subject=subject, remedy=f"the store at {self.uri} refuses this; its own log may say more"
                ) from error
            remedy = "it is tried again with growing pauses"
            if code in _LOCKED_OUT:
                remedy = f"check the credentials and permissions for {self.uri}; {remedy}"
            raise StoreUnavailable(words, subject=self.uri, remedy=remedy) from error
        except (OSError, SQLAlchemyError) as error:
            raise StoreUnavailable(
                f"{type(error).__name__}: {self._short(error)}",
                subject=self.uri,
                remedy="it is tried again with growing pauses",
            ) from error
        except (AttributeError, TypeError, KeyError, ValueError, YAMLError) as error:
            # What MLflow's file store makes of a record that somebody broke or is rewriting without a pause.
            raise RecordUnreadable(
                f"MLflow can't read the store's record: {type(error).__name__}: {self._short(error)}",
                subject=subject,
                remedy="repair or delete that record",
            ) from error

    def _short(self, error: BaseException) -> str:
        """The words of an error in one line, without the credentials that MLflow or the server quote in them."""
        words = str(error).replace(self._tracking_uri, self.uri)
        for secret in _secrets(self._tracking_uri):
            words = words.replace(secret, "***")
        return clean(" ".join(words.split()))[:300]


def _secrets(tracking_uri: str) -> list[str]:
    """What MLflow's client shows to the server, in every form of it, the longest first."""
    found = {os.environ.get("MLFLOW_TRACKING_TOKEN", "")}
    with suppress(ValueError):
        parts = urlsplit(tracking_uri)
        found.add(parts.query)
        for user, password in (
            (unquote(parts.username or ""), unquote(parts.password or "")),
            (os.environ.get("MLFLOW_TRACKING_USERNAME", ""), os.environ.get("MLFLOW_TRACKING_PASSWORD", "")),
        ):
            found |= {password, quote(password, safe=""), b64encode(f"{user}:{password}".encode()).decode()}
    return sorted((secret for secret in found if len(secret) >= _SHORTEST_SECRET), key=len, reverse=True)


def _connection_lost(words: str) -> bool:
    return "failed with exception" in words or "Max retries exceeded" in words


def settled(ask: Callable[[], T]) -> T:
    """Ask again when the file store is read in the middle of a rewrite (an empty `meta.yaml` is such an instant)."""
    from venturalitica_agent.stores.mlflow_api import MlflowException, RestException

    deadline, pause = time.monotonic() + _PATIENCE, 0.001
    while True:
        try:
            return ask()
        except (AttributeError, TypeError, KeyError, MlflowException) as error:
            final = isinstance(error, RestException) or getattr(error, "error_code", "") in (ABSENT, *_REFUSED)
            if final or time.monotonic() > deadline:
                raise
        time.sleep(pause)
        pause = min(0.01, 2 * pause)
