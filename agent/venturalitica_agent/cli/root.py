"""The command itself: its name, its help, its version."""

from __future__ import annotations

from typing import Annotated

import typer

from venturalitica_agent import __version__
from venturalitica_agent.cli.terminal import say

_HELP = "Audits every training run in MLflow against a versioned policy, without touching training code."

app = typer.Typer(
    name="venturalitica-agent",
    help=_HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)


def _print_version(asked: bool) -> None:
    if asked:
        say(__version__)
        raise typer.Exit


@app.callback(help=_HELP)
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None: ...
