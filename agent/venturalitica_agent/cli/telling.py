"""Telling people what happened, tried by hand."""

from __future__ import annotations

from typing import Annotated

import typer

from venturalitica_agent.cli.root import app
from venturalitica_agent.cli.terminal import Config, read_settings, say
from venturalitica_agent.errors import AgentError, ConfigError
from venturalitica_agent.logging import clean

notify_app = typer.Typer(help="Messages to people.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(notify_app, name="notify")


@notify_app.callback()
def _notify() -> None: ...


@notify_app.command("test")
def notify_test(
    channel: Annotated[str, typer.Argument(help="Its name; default: every channel of agent.yaml.")] = "",
    config: Config = None,
) -> None:
    """Send a message to each channel, and say what became of it.

    Exit codes: 0 all were taken, 2 usage or configuration error, 3 one was not.
    """
    from venturalitica_agent.agent import refuse_silent_channels
    from venturalitica_agent.notify.apprise_channel import send

    settings = read_settings(config)
    channels = [one for one in settings.notify if channel in ("", one.name)]
    if not channels:
        raise ConfigError(
            f"there is no channel {channel} in agent.yaml" if channel else "there is no channel in agent.yaml",
            remedy="name one below `notify:`; docs/how-to/notifications.md shows how",
        )
    refuse_silent_channels(settings)
    failed = False
    for one in channels:
        try:
            send(one.url, "venturalitica: test", "This is a test of the channel. Nothing happened.")
            say(f"{one.name}: the service took the message")
        except AgentError as error:
            failed = True
            say(clean(f"{one.name}: {error.diagnostics()}"))
    raise typer.Exit(3 if failed else 0)
