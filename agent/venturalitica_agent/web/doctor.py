"""Doctor's checks for the status page: made by a process of its own, in the background, and remembered for a minute.

They import trackers' clients and start a sandbox; in a process of its own that costs the service no memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time

from venturalitica_agent.logging import clean
from venturalitica_agent.settings import Settings
from venturalitica_agent.web.model import CheckView

_FRESH = 60.0
_PATIENCE = 120.0


class Doctor:
    """Safe from several threads; at most one check goes on at a time."""

    def __init__(self, settings: Settings) -> None:
        config = ["--config", str(settings.file)] if settings.file else []
        self._command = [sys.executable, "-m", "venturalitica_agent", "doctor", "--json", *config]
        self._folder = None if settings.file else settings.folder
        self._environment = settings.environment
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[str] | None = None
        self._checks: tuple[CheckView, ...] = ()
        self._checked_at: float | None = None
        self._closed = False

    def checks(self) -> tuple[tuple[CheckView, ...], float | None]:
        """What was last seen and when; a look that is older than a minute is made anew, for whoever asks next."""
        with self._lock:
            if self._checked_at is None or time.time() - self._checked_at > _FRESH:
                self._look()
            return self._checks, self._checked_at

    def recheck(self) -> None:
        """Look again, however fresh the last look is."""
        with self._lock:
            self._look()

    def close(self) -> None:
        """Stop a look that goes on."""
        with self._lock:
            self._closed = True
            process, thread = self._process, self._thread
        if process is not None:
            process.kill()
        if thread is not None:
            thread.join()

    def _look(self) -> None:
        if not self._closed and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=self._ask, name="web-doctor", daemon=True)
            self._thread.start()

    def _ask(self) -> None:
        checks = self._asked()
        with self._lock:
            self._checks, self._checked_at = checks, time.time()

    def _asked(self) -> tuple[CheckView, ...]:
        try:
            with self._lock:
                if self._closed:
                    return ()
                process = self._process = subprocess.Popen(
                    self._command,
                    cwd=self._folder,
                    env={**self._environment, **os.environ},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
        except OSError as error:
            return (_silent(f"can't be started: {error.strerror}"),)
        try:
            said, complained = process.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return (_silent(f"no answer within {_PATIENCE:.0f} s"),)
        try:
            return tuple(CheckView(**check) for check in json.loads(said))
        except (ValueError, TypeError):
            return (_silent(complained.strip()[-1000:] or "gave no answer"),)


def _silent(detail: str) -> CheckView:
    return CheckView(name="doctor", ok=False, detail=clean(detail), remedy="run `venturalitica-agent doctor`")
