"""The command line of both variants, and what stops one from being made."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from venturalitica_agent.errors import SandboxUnavailable
from venturalitica_agent.sandbox import profile
from venturalitica_agent.sandbox.launcher import _holes

TIGHT = {
    "uid": 65534,
    "capabilities": False,
    "no_new_privileges": True,
    "seccomp": True,
    "environment": ["HOME", "LANG", "PATH", "PWD"],
    "first_environment": [],
    "processes": 2,
    "reads_secret": False,
    "reads_home": False,
    "reads_passwords": False,
    "reaches_network": False,
    "makes_sockets": False,
    "writes": [],
    "traces": False,
    "unshares": False,
}


def words(monkeypatch: pytest.MonkeyPatch, euid: int) -> list[str]:
    monkeypatch.setattr(os, "geteuid", lambda: euid)
    return profile.command("worker.py", slot=Path("/slot"), limits=profile.Limits(), filter_fd=9)


def test_ordinary_user_gets_a_user_namespace(monkeypatch) -> None:
    line = words(monkeypatch, 1000)
    assert {
        "--unshare-net",
        "--unshare-pid",
        "--unshare-user",
        "--die-with-parent",
        "--new-session",
        "--clearenv",
    } <= set(line)
    assert "--cap-add" not in line
    assert not any("setpriv" in word for word in line)


def test_root_drops_to_a_uid_of_its_own(monkeypatch) -> None:
    """Root's variant never runs the script as root, and each worker has another uid."""
    first, second = words(monkeypatch, 0), words(monkeypatch, 0)
    at = first.index("--reuid")
    uid = int(first[at + 1])
    assert uid == profile.NOBODY or uid in range(1_900_000_000, 2_000_000_000)
    assert first[at + 3] == str(uid)
    assert {"--no-new-privs", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"} <= set(first)
    assert first[at + 1] != second[second.index("--reuid") + 1] or uid == profile.NOBODY
    assert first.index("--seccomp") < first.index("--") < at


def test_writable_places_are_none_but_scratch(monkeypatch) -> None:
    line = words(monkeypatch, 0)
    assert "--bind" not in line
    assert [line[i + 1] for i, word in enumerate(line) if word == "--tmpfs"] == ["/dev/shm", "/tmp"]
    assert line[line.index("--chdir") - 1] == "/"
    assert line[line.index("--chdir") - 2] == "--remount-ro"


def test_limits_reach_the_command_line(monkeypatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    limits = profile.Limits(cpu_seconds=7, memory_bytes=123, processes=5)
    line = profile.command("w.py", slot=Path("/slot"), limits=limits, filter_fd=9)
    assert {"--cpu=7:9", "--as=123", "--nproc=5", "--core=0"} <= set(line)
    assert line[-4:] == [sys.executable, "-I", "-B", "/in/w.py"]


def test_unreachable_interpreter_is_explained(monkeypatch, tmp_path) -> None:
    """A Python under someone else's closed home can't be bound; the remedy says where to put it."""
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path / "closed"))
    with pytest.raises(SandboxUnavailable, match="can't reach the Python interpreter") as caught:
        words(monkeypatch, 1000)
    assert caught.value.subject == str(tmp_path / "closed")
    assert "/opt" in caught.value.remedy


def test_nested_interpreter_folders_are_bound_once(monkeypatch, tmp_path) -> None:
    inner = tmp_path / "python" / "venv"
    inner.mkdir(parents=True)
    monkeypatch.setattr(sys, "prefix", str(inner))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path / "python"))
    monkeypatch.setattr(sys, "executable", str(inner / "bin" / "python"))
    assert profile.interpreter_folders() == [tmp_path / "python"]


def test_a_tight_sandbox_has_no_holes() -> None:
    assert _holes(TIGHT) == []


@pytest.mark.parametrize(
    ("field", "value", "hole"),
    [
        ("uid", 0, "the user is root"),
        ("capabilities", True, "there are capabilities"),
        ("no_new_privileges", False, "programs may gain privileges"),
        ("seccomp", False, "the system-call filter is off"),
        ("environment", ["PATH", "WANDB_API_KEY"], "the environment holds WANDB_API_KEY"),
        ("first_environment", ["AWS_SECRET"], "the first process shows its environment"),
        ("processes", 80, "other processes can be seen"),
        ("reads_secret", True, "a file of the agent can be read"),
        ("reads_home", True, "the home folder can be read"),
        ("reads_passwords", True, "the password file can be read"),
        ("reaches_network", True, "the host's loopback answers"),
        ("makes_sockets", True, "sockets can be made"),
        ("writes", ["/usr"], "these folders can be written: /usr"),
        ("traces", True, "processes can be traced"),
        ("unshares", True, "namespaces can be made"),
    ],
)
def test_every_hole_counts(field, value, hole) -> None:
    assert _holes(TIGHT | {field: value}) == [hole]


@pytest.mark.parametrize(("rows", "times"), [(1, 1), (1_000_000, 1), (1_000_001, 2), (16_000_000, 16), (10**9, 50)])
def test_time_and_output_grow_with_the_rows_and_not_without_end(rows: int, times: int) -> None:
    """Memory and processes are those of one batch, whatever the number of rows."""
    usual = profile.Limits()
    found = usual.for_rows(rows)
    assert (found.wall_seconds, found.cpu_seconds, found.output_bytes) == (60 * times, 30 * times, times * (64 << 20))
    assert (found.memory_bytes, found.processes, found.model_bytes, found.start_seconds) == (
        usual.memory_bytes,
        usual.processes,
        usual.model_bytes,
        usual.start_seconds,
    )
