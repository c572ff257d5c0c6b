"""Turns what is due into verdicts: plans, claims, executes, tries again, gives up with a reason. Used by the service,
which never stops, and by `audit`, which stops when nothing is left."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import date
from typing import Any

from venturalitica_agent import pipeline
from venturalitica_agent.claim.engine import Engine, Step
from venturalitica_agent.claim.plan import Rulebook, candidates, of_experiment, tasks
from venturalitica_agent.claim.rescue import rescue
from venturalitica_agent.detect.reconcile import Reconciler
from venturalitica_agent.domain.codec import from_plain, to_plain
from venturalitica_agent.domain.history import superseded
from venturalitica_agent.domain.job import AuditJob
from venturalitica_agent.domain.ledger import MAX_FAILURES, Entry, Phase, again
from venturalitica_agent.domain.run import RunRef
from venturalitica_agent.domain.verdict import Status, counts_tag
from venturalitica_agent.errors import (
    AgentError,
    Away,
    PermanentError,
    RecordUnreadable,
    RetryableError,
    RunChanged,
    RunGone,
    SandboxClosed,
    StateUnavailable,
)
from venturalitica_agent.logging import get_logger
from venturalitica_agent.policy.waivers import Waivers, day_of, notices
from venturalitica_agent.state.dialects import is_away
from venturalitica_agent.state.ledger import Ledger
from venturalitica_agent.stores.base import Store

log = get_logger(__name__)


def _pause(attempts: int) -> float:
    """Seconds before the next attempt: 2, 4, 8, … up to five minutes, and up to a quarter less, so that what failed
    together is not tried again all at once."""
    return float(min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(attempts, 8))) * random.uniform(0.75, 1.0)


def _key(entry: Entry) -> tuple[str, str]:
    return entry.ref.store, entry.ref.run_id


def _started(ref: RunRef) -> float | None:
    """Seconds since the epoch, by the clock of the run's client."""
    return None if ref.start_time is None else ref.start_time / 1000


def _is_over(entry: Entry, job: AuditJob) -> bool:
    """Whether the run has moved on since the job was made: another machine took the job over and ended it."""
    if entry.phase is Phase.CLAIMED:
        return entry.job not in ("", job.id)
    return entry.attempts > job.attempt or (entry.phase is Phase.DONE and entry.audited_revision == job.revision)


_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 300.0
_BATCH = 500
_NAMES_LAST = 60.0


