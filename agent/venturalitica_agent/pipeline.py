"""The data's way, on one page: fetch, evaluate, attest, publish. Stages don't know each other; this does.

Three things are durable: the decision, its entry in the log, and that it was published. Everything before a decision
can be repeated, and everything after it follows from it, so a crash at any moment ends in the same evidence, once.
"""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from venturalitica_agent import __version__
from venturalitica_agent.attest.bundle import build_bundle
from venturalitica_agent.attest.notary import Notary
from venturalitica_agent.domain.codec import from_plain, to_plain
from venturalitica_agent.domain.evidence import Decision, EvidenceBundle, Published, audit_id
from venturalitica_agent.domain.job import AuditJob, AuditTask
from venturalitica_agent.domain.policy import Policy
from venturalitica_agent.domain.run import Run
from venturalitica_agent.domain.subject import Problem, Subject
from venturalitica_agent.domain.verdict import Measurement, Unmeasured, Verdict
from venturalitica_agent.errors import PermanentError, RunChanged
from venturalitica_agent.measuring import measure_run
from venturalitica_agent.policy.waivers import Waivers, day_of
from venturalitica_agent.publish.writeback import publish, rfc3339
from venturalitica_agent.state.records import Records
from venturalitica_agent.stores.base import Store
from venturalitica_agent.telemetry import SILENT, Telemetry

if TYPE_CHECKING:
    from venturalitica_agent.fetch.cache import Cache
    from venturalitica_agent.sandbox.launcher import Sandbox

_MOMENT = 0.001  # seconds

Step = Callable[[str, Callable[[], Any]], Any]


@dataclass(frozen=True, slots=True)
class World:
    """What the pipeline works with.

    Attributes:
        store_of: the store behind an id. policy_of: the policy behind a digest.
        roots_of: the local folders that dataset files of a store's runs may be read from.
        sandbox_facts: tier and profile, as proven by the canary; empty when there is no sandbox.
    """

    store_of: Callable[[str], Store]
    policy_of: Callable[[str], Policy]
    records: Records
    notary: Notary
    cache: Cache
    sandbox: Sandbox
    roots_of: Callable[[str], Sequence[Path]] = lambda _: ()
    sandbox_facts: Callable[[], Mapping[str, str]] = dict
    clock: Callable[[], float] = time.time
    waivers: Callable[[], Waivers] = Waivers
    telemetry: Telemetry = SILENT


def audit(job: AuditJob, step: Step, world: World) -> list[Decision]:
    """Audit one revision of one run under every policy of the job, and write the verdicts back.

    Raises:
        RunChanged, RunGone: there is nothing to audit any more under this revision.
        RetryableError: a store, a lock or the disk is away; the same job may succeed later.
    """
    store = world.store_of(job.store)
    run = store.get_run(job.run_id)
    if run.ref.revision != job.revision:
        raise RunChanged("the run has a newer revision than the one that was due", subject=f"run {job.run_id}")
    policies = [world.policy_of(task.policy) for task in job.tasks]
    decided: list[tuple[Decision, EvidenceBundle]] = []
    for task, policy in zip(job.tasks, policies, strict=True):

        def decide(task: AuditTask = task, policy: Policy = policy) -> Any:
            return to_plain(Decision, _decide(job, task, policy, run, store, world))

        decision = from_plain(Decision, step(f"decide {policy.id}", decide))
        # Not a step: the log itself is what lasts, and returns the same signature and proof for the same evidence.
        with world.telemetry.stage("attest", policy=policy.ref):
            bundle = evidence_of(decision, policy, policies, run, store, world.notary, since=task.since)
        decided.append((decision, bundle))

    def write_back() -> Any:
        with world.telemetry.stage("publish"):
            tags = publish(store, run, decided)
        status = tags["venturalitica.status"]
        # Later than all before it, whatever the clock says: which verdict counts is told by that.
        now = max(world.clock(), world.records.last_published(job.store, job.run_id) + _MOMENT)
        done = Published(status=status, tags=tags, link=store.run_link(run), tagged_at=now)
        return to_plain(Published, done)

    published = from_plain(Published, step("publish", write_back))
    for decision, bundle in decided:
        world.records.keep_audit(run, decision, bundle, published, now=max(world.clock(), published.tagged_at))
        world.telemetry.published(
            decision.verdict.policy, decision.verdict.status.value, sum(map(len, bundle.files.values()))
        )
    return [decision for decision, _ in decided]


def evidence_of(
    decision: Decision,
    policy: Policy,
    policies: Sequence[Policy],
    run: Run,
    store: Store,
    notary: Notary,
    *,
    since: float | None,
) -> EvidenceBundle:
    """The evidence of a decision, signed and logged; the same again for the same decision.

    Args:
        policies: every policy that decided about the run together with this one.
        since: when this version of the policy first came into force, by our clock; None when that isn't known.
    """
    shared = sum(other.file_name == policy.file_name for other in policies) > 1
    name = f"{policy.id}.{policy.file_name}" if shared else policy.file_name
    bundle = build_bundle(decision, policy, link=store.run_link(run), snapshot_name=name)
    return notary.attest(decision, policy, bundle, since=since)


