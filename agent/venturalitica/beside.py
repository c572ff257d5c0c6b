"""The process beside the training: waits for a run to end, then leaves it to the agent that watches its store, or
audits it here, by the same pipeline, with the same evidence. Nothing of that ever runs in the training process.

It reads one JSON object a line, `{"place": {…}, "policy": "<file>"}` or `{"hurry": true}`, and answers each place with
one line, `{"place": {…}, "line": "<what came of it>"}`. It ends with its input, once every run that ended is answered.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from venturalitica.place import Place
from venturalitica_agent.agent import Agent
from venturalitica_agent.claim.engine import EngineBusy
from venturalitica_agent.domain.ledger import Entry, Phase
from venturalitica_agent.domain.run import RunRef
from venturalitica_agent.errors import AgentError, ConfigError, RetryableError
from venturalitica_agent.logging import clean, configure
from venturalitica_agent.once import run_once
from venturalitica_agent.settings import Settings, StoreSettings, load_settings
from venturalitica_agent.settings.audits import tracking_store
from venturalitica_agent.settings.values import mlflow_uri
from venturalitica_agent.state.ledger import Ledger
from venturalitica_agent.state.opening import open_state
from venturalitica_agent.state.services import Running, running, services_folder
from venturalitica_agent.stores.opening import WandbServer, open_configured
from venturalitica_agent.strict_yaml import Scalar

MODES = ("auto", "agent", "process")
_PAUSES = {"mlflow": 0.3, "folder": 0.1, "wandb_offline": 0.5, "wandb": 2.0}  # between two looks at a run, at first
_LONGEST_PAUSE = 5.0
_ORPHANED = 60.0  # seconds that a run may take to end after the training process did
_LEFT_ALONE = 600.0  # seconds that an agent may take for its verdict before we stop looking for it
_LONGEST_SENTENCE = 220
_CLOSED = (Phase.DONE, Phase.IGNORED, Phase.STUCK, Phase.GONE)


class Vigil:
    """One run, from the end of its `fit` to its verdict.

    Args:
        policy: the file that the training code named; it counts where no agent.yaml says what is in force.
    """

    def __init__(self, place: Place, policy: Path | None, env: Mapping[str, str], cwd: Path) -> None:
        self.place = place
        self._env = dict(env)
        self._mode = env.get("VENTURALITICA_AUDIT") or "auto"
        if self._mode not in MODES:
            raise ConfigError(
                "is no way to audit",
                subject=f"VENTURALITICA_AUDIT={self._mode[:50]}",
                remedy=f"use {', '.join(MODES)}, off",
            )
        if policy is not None and not (cwd / "agent.yaml").exists():
            self._env.setdefault("VENTURALITICA_POLICIES", str(policy))
        meant = store_settings(place, cwd)
        self._settings = load_settings(None, env=self._env, cwd=cwd, meant=[meant])
        given = next(s for s in self._settings.stores if (s.kind, s.uri) == (meant.kind, meant.uri))
        for name, value in self._settings.environment.items():
            os.environ.setdefault(name, value)
        only = replace(self._settings, stores=(given,))
        ((_, self.store),) = open_configured(only, WandbServer(self._settings), ())

    def ended(self) -> RunRef | None:
        """The run if it ended; a store that is away is asked again."""
        try:
            ref = self.store.look(self.place.run_id)
        except RetryableError:
            return None
        return ref if ref is not None and ref.status.ended else None

    def verdict(self, ref: RunRef) -> str:
        """Have the ended run audited, by whoever is to do that, and say what came of it."""
        while True:
            watching = [s for s in running(services_folder(self._env)) if self.store.id in s.stores]
            if self._mode == "agent" or (self._mode == "auto" and watching):
                return self._await(ref, watching)
            try:
                return self._audit()
            except EngineBusy:
                time.sleep(0.5)  # another pass over the same state; what it decides stands for us too

    def _audit(self) -> str:
        outcome = run_once(Agent(self._own()), [self.place.run_id])
        mine = [v for v in outcome.verdicts if v.store == self.store.id]
        if not mine:
            why = [reason for _, reason in outcome.without] or ["no rule selects it"]
            return f"not audited: {why[0]}"
        return self._told(link=mine[0].link)

    def _own(self) -> Settings:
        """The settings; with a state of its own where a service that doesn't watch this store holds the usual one."""
        settings = self._settings
        if self.place.kind == "folder" and settings.file is None:
            settings = replace(settings, settle=0.0)  # nothing comes after the end of a run that we ended ourselves
        shown = _shown(settings.state)
        if any(s.state == shown and self.store.id not in s.stores for s in running(services_folder(self._env))):
            settings = replace(settings, state=f"sqlite:///{settings.folder / '.venturalitica' / 'companion.db'}")
        return settings

    def _await(self, ref: RunRef, watching: list[Running]) -> str:
        """What the agent that watches this store made of the run."""
        deadline = time.monotonic() + _LEFT_ALONE
        with _ledger_of(watching) as entry_of:
            while time.monotonic() < deadline:
                entry = entry_of(ref)
                if entry is not None and entry.phase in _CLOSED and entry.ref.revision == ref.revision:
                    if entry.phase is Phase.DONE:
                        return self._told()
                    return f"not audited by the agent that watches this store: {entry.reason}"
                if entry is None and self._since(ref):
                    return self._told()
                if watching and not any(s in watching for s in running(services_folder(self._env))):
                    return self.verdict(ref)  # it stopped
                time.sleep(0.2 if watching else 1.0)
        return f"no verdict yet from the agent that watches {self.store.uri}; it will be on the run"

    def _since(self, ref: RunRef) -> bool:
        """Whether the tags on the run are of a verdict that was given after this end of it."""
        try:
            tags = self.store.get_tags(self.place.run_id)
            when = datetime.fromisoformat(tags["venturalitica.audited_at"]).timestamp()
        except (AgentError, KeyError, ValueError):
            return False
        return "venturalitica.status" in tags and when >= (ref.end_time or 0) // 1000

    def _told(self, link: str = "") -> str:
        """The verdict as it stands on the run: what anybody else will see."""
        tags = self.store.get_tags(self.place.run_id)
        status, policy = tags.get("venturalitica.status", "no verdict"), tags.get("venturalitica.policy", "")
        evidence = tags.get("venturalitica.evidence", "")
        folder = f"{self.place.uri}/{self.place.run_id}/artifacts/{evidence.rpartition('/')[0]}"
        link = self.place.link or link or (folder if self.place.kind == "folder" else f"run {self.place.run_id}")
        reasons = self._reasons(evidence, status)
        words = f": {reasons}" if reasons else ""
        return clean(f"{status} ({policy}){words} — {link}")

    def _reasons(self, evidence: str, status: str) -> str:
        """The findings that made the status what it is: all ids, and the first one's sentence."""
        try:
            findings = json.loads(self.store.read_file(self.place.run_id, evidence))["verdict"]["findings"]
            said = [f for f in findings if f["status"] == status and f["enforcement"] != "report"]
            if status == "pass" or not said:
                return f"{len(said)} of {len(findings)} controls" if status == "pass" else ""
            sentence = " ".join(str(said[0]["sentence"]).split()).partition(". ")[0]
            short = sentence if len(sentence) <= _LONGEST_SENTENCE else f"{sentence[: _LONGEST_SENTENCE - 1]}…"
            others = ", ".join(str(f["control"]) for f in said[1:6])
            return f"{said[0]['control']}: {short}" + (f" Also: {others}" if others else "")
        except (AgentError, ValueError, KeyError, TypeError):
            return ""  # the tags have said it all the same