class Auditor:
    """Moves ledger entries from due to done.

    Args:
        book: the rules and the policies' histories, as they are at the moment of asking.
        aside: why a run is not audited whatever the rules say; empty for every other run.
        on_progress: called (from any thread) whenever an entry moved.
        notices: whether this process is the one that looks at the stores. Another one doesn't say of a run that it is
            gone: what it can't see may well be there.
    """

    def __init__(
        self,
        *,
        stores: Mapping[str, Store],
        ledger: Ledger,
        reconciler: Reconciler,
        book: Callable[[], Rulebook],
        world: pipeline.World,
        aside: Callable[[RunRef], str] = lambda _: "",
        on_progress: Callable[[], None] = lambda: None,
        notices: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._notices = notices
        self._stores = stores
        self._ledger = ledger
        self._reconciler = reconciler
        self._book = book
        self._world = world
        self._telemetry = world.telemetry
        self._aside = aside
        self._ending = False
        self._on_progress = on_progress
        self._clock = clock
        self._experiments: dict[str, tuple[float, Mapping[str, str]]] = {}
        self._minded: tuple[Waivers, date] | None = None

    # -- claiming -------------------------------------------------------------------------------------------
    def claim(
        self, engine: Engine, *, only: Collection[tuple[str, str]] | None = None, width: int | None = None
    ) -> int:
        """Hand as many due runs to the engine as it has room for; returns how many entries moved.

        Args:
            only: (store, run id) pairs to restrict it to.
            width: how many jobs run at once, where that is not the engine's own number.
        """
        moved = 0
        while True:
            room = 2 * (width or engine.width) - len(self._ledger.in_phase(Phase.CLAIMED))
            due = self._ledger.due(self._clock(), limit=_BATCH, only=only) if room > 0 else []
            ignored: list[tuple[Entry, Entry]] = []
            before = moved
            for entry in due:
                if room <= 0:
                    break
                job, aside = self._plan_or_aside(entry)
                if job is not None:
                    moved += self._submit(engine, entry, job)
                    room -= 1
                elif aside.phase is Phase.IGNORED:
                    ignored.append((entry, aside))
                else:
                    moved += self._ledger.swap([(entry, aside)], now=self._clock())
            self._ledger.swap(ignored, now=self._clock())  # thousands of them at a first start: one transaction
            moved += len(ignored)
            if room <= 0 or len(due) < _BATCH or moved == before:
                return moved

    def _plan_or_aside(self, entry: Entry) -> tuple[AuditJob | None, Entry]:
        """The job for a due run; without one the entry as it is to be put aside, with the reason."""
        try:
            job, why_not = self._plan(entry)
        except RunGone as error:
            return None, replace(entry, phase=Phase.GONE, reason=error.what)
        except RetryableError as error:
            ready_at = self._clock() + max(error.pause, _pause(entry.attempts))
            return None, replace(entry, attempts=entry.attempts + 1, ready_at=ready_at, reason=error.what)
        except AgentError as error:
            return None, replace(entry, phase=Phase.STUCK, reason=str(error.diagnostics()))
        return job, replace(entry, phase=Phase.IGNORED, reason=why_not)

    def _submit(self, engine: Engine, entry: Entry, job: AuditJob) -> bool:
        # The job first, the ledger second: a crash in between enqueues the same id again, which changes nothing.
        engine.submit(job.id, to_plain(AuditJob, job))
        log.info("audit.claimed", run=entry.ref.run_id, job=job.id, attempt=job.attempt)
        return self._ledger.move(entry, Phase.CLAIMED, now=self._clock(), job=job.id)

    def _plan(self, entry: Entry) -> tuple[AuditJob | None, str]:
        ref = entry.ref
        store = self._stores.get(ref.store)
        if store is None:
            return None, "its store is no longer in agent.yaml"
        if why_not := self._aside(ref):
            return None, why_not
        book = self._book()
        found = candidates(book.rules, experiment=self._experiment(store, ref.experiment_id), status=ref.status)
        if not found.rules:
            return None, found.why_not
        tags = store.get_tags(ref.run_id) if found.need_tags else {}
        wanted = tasks(found.rules, book.history, tags, started=_started(ref))
        if not wanted:
            return None, "no entry of `audits` selects this run's tags"
        give_up = ""
        if entry.failures >= MAX_FAILURES:
            give_up = f"the audit failed with: {entry.reason}"
        job = AuditJob(
            ref.store,
            ref.run_id,
            ref.revision,
            wanted,
            attempt=entry.attempts,
            give_up=give_up,
            unfinished=entry.attempts > 0 and (bool(entry.reason) or entry.audited_revision != ref.revision),
        )
        return job, ""

    def _experiment(self, store: Store, experiment_id: str) -> str:
        """The experiment's name, at most a minute old (they can be renamed).

        Raises:
            RecordUnreadable: the store lists no such experiment: it is being made or deleted just now.
        """
        now = self._clock()
        asked_at, names = self._experiments.get(store.id, (0.0, {}))
        age = abs(now - asked_at)  # also of names that were asked for by a clock that was then set back
        if age > _NAMES_LAST or (experiment_id not in names and age > 1.0):
            asked_at, names = self._experiments[store.id] = now, store.experiments()
        if experiment_id not in names:
            raise RecordUnreadable(
                f"the store doesn't list experiment {experiment_id}", subject=store.uri, remedy="it is tried again"
            )
        return names[experiment_id]

    def selects(self, store: Store, experiment_id: str) -> bool:
        """Whether any rule looks at this experiment; True when the store can't say just now."""
        try:
            name = self._experiment(store, experiment_id)
        except RetryableError:
            return True
        return bool(of_experiment(self._book().rules, name))

    # -- executing ------------------------------------------------------------------------------------------
    def execute(self, plain: dict[str, Any], step: Step) -> None:
        """What the engine runs: one job, from its start or from where a crash left it. Never raises."""
        job = from_plain(AuditJob, plain)
        try:
            self._execute(job, step)
        except StateUnavailable as error:  # nothing can be noted, also not that: the rescue takes it up again
            log.warning("audit.not_noted", run=job.run_id, reason=error.what, remedy=error.remedy)
        self._on_progress()

    def _execute(self, job: AuditJob, step: Step) -> None:
        started = time.perf_counter()
        try:
            with self._telemetry.stage("audit", store=job.store, run_id=job.run_id, job=job.id):
                decisions = pipeline.audit(job, step, self._world)
        except (RunChanged, RunGone) as error:
            self._look_again(job, error)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the run must get a verdict or a reason
            if self._ending or isinstance(error, SandboxClosed):
                # Nothing is noted: the job is still claimed, and whoever has the state next goes on with it.
                log.info("audit.released", run=job.run_id, job=job.id)
            else:
                # Asks whether the job is still ours: where another machine took it over, this ends here.
                step("failed", lambda: None)
                self._failed(job, error, counts=not (isinstance(error, Away) or is_away(error)))
        else:
            for decision in decisions:
                log.info(
                    "audit.published",
                    run=job.run_id,
                    name=decision.run_facts["name"],
                    policy=f"{decision.verdict.policy}@{decision.verdict.version}",
                    status=decision.verdict.status.value,
                    counts=counts_tag(decision.verdict.counts),
                    seconds=round(time.perf_counter() - started, 3),
                )
            self._done(job)

    def release(self) -> None:
        """The service ends or reloads: what goes wrong with the jobs in hand says nothing of them from now on."""
        self._ending = True

    def _done(self, job: AuditJob) -> None:
        entry = self._ledger.get(job.store, job.run_id)
        if not self._move(job, Phase.DONE, audited_revision=job.revision, reason=job.give_up) or entry is None:
            return
        ended = entry.ref.end_time
        if entry.live and ended is not None and entry.audited_revision != job.revision:
            self._telemetry.delayed(self._clock() - ended / 1000)

    def _move(self, job: AuditJob, phase: Phase, **changes: Any) -> bool:
        """Move the run's entry on, whether the claim was already noted or not, unless a newer revision took over."""
        now = self._clock()
        for _ in range(3):
            entry = self._ledger.get(job.store, job.run_id)
            if entry is None or entry.ref.revision != job.revision or _is_over(entry, job):
                return False
            if self._ledger.move(entry, phase, now=now, **changes):
                return True
        return False

    def _look_again(self, job: AuditJob, error: AgentError) -> None:
        log.info("audit.superseded", run=job.run_id, reason=error.what)
        try:
            ref = self._stores[job.store].look(job.run_id)
        except RetryableError:
            self._again(job, error)
            return
        if (ref is None or ref.deleted) and self._notices():
            self._move(job, Phase.GONE, reason="deleted in the store")
        elif ref is None or not self._notices():  # only who notices runs can say that it is gone, or what it is now
            self._again(job, error)
        elif (
            ref.revision == job.revision
        ):  # gone and back; or noticed, and not to be read, which must not go on for ever
            self._failed(job, RecordUnreadable(error.what, subject=error.subject, remedy=error.remedy), counts=True)
        else:
            self._reconciler.seen([ref])

    def _again(self, job: AuditJob, error: AgentError) -> None:
        ready_at = self._clock() + _pause(job.attempt)
        self._move(job, Phase.DUE, attempts=job.attempt + 1, ready_at=ready_at, reason=error.what)

    def _failed(self, job: AuditJob, error: Exception, *, counts: bool) -> None:
        words = error.what if isinstance(error, AgentError) else f"{type(error).__name__}: {error}"
        if job.give_up:
            log.error("audit.stuck", run=job.run_id, reason=words)
            self._move(job, Phase.STUCK, reason=f"not even an error could be written back: {words}"[:1000])
            return
        entry = self._ledger.get(job.store, job.run_id)
        failures = (entry.failures if entry else 0) + counts
        if isinstance(error, PermanentError):
            failures = MAX_FAILURES  # the same again would fail again
        asked = error.pause if isinstance(error, RetryableError) else 0.0
        pause = 0.0 if failures >= MAX_FAILURES else max(asked, _pause(job.attempt))
        self._move(
            job,
            Phase.DUE,
            attempts=job.attempt + 1,
            failures=failures,
            ready_at=self._clock() + pause,
            reason=words[:1000],
        )
        self._telemetry.retried(type(error).__name__)
        unexpected = not isinstance(error, AgentError)
        log.warning("audit.retry", run=job.run_id, reason=words, pause=pause, exc_info=error if unexpected else None)

    # -- upkeep ---------------------------------------------------------------------------------------------
    def settle(self) -> int:
        """Make due what has been quiet long enough; returns how many."""
        return len(self._reconciler.settle_due(self._stores.get))

    def hasten(self) -> None:
        """The clock was set back: what waits until a moment of before waits no longer than it would from now on."""
        self._ledger.hasten(self._clock(), settle=self._reconciler.settle, pause=_LONGEST_PAUSE)

    def rescue(self, engine: Engine) -> int:
        """Free claims whose job is dead; returns how many."""
        return rescue(self._ledger, engine.status, now=self._clock())

    def reconsider(self, only: Collection[tuple[str, str]] | None = None) -> int:
        """Plan again what the present configuration may treat otherwise; returns how many runs are due by it.

        That is every run that was ignored, and every run whose job would be another one now and whose verdict is
        `error` (a binding or a data source was changed), or is of a version that another one takes the place of.
        """
        now = self._clock()
        wanted = set(only) if only is not None else None
        again = [e for e in self._ledger.in_phase(Phase.IGNORED) if wanted is None or _key(e) in wanted]
        unsettled: set[tuple[str, str]] = set()
        versions: dict[tuple[str, str], dict[str, str]] = {}
        for record in self._world.records.latest():
            run = record.store, record.run_id
            versions.setdefault(run, {})[record.policy] = record.policy_digest
            if record.status == Status.ERROR:
                unsettled.add(run)
        for entry in self._ledger.in_phase(Phase.DONE):
            key = _key(entry)
            open_again = key in unsettled or self._superseded(entry.ref, versions.get(key, {}))
            if open_again and (wanted is None or key in wanted) and self._replanned(entry):
                again.append(entry)
        return sum(self._due_again(entry, now) for entry in again) + self.mind_waivers(wanted)

    def mind_waivers(self, only: Collection[tuple[str, str]] | None = None) -> int:
        """Make due the runs whose verdict waives something that counts no longer, or not what counts now.

        Looks once for each day and each file of waivers, and says then which are over or end soon.
        """
        waivers, now = self._world.waivers(), self._clock()
        today = day_of(now)
        if self._minded == (waivers, today):
            return 0
        done = {_key(e): e for e in self._ledger.in_phase(Phase.DONE) if only is None or _key(e) in only}
        again = {}
        for record in self._world.records.latest():
            run = record.run_id, record.run_name, record.experiment
            entry = done.get((record.store, record.run_id))
            concerned = not record.counts.endswith(" x0") or waivers.on(record.policy, *run, today)
            if entry is None or not concerned:
                continue
            verdict = self._world.records.decision_of(record).verdict
            if not waivers.agree(verdict, *run, today) and self._is_under(entry, record.policy):
                again[_key(entry)] = entry
        for notice in notices(waivers.items, today):
            log.warning("waiver.ends", reason=notice)
        self._minded = waivers, today
        return sum(self._due_again(entry, now) for entry in again.values())

    def _is_under(self, entry: Entry, policy_id: str) -> bool:
        try:
            job, _ = self._plan(entry)
        except AgentError:
            return False
        return job is not None and any(self._world.policy_of(task.policy).id == policy_id for task in job.tasks)

    def _superseded(self, ref: RunRef, digests: Mapping[str, str]) -> bool:
        """Whether a verdict of the run (policy id -> digest) is of another version than the one that now claims it."""
        terms = self._book().history
        return any(superseded(terms[name], digest, _started(ref)) for name, digest in digests.items() if name in terms)

    def ask_again(self, wanted: Collection[tuple[str, str]]) -> int:
        """Make due what has a verdict already: somebody asked for these runs by name. Returns how many.

        Where nothing changed the verdict stands, with its time and its bytes.
        """
        now = self._clock()
        return sum(self._due_again(e, now) for e in self._ledger.in_phase(Phase.DONE) if _key(e) in wanted)

    def _due_again(self, entry: Entry, now: float) -> bool:
        return self._ledger.move(entry, Phase.DUE, now=now, **again(entry, now=now))

    def _replanned(self, entry: Entry) -> bool:
        try:
            job, _ = self._plan(entry)
        except AgentError:
            return False
        return job is not None and job.id != entry.job