def _decide(job: AuditJob, task: AuditTask, policy: Policy, run: Run, store: Store, world: World) -> Decision:
    """Fetch what the policy looks at, measure, judge. Repeating it gives the same verdict."""
    from venturalitica_agent.evaluate.integrity import integrity_findings
    from venturalitica_agent.evaluate.judge import judge

    if job.give_up:
        subject, results = Subject(problems={"audit": Problem(job.give_up)}), _gave_up(policy, job.give_up)
        notes: tuple[str, ...] = ()
    else:
        subject, results, notes = measure_run(
            task,
            policy,
            run,
            store,
            world.cache,
            world.sandbox,
            roots=world.roots_of(store.id),
            in_force={task.policy for task in job.tasks},
            telemetry=world.telemetry,
        )
    now = world.clock()
    if task.since is not None and now < task.since:
        notes += (f"this machine's clock was set back: it showed {rfc3339(now)}, before the policy came into force",)
        now = math.ceil(task.since)
    waivers = world.waivers()
    waived = waivers.on(policy.id, run.ref.run_id, run.name, run.experiment, day_of(now))
    verdict = judge(policy, results, integrity_findings(subject), waived)
    identity = audit_id(job.store, job.run_id, subject, policy.digest, verdict.waived)
    known = world.records.decision(job.store, job.run_id, identity)
    if known is not None and to_plain(Verdict, known.verdict) == to_plain(Verdict, verdict):
        return known  # the same run, model, data, binding, policy and outcome: it stands, with its time
    decision = Decision(
        audit_id=identity,
        audit=task.audit,
        store=job.store,
        run_facts={
            "run_id": run.ref.run_id,
            "name": run.name,
            "experiment": run.experiment,
            "experiment_id": run.ref.experiment_id,
            "status": run.ref.status.value,
            "start_time": run.ref.start_time,
            "end_time": run.ref.end_time,
        },
        subject=subject,
        verdict=verdict,
        decided_at=rfc3339(now),
        environment=_environment(subject),
        sandbox=world.sandbox_facts() if subject.model or subject.metrics else {},
        notes=(task.note, *notes) if task.note else notes,
        waivers=waivers.digest if verdict.waived else "",
    )
    logged = _as_logged(decision, policy, world.notary) if job.unfinished else None
    return logged or _as_published(decision, policy, run, store, now=world.clock())


def _as_logged(decision: Decision, policy: Policy, notary: Notary) -> Decision | None:
    """The very same decision with the time under which an earlier job logged it, which never came to publish it."""
    for digest, decided_at in notary.times_of(decision).items():
        same = replace(decision, decided_at=decided_at)
        if build_bundle(same, policy).digest == digest:
            return same
    return None


def _as_published(decision: Decision, policy: Policy, run: Run, store: Store, *, now: float) -> Decision:
    """The decision with the time of the evidence that another agent published of the very same one, if there is any.

    Nothing but the time is taken, and only if all our bytes are then equal to those: two agents that audit one run
    leave one evidence set, and whoever else writes there can at most choose a moment after the end of the run.
    """
    path = f"venturalitica/{policy.id}/{decision.audit_id}/evidence.json"
    try:
        published = store.read_file(run.ref.run_id, path)
        theirs = str(json.loads(published)["times"]["decided_at"])
        when = datetime.strptime(theirs, "%Y-%m-%dT%H:%M:%S%z").timestamp()
    except (PermanentError, ValueError, KeyError, TypeError, RecursionError):
        return decision  # nothing is there, or nothing of ours
    same = replace(decision, decided_at=rfc3339(when))
    ended = (run.ref.end_time or 0) // 1000
    if ended <= when <= now and build_bundle(same, policy).files[path] == published:
        return same
    return decision


def _gave_up(policy: Policy, why: str) -> list[Measurement | Unmeasured]:
    return [Unmeasured(c.id, c.metric, why) for c in policy.controls if not c.skip]


def _environment(subject: Subject) -> dict[str, str]:
    """Versions of what measured and, as the model declares them, of what trained."""
    ours = {f"agent.{name}": metadata.version(name) for name in ("numpy", "pandas", "scipy", "scikit-learn", "mlflow")}
    theirs = {f"model.{k}": v for k, v in subject.model.environment.items()} if subject.model else {}
    users = {f"metric.{name}": origin for name, origin in subject.metrics.items()}
    agent = {"agent.venturalitica-agent": __version__, "agent.python": platform.python_version()}
    return {**agent, **ours, **theirs, **users}
