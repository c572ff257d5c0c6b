"""A clock for a process that a test turns while it runs: the C library's, so that everything in it is deceived.

It needs a C compiler (`cc`), which is told where there is none: no other way shows a whole program another time.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_suffix(".c")


class TurnedClock:
    """Give `environment` to a process, and `turn` its clock. Its children that get another environment see the time."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("cc") is None:
            pytest.fail("there is no C compiler: the tests of clocks need one (Debian: apt-get install gcc libc6-dev)")
        library = folder / "turned_clock.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"], check=True)
        self._file = folder / "turned_clock"
        self.turn(0)
        self.environment = {"LD_PRELOAD": str(library), "TURNED_CLOCK": str(self._file)}

    def turn(self, seconds: int) -> None:
        """Show so many seconds more than it is (fewer, where negative)."""
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("=q", seconds))
