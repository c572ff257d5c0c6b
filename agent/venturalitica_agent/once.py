"""One pass over what is due, for a person or for CI: scan, audit until nothing is left, say how it went."""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from urllib.parse import unquote

from venturalitica_agent.agent import Agent
from venturalitica_agent.domain.ledger import Entry, Phase
from venturalitica_agent.domain.run import RunRef
from venturalitica_agent.domain.verdict import STALE, Status, worst
from venturalitica_agent.errors import ConfigError, RetryableError
from venturalitica_agent.state.records import AuditRecord
from venturalitica_agent.stores.base import Store

_OPEN = (Phase.SETTLING, Phase.DUE, Phase.CLAIMED)
_RESCUE_EVERY = 10.0
_PATIENCE = 3  # attempts on a store that is away before a single pass leaves a run to the next one


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass came to.

    Attributes:
        late: the time given to it was over before every run had a verdict.
        final: waiting longer would change nothing.
        verdicts: the present verdicts of the runs that were asked for, or of every run that the rules select.
        without: (run id, reason) of asked-for or due runs that have none.
        down: (store, reason) of stores that did not answer.
    """

    verdicts: tuple[AuditRecord, ...]
    without: tuple[tuple[str, str], ...]
    down: tuple[tuple[str, str], ...]
    audited: int
    late: bool = False
    final: bool = True

    @property
    def exit_code(self) -> int:
        """0 everything evaluated passes (or warns), 1 a verdict is `fail`, 3 no verdict, 4 none in time."""
        statuses = [Status(v.status) for v in self.verdicts if v.status != STALE]
        if Status.FAIL in statuses:
            return 1
        if self.late:
            return 4
        stale = len(statuses) < len(self.verdicts)
        if self.without or self.down or stale or worst(statuses) not in (Status.PASS, Status.WARN):
            return 3
        return 0


def run_once(
    agent: Agent,
    runs: Sequence[str] = (),
    *,
    until: float = math.inf,
    on_progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Pass:
    """Audit what is due (or just `runs`) and wait for it; `on_progress(done, total)` is called along the way.

    Args:
        until: by the monotonic clock, when to leave what is open to the next pass.

    Raises:
        ConfigError: one of `runs` is in no store.
        EngineBusy: a service works on the same state.
    """
    moved = threading.Event()
    agent.on_progress = moved.set
    agent.open()
    try:
        began = time.time()
        agent.rescue()
        wanted, down = (asked(agent, runs), []) if runs else _scan(agent)
        agent.auditor.reconsider(wanted)
        if wanted is not None:
            agent.auditor.ask_again(wanted)
        if due := sum(_in(wanted, e) for phase in _OPEN for e in agent.ledger.in_phase(phase)):
            # The sandbox's worker imports for a second or two; so does MLflow's client. Let them do it side by side.
            threading.Thread(target=agent.prepare, args=(due,), name="prepare", daemon=True).start()
        entries = _drain(agent, wanted, moved, until, on_progress)
        agent.promote()
        done = _outcome(agent, wanted, entries, tuple(down), began)
        return replace(done, late=bool(entries) and time.monotonic() >= until)
    finally:
        agent.close()


def run_named(text: str, *, words: bool) -> tuple[str, str]:
    """(run id, W&B's `entity/project` or "") in what a person pastes: an id, `runs:/<id>`, or a link of a tracker.

    Args:
        words: whether an id may be any word, as on W&B; MLflow's are 32 hex characters.
    """
    if found := re.findall(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])", text):
        return str(found[-1]), ""
    if words and (link := re.search(r"([^/\s]+/[^/\s]+)/(?:runs/)?([\w.-]+)(?:[/?#].*)?$", text.strip())):
        return link[2], unquote(link[1])
    if words and re.fullmatch(r"[\w.-]{1,128}", text.strip()):
        return text.strip(), ""
    raise ConfigError(
        "this names no run",
        subject=text[:200],
        remedy="give a run id (MLflow: 32 hex characters), `runs:/<id>`, entity/project/<id> or its link",
    )


def asked(agent: Agent, runs: Sequence[str]) -> set[tuple[str, str]]:
    """(store, run id) of the runs that a person named, which the ledger knows from now on.

    Raises:
        ConfigError: one of them is in no store.
    """
    found = set()
    for run in runs:
        run_id, project = run_named(run, words=any(s.kind != "mlflow" for s in agent.settings.stores))
        refs = _look(agent.stores.values(), run_id, project) or _look(agent.discover(), run_id, project)
        if not refs:
            raise ConfigError(
                "no store of agent.yaml has this run",
                subject=run_id,
                remedy="check the id, and that `stores:` names the store it is in",
            )
        agent.reconciler.seen(refs)
        found |= {(ref.store, ref.run_id) for ref in refs}
    return found


def _look(stores: Iterable[Store], run_id: str, project: str) -> list[RunRef]:
    meant = [store for store in stores if not project or store.uri.endswith(f"/{project}")]
    return [ref for store in meant if (ref := store.look(run_id)) is not None]


def _scan(agent: Agent) -> tuple[None, list[tuple[str, str]]]:
    down = []
    try:
        agent.discover()
    except RetryableError as error:
        down.append((error.subject, error.what))
    for store in list(agent.stores.values()):
        try:
            store.ping()
            agent.reconciler.sweep(store, backlog=True)
        except RetryableError as error:
            agent.records.store_down(store.id, store.uri, error.what, error.remedy, now=time.time())
            down.append((store.uri, error.what))
        else:
            agent.records.store_up(store.id, store.uri, now=time.time(), scanned=True)
    return None, down


def _drain(
    agent: Agent,
    wanted: set[tuple[str, str]] | None,
    moved: threading.Event,
    until: float,
    on_progress: Callable[[int, int], None],
) -> list[Entry]:
    """Claim and wait until nothing that is wanted is open; returns the entries that stayed open."""
    total = 0
    before = {e.ref.run_id: e.attempts for phase in _OPEN for e in agent.ledger.in_phase(phase)}
    rescued_at = time.monotonic()
    while True:
        moved.clear()
        if time.monotonic() - rescued_at > _RESCUE_EVERY:
            agent.rescue()
            rescued_at = time.monotonic()
        agent.auditor.settle()
        agent.auditor.claim(agent.engine, only=wanted)
        left = [e for phase in _OPEN for e in agent.ledger.in_phase(phase) if _in(wanted, e)]
        working = [
            e
            for e in left
            if e.phase is not Phase.DUE or e.attempts - before.get(e.ref.run_id, 0) - e.failures < _PATIENCE
        ]
        total = max(total, len(left))
        on_progress(total - len(left), total)
        if not working or time.monotonic() >= until:
            return left
        next_moment = min((e.ready_at for e in working if e.phase is not Phase.CLAIMED), default=None)
        pause = 1.0 if next_moment is None else min(1.0, max(0.01, next_moment - time.time()))
        moved.wait(max(0.0, min(pause, until - time.monotonic())))


def _in(wanted: set[tuple[str, str]] | None, entry: Entry) -> bool:
    return wanted is None or (entry.ref.store, entry.ref.run_id) in wanted


def _outcome(
    agent: Agent,
    wanted: set[tuple[str, str]] | None,
    left: Sequence[Entry],
    down: tuple[tuple[str, str], ...],
    began: float,
) -> Pass:
    records = [r for r in agent.records.latest() if r.store in agent.stores]
    without = [(e.ref.run_id, e.reason or "not audited yet") for e in left]
    stuck = [e for e in agent.ledger.in_phase(Phase.STUCK) if _in(wanted, e)]
    without += [(e.ref.run_id, e.reason) for e in stuck]
    if wanted is not None:
        records = [r for r in records if (r.store, r.run_id) in wanted]
        told = {r.run_id for r in records} | {run for run, _ in without}
        for store, run_id in sorted(wanted):
            entry = agent.ledger.get(store, run_id)
            if run_id not in told and entry is not None:
                without.append((run_id, entry.reason or f"its phase is {entry.phase.value}"))
    audited = sum(r.tagged_at >= began for r in records)
    return Pass(tuple(records), tuple(without), down, audited)