def store_settings(place: Place, cwd: Path) -> StoreSettings:
    """The run's store as `stores:` of agent.yaml would name it."""
    if place.kind == "mlflow":
        return tracking_store(mlflow_uri(Scalar(place.uri, place.uri), cwd))
    if place.kind == "wandb":
        return StoreSettings("wandb", place.uri, poll=30.0)
    return StoreSettings(place.kind, os.path.normpath(cwd / place.uri))


def _shown(state: str) -> str:
    return sa.make_url(state).render_as_string(hide_password=True)


@contextmanager
def _ledger_of(watching: list[Running]) -> Iterator[Callable[[RunRef], Entry | None]]:
    """Looks a run up in the state of the service that watches, where that is a file that we may read."""
    url = next((s.state for s in watching if s.state.startswith("sqlite:")), "")
    if not url:
        yield lambda _: None
        return
    try:
        state = open_state(url)
    except ConfigError:
        yield lambda _: None
        return
    ledger = Ledger(state)
    try:
        yield lambda ref: ledger.get(ref.store, ref.run_id)
    finally:
        state.dispose()


class Beside:
    """Keeps vigil for every run that it is told of.

    Args:
        answer: called with a place and what came of it.
    """

    def __init__(self, answer: Callable[[Place, str], None], *, env: Mapping[str, str], cwd: Path) -> None:
        self._answer = answer
        self._env = env
        self._cwd = cwd
        self._news: queue.Queue[dict[str, Any] | None] = queue.Queue()

    def tell(self, message: dict[str, Any] | None) -> None:
        """One message of the training process; None when it is gone."""
        self._news.put(message)

    def run(self) -> None:
        """Returns once the training process is gone and no run is left to wait for."""
        open_vigils: list[Vigil] = []
        pause, orphaned = _LONGEST_PAUSE, None
        while True:
            try:
                message = self._news.get(timeout=pause if open_vigils else None)
            except queue.Empty:
                pause = min(_LONGEST_PAUSE, pause * 1.2)
            else:
                pause = 0.05
                if message is None:
                    orphaned = time.monotonic()
                elif "place" in message and (vigil := self._vigil(message)) is not None:
                    open_vigils.append(vigil)
                    pause = _PAUSES[vigil.place.kind]
            for vigil in list(open_vigils):
                if (ref := vigil.ended()) is not None:
                    open_vigils.remove(vigil)
                    self._close(vigil, ref)
            if orphaned is not None and (not open_vigils or time.monotonic() - orphaned > _ORPHANED):
                for vigil in open_vigils:
                    self._answer(vigil.place, "not audited yet: the training process is gone and its run never ended")
                return

    def _vigil(self, message: dict[str, Any]) -> Vigil | None:
        place, policy = Place(**message["place"]), message["policy"]
        try:
            return Vigil(place, Path(policy) if policy else None, self._env, self._cwd)
        except AgentError as error:
            self._answer(place, f"not audited: {_one_line(error)}")
            return None

    def _close(self, vigil: Vigil, ref: RunRef) -> None:
        try:
            line = vigil.verdict(ref)
        except AgentError as error:
            line = f"not audited: {_one_line(error)}"
        self._answer(vigil.place, line)


def _one_line(error: AgentError) -> str:
    return clean(" ".join(str(error.diagnostics()).split()))[:1000]


def main() -> None:
    """Speaks the protocol on what are standard input and output now; whoever prints later prints into the log."""
    configure(as_json=True)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(place: Place, line: str) -> None:
        print(f"{place.kind} run {place.run_id}: {line}", file=sys.stderr, flush=True)
        try:
            print(json.dumps({"place": asdict(place), "line": line}), file=answers, flush=True)
        except BrokenPipeError:
            return  # nobody waits any more; the log has it, and the run

    beside = Beside(answer, env=os.environ, cwd=Path.cwd())

    def listen() -> None:
        for line in sys.stdin:
            beside.tell(json.loads(line))
        beside.tell(None)

    threading.Thread(target=listen, name="listen", daemon=True).start()
    beside.run()


if __name__ == "__main__":
    main()
