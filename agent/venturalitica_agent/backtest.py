"""Which runs of the past would get another verdict under a new version of a policy. Reads, and writes nothing.

The measurements that are on record answer most of it in no time. Where they don't, a run is named with the reason, or,
if asked for, fetched and measured again, in a cache and a sandbox of its own.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from venturalitica_agent.agent import rules_of, sandbox_of
from venturalitica_agent.domain.evidence import Decision, audit_id
from venturalitica_agent.domain.history import Term, on_record
from venturalitica_agent.domain.job import AuditTask
from venturalitica_agent.domain.needs import Needs
from venturalitica_agent.domain.policy import Policy
from venturalitica_agent.domain.subject import Subject
from venturalitica_agent.domain.verdict import Finding, Measurement, Status, Unmeasured, Verdict
from venturalitica_agent.errors import AgentError, ConfigError, PermanentError
from venturalitica_agent.measuring import measure_run
from venturalitica_agent.policy.load import load_policies, parse_policy
from venturalitica_agent.settings import Settings
from venturalitica_agent.state.opening import open_state
from venturalitica_agent.state.policies import PolicyRecord
from venturalitica_agent.state.records import AuditRecord, Records
from venturalitica_agent.stores.opening import WandbServer, open_configured

if TYPE_CHECKING:
    from venturalitica_agent.stores.base import Store


@dataclass(frozen=True, slots=True)
class Flip:
    """A run whose verdict would be another one; `words` say by which controls."""

    record: AuditRecord
    status: Status
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Backtest:
    """What a new version would have said.

    Attributes:
        runs: how many verdicts were looked at. flips: those that would change, newest first.
        unanswered: those of which it can't be said, each with the reasons.
        other_policies: ids with verdicts on record, for when the new version's id has none.
    """

    policy: str
    runs: int = 0
    flips: tuple[Flip, ...] = ()
    unanswered: tuple[tuple[AuditRecord, tuple[str, ...]], ...] = ()
    other_policies: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """All of it as JSON."""
        return {
            "policy": self.policy,
            "runs": self.runs,
            "flips": [_row(f.record) | {"new": f.status.value, "controls": list(f.words)} for f in self.flips],
            "unanswered": [_row(record) | {"reasons": list(reasons)} for record, reasons in self.unanswered],
            "other_policies": list(self.other_policies),
        }


def _row(record: AuditRecord) -> dict[str, Any]:
    return {
        "store": record.store,
        "run_id": record.run_id,
        "run": record.run_name,
        "experiment": record.experiment,
        "policy": f"{record.policy}@{record.version}",
        "old": record.status,
    }


class _Unanswered(PermanentError):
    """What can't be said of one run, and the reasons."""

    def __init__(self, *reasons: str) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


