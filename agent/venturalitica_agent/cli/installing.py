"""What the engineer runs once: put the service where systemd finds it, or take it away."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from venturalitica_agent.cli.root import app
from venturalitica_agent.cli.terminal import say
from venturalitica_agent.installation import Installation

service_app = typer.Typer(help="The service's place in systemd.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(service_app, name="service")

User = Annotated[bool, typer.Option("--user", help="For this user alone, on this user's own stores.")]
Instance = Annotated[str, typer.Option(help="A service of this name with a configuration of its own.")]
Root = Annotated[Path, typer.Option(help="Where the machine's files are; another folder for who builds a package.")]


@service_app.command("install")
def install(user: User = False, instance: Instance = "", root: Root = Path("/")) -> None:
    """Write the unit, its user and a first configuration; never over what was changed. Run it again to upgrade."""
    place = _installation(user, instance, root)
    written, left = place.install()
    for path in written:
        say(f"wrote {path}")
    for path in left:
        say(f"left as it is: {path}")
    if root == Path("/"):
        commands = [["systemctl", "--user", "daemon-reload"]]
        if not user:
            commands = [["systemd-sysusers"], ["systemctl", "daemon-reload"]]
        for command in commands:
            _call(command)
    control = "systemctl --user" if user else "systemctl"
    say(f"Next: put your stores into {place.config / 'agent.yaml'}, then `{control} enable --now {place.unit}`.")


@service_app.command("uninstall")
def uninstall(user: User = False, instance: Instance = "", root: Root = Path("/")) -> None:
    """Take the unit away; configuration, evidence, state and cache stay where they are."""
    place = _installation(user, instance, root)
    if root == Path("/"):
        _call(["systemctl", *(["--user"] if user else []), "disable", "--now", place.unit])
    for path in place.uninstall():
        say(f"removed {path}")
    say(f"{place.config} and the state are still there")


def _installation(user: bool, instance: str, root: Path) -> Installation:
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    program = Path(sys.executable).with_name("venturalitica-agent")
    python = Path(sys.executable).resolve()
    return Installation(program, root.absolute(), home if user else None, instance, python)


def _call(command: list[str]) -> None:
    """Tell systemd; where it is not running (a container, an image that is being built) that is the boot's work."""
    if shutil.which(command[0]) is None:
        return
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        say(f"`{' '.join(command)}` did not work: {done.stderr.strip()[:500]}")
