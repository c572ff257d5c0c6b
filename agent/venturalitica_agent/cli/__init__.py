"""The commands. Nothing is decided here: each one reads its options, calls what does the work, and prints."""

from __future__ import annotations

import sys

from rich.text import Text

from venturalitica_agent.cli.root import app
from venturalitica_agent.cli.terminal import err
from venturalitica_agent.errors import AgentError, ConfigError
from venturalitica_agent.logging import clean

# Each registers its commands as it is imported, and the help lists them in this order.
from venturalitica_agent.cli import service  # isort: skip
from venturalitica_agent.cli import installing  # isort: skip
from venturalitica_agent.cli import telling  # isort: skip
from venturalitica_agent.cli import page  # isort: skip
from venturalitica_agent.cli import evidence  # isort: skip
from venturalitica_agent.cli import policies  # isort: skip

__all__ = ["app", "evidence", "installing", "main", "page", "policies", "service", "telling"]


def main() -> None:
    """Entry point: errors of ours end in a sentence and an exit code, never in a traceback."""
    try:
        app(standalone_mode=True)
    except AgentError as error:
        err.print(Text(clean(str(error.diagnostics()))), soft_wrap=True)
        sys.exit(2 if isinstance(error, ConfigError) else 3)
