"""What happens with an attached run when it ends: a process beside this one waits for that and has it audited, and this
one says how it went, in one line. Nothing here raises into training, and nothing waits before the program is over.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

from venturalitica.place import Place
from venturalitica.trackers import wandb_run

_WAIT = 120.0  # seconds at the end of the program, unless VENTURALITICA_WAIT says otherwise
_NESTED = 16  # runs inside each other, at most
# What a tracker's client hands to its own children; a process that is not one of them must not take it up.
_NOT_OURS = ("WANDB_SERVICE", "WANDB__", "_WANDB")


def expect(places: Sequence[Place], policy: Path | None) -> None:
    """Have these runs audited when they end: by the agent that watches their store, else in a process of its own.

    Returns at once and never raises; what goes wrong is said in one line. Telling the same place twice changes nothing.

    Args:
        policy: the policy file that the training code named, for where no agent.yaml says which rules are in force.
    """
    if os.environ.get("VENTURALITICA_AUDIT") == "off":
        return
    try:
        with _turn:
            _companion().expect(places, policy)
    except OSError as error:
        _say(f"not audited here: the process that audits can't be started: {error}")


_Key: TypeAlias = tuple[str, str, str]


class _Companion:
    """The process beside this one, from its first run until it has answered for all of them."""

    def __init__(self) -> None:
        self._waiting: dict[_Key, Place] = {}
        self._together: list[dict[_Key, str]] = []  # what came of each run of one training, empty until it is known
        self._answered = threading.Condition()
        self._closed = False
        self._log = _log_file()
        env = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_OURS)}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "venturalitica.beside"],  # -P: no module of the training code's folder
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=env,
                start_new_session=True,  # whoever interrupts the training doesn't mean the audit of what is done
            )
        threading.Thread(target=self._listen, name="venturalitica", daemon=True).start()

    @property
    def usable(self) -> bool:
        return not self._closed

    @property
    def waiting(self) -> list[Place]:
        return list(self._waiting.values())

    def expect(self, places: Sequence[Place], policy: Path | None) -> None:
        """Wait for these runs; those of one call are one training, known to several trackers: they get one line."""
        with self._answered:
            new = {_key(place): place for place in places if _key(place) not in self._waiting}
            self._waiting |= new
            if new:
                self._together.append(dict.fromkeys(new, ""))
        for place in new.values():
            self._tell({"place": asdict(place), "policy": str(policy.absolute()) if policy else ""})

    def hurry(self) -> None:
        """The program is over: look at its runs now."""
        self._tell({"hurry": True})

    def wait(self, seconds: float) -> bool:
        """Whether every run has been answered for within that time."""
        with self._answered:
            return self._answered.wait_for(lambda: not self._waiting, timeout=seconds)

    def say_left(self) -> None:
        self._say_known()
        runs = ", ".join(place.link or place.run_id for place in self.waiting)
        _say(f"the audit goes on in the background ({runs}); its verdict will be on the run; log: {self._log}")

    def _tell(self, message: dict[str, Any]) -> None:
        stdin = self._process.stdin
        if stdin is not None and not stdin.closed:
            with contextlib.suppress(OSError):  # it has ended; the listener says so
                stdin.write(json.dumps(message).encode() + b"\n")
                stdin.flush()

    def _listen(self) -> None:
        for line in self._process.stdout or ():
            answer = json.loads(line)
            with _turn, self._answered:
                key = _key(Place(**answer["place"]))
                if words := self._line(key, answer["line"]):
                    _say(words)
                self._waiting.pop(key, None)
                if not self._waiting:
                    self._close()
                self._answered.notify_all()
        code = self._process.wait()
        with _turn, self._answered:
            self._close()
            self._say_known()
            if self._waiting:
                _say(f"not audited here: the process that audits ended with code {code}; log: {self._log}")
                self._waiting.clear()
            self._answered.notify_all()

    def _line(self, key: _Key, words: str) -> str:
        """The one line of a training, when the last of its runs was answered for; empty before that."""
        for told in self._together:
            if key in told:
                told[key] = words
                if all(told.values()):
                    self._together.remove(told)
                    return " | ".join(dict.fromkeys(told.values()))
                return ""
        return words

    def _say_known(self) -> None:
        """What is known of trainings of which something is still to come, and may not."""
        for told in self._together:
            if line := " | ".join(filter(None, told.values())):
                _say(line)
        self._together.clear()

    def _close(self) -> None:
        """Nothing more is told to it, so it ends; the next run gets a new one."""
        self._closed = True
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()


_turn = threading.RLock()
_present: _Companion | None = None


def _forget() -> None:
    """A fork has none of our threads, and maybe a lock that one of them held."""
    global _turn, _present
    _turn, _present = threading.RLock(), None


os.register_at_fork(after_in_child=_forget)


def _companion() -> _Companion:
    """The one of this process, a new one where there is none."""
    global _present
    if _present is None or not _present.usable:
        if _present is None:
            atexit.unregister(_at_exit)
            atexit.register(_at_exit)
        _present = _Companion()
    return _present


def _key(place: Place) -> _Key:
    return place.kind, place.uri, place.run_id


def _at_exit() -> None:
    """Wait for the line, a bounded time. Trackers end their runs at exit too, but after us: so we end ours first."""
    companion = _present
    if companion is None or not companion.waiting:
        return
    try:
        _end_active(companion.waiting)
        companion.hurry()
        if not companion.wait(_patience()):
            companion.say_left()
    except KeyboardInterrupt:  # whoever interrupts wants to go; the tracker's own handler still ends the run
        companion.hurry()
        companion.say_left()


def _end_active(places: Sequence[Place]) -> None:
    """End those of these runs that are still active as their tracker would do it in a moment."""
    runs = {place.run_id for place in places}
    mlflow = sys.modules.get("mlflow")
    try:
        for _ in range(_NESTED):
            active = mlflow.active_run() if mlflow is not None else None
            if active is None or active.info.run_id not in runs:
                break
            mlflow.end_run()  # type: ignore[union-attr]  # there is no active run without it
        found = wandb_run.active()
        if found is not None and _key(found.place) in map(_key, places):
            run = found.run
            hooks = getattr(run, "_hooks", None)  # where its own handler looks how the program ended
            run.finish(exit_code=getattr(hooks, "exit_code", None) or 0)
    except Exception as error:  # noqa: BLE001 -- whatever a tracker raises at its end, it isn't the training's
        _say(f"the tracker could not end the run: {type(error).__name__}: {error}")


def _patience() -> float:
    given = os.environ.get("VENTURALITICA_WAIT", "")
    try:
        return max(0.0, float(given)) if given else _WAIT
    except ValueError:
        return _WAIT


def _log_file() -> Path:
    """Where the process beside says what it does: with the agent's state, else where temporary files go."""
    folder = Path.cwd() / ".venturalitica"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / "companion.log"
        path.open("ab").close()
    except OSError:
        name = f"venturalitica-{os.getuid()}-{int(time.time())}.log"
        return Path(tempfile.mkdtemp(prefix="venturalitica-")) / name
    return path


def _say(line: str) -> None:
    """The one line. A program that closed its standard error does not want it."""
    with contextlib.suppress(OSError, ValueError):
        print(f"venturalitica: {' '.join(line.split())}", file=sys.stderr, flush=True)
