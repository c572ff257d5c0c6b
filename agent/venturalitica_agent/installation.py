"""Puts the service's files where systemd looks for them: the unit, its user, a first configuration.

What an administrator may have changed is never overwritten: a configuration that is there stays, and a unit that this
program didn't install is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from venturalitica_agent.errors import ConfigError
from venturalitica_agent.settings import default_agent_yaml
from venturalitica_agent.starter import FIRST_POLICY

NAME = "venturalitica-agent"
_MARK = f"# Installed by `{NAME} service install`. Change it with a drop-in: systemctl edit.\n"
_HERE = Path(__file__).parent
_HOMES = (Path("/home"), Path("/root"))


@dataclass(frozen=True)
class Installation:
    """Where a service's files go.

    Attributes:
        program: the command that the unit starts.
        root: what the paths of a machine-wide service start from, "/" but for who builds a package.
        user_config: the user's folder of configurations, for a service of one user; else None.
        interpreter: the Python behind it, links followed.
        instance: a name where there is a service for each of several configurations; else "".

    Raises:
        ConfigError: the instance has no name that systemd can use, or the service could not reach the program.
    """

    program: Path
    root: Path = Path("/")
    user_config: Path | None = None
    instance: str = ""
    interpreter: Path = Path("/usr/bin/python3")

    def __post_init__(self) -> None:
        if self.instance and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", self.instance):
            raise ConfigError(
                "an instance can't be named so", subject=self.instance, remedy="use letters, digits, - and _"
            )
        if self.user_config is not None and self.instance:
            raise ConfigError("a user's service has one configuration", remedy="leave --user or --instance out")
        if re.search(r"[\s%\"'\\\\]", str(self.program)):
            raise ConfigError(
                "the path of the program has a character that a unit can't hold",
                subject=str(self.program),
                remedy="install the program into /opt/venturalitica-agent",
            )
        closed = [p for p in (self.program, self.interpreter) if any(p.is_relative_to(home) for home in _HOMES)]
        if self.user_config is None and self.root == Path("/") and closed:
            raise ConfigError(
                "the service could not reach the program: the homes are closed to it",
                subject=str(closed[0]),
                remedy="install the program into /opt/venturalitica-agent with a Python of the machine (make install "
                "PYTHON=/usr/bin/python3), or install the service with --user",
            )

    @property
    def unit(self) -> str:
        """What `systemctl` calls the service."""
        return f"{NAME}@{self.instance}.service" if self.instance else f"{NAME}.service"

    @property
    def config(self) -> Path:
        """The folder of its configuration."""
        if self.user_config is not None:
            return self.user_config / NAME
        return self.root / "etc" / NAME / self.instance

    def units(self) -> dict[Path, str]:
        """The files that systemd reads, which an upgrade replaces: path -> text."""
        if self.user_config is not None:
            own = self.user_config / "systemd" / "user" / f"{NAME}.service"
            return {own: self._started_by(_HERE / "systemd" / "user" / f"{NAME}.service")}
        etc, text = self.root / "etc", self._started_by(_HERE / "systemd" / f"{NAME}.service")
        people = _MARK + (_HERE / "systemd" / f"{NAME}.sysusers.conf").read_text(encoding="utf-8")
        unit = f"{NAME}@.service" if self.instance else f"{NAME}.service"
        return {etc / "systemd" / "system" / unit: text, etc / "sysusers.d" / f"{NAME}.conf": people}

    def first_config(self) -> dict[Path, str]:
        """The configuration to begin with: path -> text."""
        if self.user_config is not None:
            text = default_agent_yaml()
        else:
            text = (_HERE / "systemd" / "agent.yaml").read_text(encoding="utf-8")
            if self.instance:
                text = re.sub(rf"(/var/(?:lib|cache)/{NAME})", rf"\g<1>/{self.instance}", text)
        policy = _HERE / "policies" / FIRST_POLICY
        files = {self.config / "policies" / FIRST_POLICY / file.name: file for file in policy.iterdir()}
        return {self.config / "agent.yaml": text} | {
            path: file.read_text(encoding="utf-8") for path, file in sorted(files.items()) if file.is_file()
        }

    def install(self) -> tuple[list[Path], list[Path]]:
        """Write what is missing or old; returns (what was written, what was there and was left as it is).

        Raises:
            ConfigError: a unit of the same name is somebody else's, or a file can't be written.
        """
        units = self.units()
        for path in units:
            if path.exists() and not path.read_text(encoding="utf-8").startswith(_MARK):
                raise ConfigError(
                    "this file was not installed by this program, so it is not replaced",
                    subject=str(path),
                    remedy="move it away; what it changes belongs into a drop-in (systemctl edit)",
                )
        written, left = [], []
        # A configuration that somebody began is theirs: nothing is added to it.
        begun = (self.config / "agent.yaml").exists()
        for path, text in (units | self.first_config()).items():
            if path not in units and begun:
                left.append(path)
            elif not path.exists() or path.read_text(encoding="utf-8") != text:
                _write(path, text)
                written.append(path)
        return written, [path for path in left if path.exists()]

    def uninstall(self) -> list[Path]:
        """Remove what systemd reads; configuration, state and cache stay. Returns what was removed.

        The unit that instances share stays while another one has a configuration.
        """
        if self.instance and any(file.parent != self.config for file in self.config.parent.glob("*/agent.yaml")):
            return []
        shared = self.root / "etc" / "sysusers.d" / f"{NAME}.conf"  # files are owned by that user
        ours = [path for path in self.units() if path != shared and path.exists()]
        removed = [path for path in ours if path.read_text(encoding="utf-8").startswith(_MARK)]
        for path in removed:
            path.unlink()
        return removed

    def _started_by(self, unit: Path) -> str:
        text = unit.read_text(encoding="utf-8")
        return _MARK + re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={self.program}", text)


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o644)
    except OSError as error:
        raise ConfigError(
            f"can't be written: {error.strerror}", subject=str(path), remedy="run it as root, or with --user"
        ) from error