def backtest(
    settings: Settings,
    policy: Policy,
    *,
    last: int = 500,
    evaluate: bool = False,
    on_progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Backtest:
    """Judge the newest `last` verdicts that stand under policies of the same id again, under `policy`.

    Args:
        evaluate: fetch and measure again what the record does not answer.

    Raises:
        ConfigError: the state, or with `evaluate` the configuration, can't be used.
    """
    url = sa.make_url(settings.state)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        return Backtest(policy.ref)
    engine = open_state(settings.state)
    try:
        with ExitStack() as stack:
            records, versions = Records(engine), _Versions(PolicyRecord(engine))
            known = [row["uri"] for row in records.stores().values()]
            terms = versions.record.history(policy.id).get(policy.id, ())
            again = stack.enter_context(_Measuring(settings, policy, known, terms)) if evaluate else None
            standing = records.latest()
            asked = [record for record in standing if record.policy == policy.id][:last]
            flips, unanswered = [], []
            for done, record in enumerate(asked):
                on_progress(done, len(asked))
                try:
                    flip = _judged_again(record, records.decision_of(record), policy, versions, again)
                except _Unanswered as error:
                    unanswered.append((record, error.reasons))
                else:
                    flips += [flip] if flip is not None else []
        others = sorted({record.policy for record in standing} - {policy.id})
        return Backtest(policy.ref, len(asked), tuple(flips), tuple(unanswered), tuple(others))
    finally:
        engine.dispose()


@dataclass
class _Versions:
    """Versions of policies by their digest, each read once."""

    record: PolicyRecord
    known: dict[str, Policy | _Unanswered] = field(default_factory=dict)

    def version(self, decision: Decision) -> Policy:
        digest, version = decision.verdict.policy_digest, decision.verdict.version
        if digest not in self.known:
            source = self.record.source(digest)
            try:
                self.known[digest] = (
                    parse_policy(source[1], source[0])
                    if source is not None
                    else _Unanswered(f"version {version}, which it was judged by, is not on record")
                )
            except ConfigError as error:
                self.known[digest] = _Unanswered(f"version {version} can't be read by this agent: {error.what}")
        found = self.known[digest]
        if isinstance(found, _Unanswered):
            raise found
        return found


def _judged_again(
    record: AuditRecord, decision: Decision, policy: Policy, versions: _Versions, again: _Measuring | None
) -> Flip | None:
    """The other verdict that the run would get, or None when it stays. Waivers are those that the verdict has."""
    from venturalitica_agent.evaluate.integrity import integrity_findings
    from venturalitica_agent.evaluate.judge import judge

    try:
        results, subject = _on_record(record, decision, policy, versions.version(decision)), decision.subject
    except _Unanswered:
        if again is None:
            raise
        results, subject = again.measure(record, decision)
    looked_at = {split.value for split in Needs.of(policy.controls).splits}
    data = {split: data for split, data in subject.data.items() if split in looked_at}
    verdict = judge(policy, results, integrity_findings(replace(subject, data=data)), decision.verdict.waived)
    if verdict.status is decision.verdict.status:
        return None
    return Flip(record, verdict.status, tuple(_changes(decision.verdict, verdict)))


def _on_record(record: AuditRecord, decision: Decision, policy: Policy, old: Policy) -> list[Measurement | Unmeasured]:
    from venturalitica_agent.evaluate.stored import answers

    verdict = decision.verdict
    identity = audit_id(record.store, record.run_id, decision.subject, verdict.policy_digest, verdict.waived)
    if identity != decision.audit_id:
        raise _Unanswered("it was measured by another version of the agent, which may have measured otherwise")
    found, unanswered = answers(policy, old, verdict)
    if unanswered:
        raise _Unanswered(*(f"control {name} {why}" for name, why in unanswered.items()))
    return list(found.values())


def _changes(old: Verdict, new: Verdict) -> list[str]:
    """Each control that counts and whose outcome is another one, in words."""
    before = {f.control: f for f in old.findings if f.enforcement != "report"}
    after = {f.control: f for f in new.findings if f.enforcement != "report"}
    words = [
        f"{name}: {before[name].status.value if name in before else 'new'} -> {finding.status.value}{_why(finding)}"
        for name, finding in after.items()
        if name not in before or before[name].status is not finding.status
    ]
    return words + [
        f"{name}: {past.status.value} -> no longer asked" for name, past in before.items() if name not in after
    ]


def _why(finding: Finding) -> str:
    measured = finding.measurement
    if measured is None:
        return ""
    interval = measured.interval
    seen = f"{measured.value:.4g}"
    if finding.decided_on == "interval" and interval.low < interval.high:
        seen += f", {interval.level * 100:.4g} % interval {interval.low:.4g} to {interval.high:.4g}"
    return f" (value {seen}; required {finding.require})"


class _Measuring:
    """Measures runs again under one policy, with stores as agent.yaml has them and a cache that is gone afterwards."""

    def __init__(self, settings: Settings, policy: Policy, known: Sequence[str], terms: Sequence[Term]) -> None:
        self._since = {term.digest: on_record(terms, term.digest) for term in terms}
        self._settings = settings
        self._policy = policy
        policies = {given.id: given for given in load_policies(settings.policies)}
        self._plans = {rule.name: rule.plan for rule in rules_of(settings, policies)}
        for name, value in settings.environment.items():
            os.environ.setdefault(name, value)
        opened = open_configured(settings, WandbServer(settings), known)
        self._stores: Mapping[str, Store] = {store.id: store for _, store in opened}
        self._closing = ExitStack()

    def __enter__(self) -> _Measuring:
        from venturalitica_agent.fetch.cache import Cache

        folder = Path(self._closing.enter_context(tempfile.TemporaryDirectory(prefix="venturalitica-backtest-")))
        self._cache = Cache(folder / "cache", limit=self._settings.cache.size)
        self._sandbox = sandbox_of(self._settings, folder / "sandbox")
        self._closing.callback(self._sandbox.close)
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def measure(self, record: AuditRecord, decision: Decision) -> tuple[list[Measurement | Unmeasured], Subject]:
        """Raises _Unanswered when the run can't be had as it was when it was audited."""
        store, plan = self._stores.get(record.store), self._plans.get(decision.audit)
        if store is None or plan is None:
            missing = "store" if store is None else f"entry {decision.audit!r} of `audits`"
            raise _Unanswered(f"its {missing} is no longer in agent.yaml")
        since = self._since.get(decision.verdict.policy_digest)  # as if the new version had been there in its place
        task = AuditTask(decision.audit, self._policy.digest, plan, since)
        try:
            roots = (self._settings.folder, *store.roots)
            run = store.get_run(record.run_id)
            subject, results, _ = measure_run(task, self._policy, run, store, self._cache, self._sandbox, roots=roots)
        except AgentError as error:
            raise _Unanswered(f"it can't be measured again: {error.what}") from error
        if changed := list(_changed(decision.subject, subject)):
            raise _Unanswered(f"its {' and '.join(changed)} changed since it was audited")
        return results, subject


def _changed(old: Subject, new: Subject) -> list[str]:
    """Parts that both have, and not the same."""
    model = ["model"] if old.model and new.model and old.model.digest != new.model.digest else []
    both = sorted(set(old.data) & set(new.data))
    return model + [f"{split} data" for split in both if old.data[split].file.sha256 != new.data[split].file.sha256]
