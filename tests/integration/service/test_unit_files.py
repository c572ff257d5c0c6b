"""What is installed beside the program: the unit, its user, its example configuration, and the image's files."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from service_unit import ROOT, UNIT, service_section
from typer.testing import CliRunner

from venturalitica_agent.cli import app
from venturalitica_agent.settings import load_settings

LONGEST_REST = 10.0  # seconds between two turns of the work loop
BREAKS_THE_SANDBOX = ("ProtectKernelTunables", "ProtectKernelLogs", "ProtectHostname", "ProcSubset")

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="this machine has no systemd")


@pytest.fixture
def installed_unit(tmp_path: Path) -> Path:
    """The unit with a program that exists, because `systemd-analyze` looks for it."""
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text(encoding="utf-8")))
    return unit


def test_the_command_of_the_unit_exists() -> None:
    """`ExecStart=` names a command and options that the program knows."""
    _program, *words = shlex.split(service_section()["ExecStart"])
    command, *options = words
    shown = CliRunner().invoke(app, [command, "--help"], env={"TERM": "dumb", "COLUMNS": "200"})
    assert shown.exit_code == 0
    assert all(option in shown.output for option in options if option.startswith("--"))


def test_the_watchdog_is_slower_than_the_work_loop() -> None:
    """A loop that rests for its longest time must never be taken for one that hangs."""
    service = service_section()
    assert service["Type"] == "notify"
    assert int(service["WatchdogSec"]) >= 2 * LONGEST_REST


@pytest.mark.parametrize("directive", BREAKS_THE_SANDBOX)
def test_what_breaks_the_sandbox_is_left_out_with_its_reason(directive: str) -> None:
    """A directive that was measured to break bubblewrap is not set, and the unit says why."""
    assert directive not in service_section()
    assert re.search(rf"(?m)^#   {directive}=", UNIT.read_text(encoding="utf-8"))


def test_the_sandbox_gets_its_system_calls_and_namespaces() -> None:
    """bubblewrap needs mounts, a host name, netlink and every namespace that its command line unshares."""
    service = service_section()
    assert {"@system-service", "@mount", "sethostname"} <= set(service["SystemCallFilter"].split())
    assert {"user", "mnt", "pid", "net", "ipc", "uts", "cgroup"} <= set(service["RestrictNamespaces"].split())
    assert "AF_NETLINK" in service["RestrictAddressFamilies"].split()


@needs_systemd
def test_systemd_accepts_the_unit(installed_unit: Path) -> None:
    """`systemd-analyze verify` finds nothing to say: no unknown directive, no bad value."""
    done = subprocess.run(["systemd-analyze", "verify", installed_unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_systemd
def test_the_unit_stays_hardened(installed_unit: Path) -> None:
    """systemd's own measure of exposure stays at 3.0 of 10 or below."""
    command = ["systemd-analyze", "security", "--offline=yes", "--threshold=30", installed_unit]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_user_of_the_unit_is_the_one_that_is_made() -> None:
    """sysusers.d makes the user that the unit runs as, at home in its state folder."""
    service = service_section()
    text = (ROOT / "systemd" / "venturalitica-agent.sysusers.conf").read_text(encoding="utf-8")
    (line,) = [shlex.split(line) for line in text.splitlines() if line and not line.startswith("#")]
    kind, name, _id, _title, home, shell = line
    assert (kind, name, shell) == ("u", service["User"], "/usr/sbin/nologin")
    assert home == f"/var/lib/{service['StateDirectory'].removesuffix('/%i')}"


def test_the_example_configuration_keeps_to_the_folders_of_the_unit(tmp_path: Path) -> None:
    """It loads, and it writes only where the unit lets the service write."""
    service = service_section()
    settings = load_settings(ROOT / "systemd" / "agent.yaml", env={}, cwd=tmp_path)
    state, cache = (service[name].removesuffix("/%i") for name in ("StateDirectory", "CacheDirectory"))
    assert settings.state == f"sqlite:////var/lib/{state}/agent.db"
    assert settings.cache.folder == Path("/var/cache", cache)


def test_the_image_is_built_from_what_the_ignore_file_lets_in() -> None:
    """Every source that the Dockerfile copies is let through, and nothing else but it."""
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = [line.split()[1:-1] for line in dockerfile.splitlines() if line.startswith("COPY ")]
    sources = {word for words in copied if not words[0].startswith("--from") for word in words}
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {line[1:] for line in ignore if line.startswith("!")} == sources
    assert "*" in ignore
    assert all((ROOT / source).exists() for source in sources)
