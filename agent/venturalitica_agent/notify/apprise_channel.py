"""Sends one message: the only file that imports Apprise, whose hundred services take 30 MB that nobody else needs."""

from __future__ import annotations

import logging

from venturalitica_agent.errors import ConfigError, RetryableError


class NotSent(RetryableError):
    """The service behind a channel did not take the message."""


def send(url: str, title: str, body: str) -> None:
    """Send a message to the service that the URL names.

    Raises:
        ConfigError: Apprise doesn't know such a URL. NotSent: the service didn't take it.
    """
    import apprise

    target = _target(url)
    try:
        taken = target.notify(title=title, body=body, body_format=apprise.NotifyFormat.TEXT)
    except Exception as error:  # a plugin's own
        raise NotSent(f"sending failed with {type(error).__name__}", remedy="see whether the service is up") from error
    if not taken:
        raise NotSent(
            "the service did not take the message",
            remedy="`venturalitica-agent notify test` tries again; see whether the URL is still valid",
        )


def kind_of(url: str) -> str:
    """The name of the service that a URL is of. Raises ConfigError when it is of none."""
    return str(next(iter(_target(url))).service_name)


def _target(url: str):  # type: ignore[no-untyped-def]  # of a library without types
    import apprise

    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # it would write parts of the URL into our log
    target = apprise.Apprise()
    if not target.add(url):
        raise ConfigError(
            "Apprise knows no service of this URL",
            remedy="see Apprise's documentation for the URL of your service, such as slack://… or mailtos://…",
        )
    return target
