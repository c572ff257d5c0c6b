"""`service install`: what lies where afterwards, and what it leaves alone."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from service_unit import ROOT
from typer.testing import CliRunner

from venturalitica_agent.cli import app
from venturalitica_agent.errors import ConfigError
from venturalitica_agent.installation import Installation
from venturalitica_agent.settings import load_settings

PROGRAM = Path("/opt/venturalitica-agent/bin/venturalitica-agent")

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="this machine has no systemd")


def places(root: Path) -> dict[str, Installation]:
    return {
        "machine": Installation(PROGRAM, root),
        "instance": Installation(PROGRAM, root, instance="loans"),
        "user": Installation(PROGRAM, user_config=root / "config"),
    }


@pytest.mark.parametrize("kind", ["machine", "instance", "user"])
def test_what_is_installed_is_whole_and_a_second_time_changes_nothing(tmp_path: Path, kind: str) -> None:
    place = places(tmp_path)[kind]
    written, left = place.install()
    assert left == []
    assert all(path.is_relative_to(tmp_path) and path.read_text() for path in written)
    assert place.install() == ([], sorted(path for path in written if path not in place.units()))
    settings = load_settings(place.config / "agent.yaml", env={}, cwd=tmp_path)
    assert settings.policies == place.config / "policies"
    assert (settings.policies / "credit-scoring").is_dir()
    if kind == "instance":
        assert settings.state == "sqlite:////var/lib/venturalitica-agent/loans/agent.db"
        assert settings.cache.folder == Path("/var/cache/venturalitica-agent/loans")


@needs_systemd
@pytest.mark.parametrize("kind", ["machine", "instance", "user"])
def test_systemd_accepts_what_is_installed(tmp_path: Path, kind: str) -> None:
    place = places(tmp_path)[kind]
    place.install()
    (unit,) = [path for path in place.units() if path.suffix == ".service"]
    assert f"ExecStart={PROGRAM} run" in unit.read_text()
    tried = tmp_path / place.unit
    tried.write_text(unit.read_text().replace(str(PROGRAM), "/bin/true"))  # which has to be there
    command = ["systemd-analyze", *(["--user"] if kind == "user" else []), "verify", "--man=no", tried]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"XDG_RUNTIME_DIR": str(tmp_path)})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_edited_configuration_stays_and_an_older_unit_is_replaced(tmp_path: Path) -> None:
    place = places(tmp_path)["machine"]
    place.install()
    (place.config / "agent.yaml").write_text("stores: [{mlflow: ./mine}]\n")
    shutil.rmtree(place.config / "policies")
    unit = next(iter(place.units()))
    fresh = unit.read_text()
    unit.write_text(fresh.replace("WatchdogSec=60", "WatchdogSec=90"))
    written, left = place.install()
    assert (written, left) == ([unit], [place.config / "agent.yaml"])
    assert unit.read_text() == fresh
    assert (place.config / "agent.yaml").read_text() == "stores: [{mlflow: ./mine}]\n"
    assert not (place.config / "policies").exists()


def test_a_unit_of_somebody_else_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    place = places(tmp_path)["machine"]
    unit = next(iter(place.units()))
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\nExecStart=/bin/true\n")
    with pytest.raises(ConfigError, match="not installed by this program"):
        place.install()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [unit]
    assert place.uninstall() == []


def test_uninstall_leaves_what_people_wrote(tmp_path: Path) -> None:
    runner, root = CliRunner(), ["--root", str(tmp_path)]
    assert runner.invoke(app, ["service", "install", *root]).exit_code == 0
    shown = runner.invoke(app, ["service", "uninstall", *root])
    assert shown.exit_code == 0
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert "etc/systemd/system/venturalitica-agent.service" not in left
    assert {"etc/venturalitica-agent/agent.yaml", "etc/sysusers.d/venturalitica-agent.conf"} <= left


def test_instances_share_their_unit_and_the_last_one_takes_it_along(tmp_path: Path) -> None:
    loans, claims = (Installation(PROGRAM, tmp_path, instance=name) for name in ("loans", "claims"))
    (unit,) = [path for path in loans.install()[0] if path.name == "venturalitica-agent@.service"]
    claims.install()
    assert loans.uninstall() == []
    assert unit.exists()
    shutil.rmtree(loans.config)
    assert claims.uninstall() == [unit]


@pytest.mark.parametrize("name", ["../up", "a b", "%h", "-x", "a" * 65])
def test_an_instance_has_a_name_that_a_path_and_a_unit_can_hold(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="can't be named so"):
        Installation(PROGRAM, tmp_path, instance=name)


def test_a_python_that_lies_in_a_home_is_refused() -> None:
    """The program's own folder may be open and the interpreter that its links lead to not."""
    with pytest.raises(ConfigError, match="homes are closed"):
        Installation(PROGRAM, interpreter=Path("/root/.pyenv/versions/3.11/bin/python3.11"))


@pytest.mark.parametrize(
    ("program", "reason"),
    [("/home/ana/.venv/bin/venturalitica-agent", "homes are closed"), ("/opt/a b/venturalitica-agent", "character")],
)
def test_a_program_that_the_unit_can_not_start_is_refused(program: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        Installation(Path(program))


def test_the_makefile_installs_the_program_where_the_units_expect_it() -> None:
    prefix = re.search(r"(?m)^PREFIX \?= (\S+)$", (ROOT / "Makefile").read_text())
    assert prefix is not None
    for unit in (ROOT / "systemd").rglob("*.service"):
        assert f"ExecStart={prefix[1]}/bin/venturalitica-agent run" in unit.read_text()
