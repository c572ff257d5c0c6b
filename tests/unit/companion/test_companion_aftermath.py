"""However the process that audits fares, training gets one line and no error; and a service is known while it lives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from venturalitica import aftermath
from venturalitica.beside import Vigil
from venturalitica.place import Place
from venturalitica.trackers import folder_run
from venturalitica_agent.errors import ConfigError
from venturalitica_agent.state.services import announced, running, services_folder
from venturalitica_agent.stores.naming import store_id

NOWHERE = Place("folder", "/nowhere", "0" * 32)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VENTURALITICA_AUDIT", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    yield tmp_path
    aftermath._present = None


def lines(capsys: pytest.CaptureFixture[str], seconds: float = 20) -> list[str]:
    """What the companion printed, once it printed something."""
    found, deadline = "", time.monotonic() + seconds
    while not found and time.monotonic() < deadline:
        time.sleep(0.02)
        found = capsys.readouterr().err
    return [line for line in found.splitlines() if line.startswith("venturalitica: ")]


def test_switched_off_nothing_is_started(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VENTURALITICA_AUDIT", "off")
    aftermath.expect([NOWHERE], None)
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("python", ["/bin/false", "/bin/true", "/no/such/python"])
def test_a_process_that_dies_at_once_is_one_line(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], python: str
) -> None:
    monkeypatch.setattr(sys, "executable", python)
    aftermath.expect([NOWHERE], None)
    (line,) = lines(capsys)
    assert "not audited here" in line


def test_what_takes_too_long_is_left_to_the_background(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = home / "slow"
    slow.write_text("#!/bin/sh\ncat > /dev/null\n")
    slow.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(slow))
    monkeypatch.setenv("VENTURALITICA_WAIT", "0.1")
    aftermath.expect([NOWHERE], None)
    aftermath.expect([NOWHERE], None)  # the same place once more is the same
    aftermath._at_exit()
    (line,) = lines(capsys)
    assert "goes on in the background" in line
    assert "companion.log" in line


def test_a_mistake_in_the_configuration_is_told_with_its_remedy(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "agent.yaml").write_text("stores: [{folder: x}]\npolices: here\n")
    run = folder_run.begin()
    run.end()
    aftermath.expect([run.place], None)
    (line,) = lines(capsys)
    assert line.startswith("venturalitica: not audited: ")
    assert "policies" in line


@pytest.mark.parametrize(("given", "seconds"), [("", 120.0), ("7", 7.0), ("-1", 0.0), ("soon", 120.0)])
def test_the_patience_at_the_end_can_be_set(monkeypatch: pytest.MonkeyPatch, given: str, seconds: float) -> None:
    monkeypatch.setenv("VENTURALITICA_WAIT", given)
    assert aftermath._patience() == seconds


def test_an_unknown_way_to_audit_is_refused(home: Path) -> None:
    with pytest.raises(ConfigError, match="no way to audit"):
        Vigil(NOWHERE, None, {"VENTURALITICA_AUDIT": "maybe"}, home)


def test_a_folder_run_has_the_id_of_the_store_that_a_service_announces(home: Path) -> None:
    (home / "model_policy.yaml").write_text("policy: p\n")
    run = folder_run.begin()
    vigil = Vigil(run.place, home / "model_policy.yaml", {}, home)
    assert vigil.store.id == store_id(f"folder:{run.place.uri}")
    assert vigil.ended() is None
    run.end()
    assert vigil.ended() is not None


# -- services ---------------------------------------------------------------------------------------------------------
def test_a_service_is_known_while_it_runs_and_only_to_its_user(home: Path) -> None:
    folder = services_folder({"XDG_RUNTIME_DIR": str(home)})
    with announced(folder, "sqlite:////x/agent.db", ["b", "a"]):
        (service,) = running(folder)
        assert (service.pid, service.state, service.stores) == (os.getpid(), "sqlite:////x/agent.db", {"a", "b"})
        (file,) = folder.iterdir()
        assert file.stat().st_mode & 0o777 == 0o600
        assert folder.stat().st_mode & 0o777 == 0o700
    assert running(folder) == []
    assert list(folder.iterdir()) == []


def test_what_a_killed_service_left_is_not_taken_for_a_living_one(home: Path) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom venturalitica_agent.state.services import announced\n"
        "with announced(Path(sys.argv[1]), 's', ['a']):\n    print('up', flush=True)\n    time.sleep(60)\n"
    )
    folder = home / "services"
    service = subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE)
    assert service.stdout is not None
    assert service.stdout.readline() == b"up\n"
    assert [s.pid for s in running(folder)] == [service.pid]
    service.send_signal(signal.SIGKILL)
    service.wait()
    assert len(list(folder.iterdir())) == 1
    assert running(folder) == []
    assert list(folder.iterdir()) == []


def test_rubbish_in_the_folder_of_services_is_no_service_and_no_error(home: Path) -> None:
    folder = home / "services"
    folder.mkdir()
    (folder / "a.json").write_text("{")
    (folder / "b.json").symlink_to("/etc/passwd")
    (folder / "c.json").mkdir()
    assert running(folder) == []
    assert running(home / "none") == []


def test_a_folder_that_can_not_be_made_keeps_no_service_from_serving(home: Path) -> None:
    (home / "file").write_text("")
    with announced(home / "file" / "services", "s", []):
        assert running(home / "file" / "services") == []


def _wandb_with(run_id: str, finished: list[str]) -> SimpleNamespace:
    run = SimpleNamespace(
        id=run_id, entity="acme", project="credit", url="", disabled=False, offline=False,
        finish=lambda exit_code: finished.append(run_id),
    )  # fmt: skip
    return SimpleNamespace(run=run)


def test_only_the_very_run_of_wandb_that_is_waited_for_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    finished: list[str] = []
    monkeypatch.setitem(sys.modules, "wandb", _wandb_with("ab", finished))
    aftermath._end_active([Place("wandb", "acme/credit", "xaby"), Place("wandb", "acme/other", "ab")])
    assert finished == []
    aftermath._end_active([Place("wandb", "acme/credit", "ab", "https://wandb.example/acme/credit/runs/ab")])
    assert finished == ["ab"]


def test_an_interrupt_while_the_tracker_ends_the_run_leaves_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    waiting = SimpleNamespace(
        waiting=[Place("wandb", "acme/credit", "ab")],
        hurry=lambda: said.append("hurry"), say_left=lambda: said.append("left"),
    )  # fmt: skip

    def interrupted(exit_code: int) -> None:
        raise KeyboardInterrupt

    wandb = _wandb_with("ab", [])
    wandb.run.finish = interrupted
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setattr(aftermath, "_present", waiting)
    aftermath._at_exit()
    assert said == ["hurry", "left"]
