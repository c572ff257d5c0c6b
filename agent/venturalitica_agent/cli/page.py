"""The status page, and who may see it."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Annotated

import typer

from venturalitica_agent import logging as our_logging
from venturalitica_agent.cli.root import app
from venturalitica_agent.cli.terminal import (
    Config,
    read_settings,
    say,
)


@app.command()
def ui(
    config: Config = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; default: web.host.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65_535, help="TCP port; default: web.port.")] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Serve the page and open no browser.")] = False,
) -> None:
    """The status page: opened where the service serves it, else served until stopped."""
    our_logging.configure()
    from venturalitica_agent.web.server import PageServer
    from venturalitica_agent.web.showing import open_browser, served_already

    settings = read_settings(config)
    web = replace(settings.web, host=host or settings.web.host, port=port or settings.web.port)
    settings = replace(settings, web=web)
    url = served_already(settings)
    if url:
        say(f"the service shows it at {url}")
        if not no_browser:
            open_browser(url).join()
        return
    page = PageServer(settings)
    say(f"the status page is at {page.url}; stop it with Ctrl-C")
    if not no_browser:
        open_browser(page.url)
    page.run()


@app.command("web-password")
def web_password(name: Annotated[str, typer.Argument(help="Who logs in to the status page.")]) -> None:
    """Print a line for the file that web.users names; asks for the password, or reads it from a pipe."""
    from venturalitica_agent.web.access import user_line

    if sys.stdin.isatty():
        password = typer.prompt("password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    say(user_line(name, password))
