"""What a machine had in hand when it died: others end it from its last finished step, and poison kills only so many."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("machines")

PROGRAM = Path(__file__).parents[2] / "support" / "engine_process.py"


def machine(folder: Path, url: str, *commands: str) -> int:
    """One machine's life; returns how its process ended."""
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(folder), *commands],
        env=os.environ | {"ENGINE_STATE": url},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stdout + done.stderr
    return done.returncode


def test_a_dead_machines_job_goes_on_elsewhere_and_poison_is_given_up(tmp_path: Path, url: str) -> None:
    assert machine(tmp_path, url, "kill:a", "linger:60") == -signal.SIGKILL
    assert machine(tmp_path, url, "wait:a") == 0
    log = (tmp_path / "log").read_text().splitlines()
    assert log == ["rescued 0", "first a", "rescued 1", "second a a 0.5", "end a", "status a SUCCESS", "closed"]

    deaths = [machine(tmp_path, url, "poison:b", "linger:20")]
    while deaths[-1] == -signal.SIGKILL and len(deaths) < 12:
        deaths.append(machine(tmp_path, url, "wait:b"))
    log = (tmp_path / "log").read_text().splitlines()
    assert log[-2] == "status b MAX_RECOVERY_ATTEMPTS_EXCEEDED"
    assert log.count("poison b") == len(deaths) - 1 == 6
    assert log.count("first b") == 1
