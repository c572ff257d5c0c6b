"""A state of the agent as its own code writes it: stores, runs, verdicts and policies, without any training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sa
import yaml
from support import verdicts

from venturalitica_agent.attest.bundle import build_bundle
from venturalitica_agent.domain.evidence import Decision, EvidenceBundle, Published
from venturalitica_agent.domain.ledger import Entry, Phase
from venturalitica_agent.domain.policy import Policy
from venturalitica_agent.domain.run import Run, RunRef, RunStatus
from venturalitica_agent.domain.verdict import Finding, GroupStat, Interval, Measurement, Status, Verdict, worst
from venturalitica_agent.policy.load import parse_policy
from venturalitica_agent.settings import Settings, load_settings
from venturalitica_agent.state.ledger import Ledger
from venturalitica_agent.state.opening import open_state
from venturalitica_agent.state.policies import PolicyRecord
from venturalitica_agent.state.records import Records
from venturalitica_agent.stores.naming import store_id

NOW = 1_795_469_820.0  # 23 Nov 2026, 21:37 UTC
HOUR = 3600.0
POLICIES = Path(__file__).parents[2] / "policies"


@dataclass
class AuditedState:
    """One store in a fresh state. Runs are numbered; run 0 ended last."""

    settings: Settings
    engine: sa.Engine
    store: str
    uri: str
    policy: Policy

    def audit(self, number: int, *statuses: Status, name: str = "", experiment: str = "loan-german-credit") -> Decision:
        """Run `number` has this verdict, with a finding of each status."""
        return self.keep(
            f"{number:032x}", *statuses, name=name or f"logistic-{number}", experiment=experiment, back=number
        )

    def keep(
        self, run_id: str, *statuses: Status, name: str, experiment: str, back: float = 0, experiment_id: str = "1"
    ) -> Decision:
        """A verdict for a run that ended `back` hours before now, with ledger and evidence."""
        decision = self._decided(run_id, statuses, name, experiment, NOW - back * HOUR, experiment_id)
        ended = int((NOW - back * HOUR) * 1000)
        ref = RunRef(self.store, run_id, experiment_id, RunStatus.FINISHED, ended - 60_000, ended)
        run = Run(ref, name, experiment, "")
        published = Published(decision.verdict.status.value, {}, "", NOW - back * HOUR + 5)
        Records(self.engine).keep_audit(run, decision, self.bundle(decision), published, now=NOW - back * HOUR + 5)
        Ledger(self.engine).swap([(None, Entry(ref, Phase.DONE, audited_revision=ref.revision))], now=NOW)
        return decision

    def bundle(self, decision: Decision) -> EvidenceBundle:
        return build_bundle(decision, self.policy)

    def see(self, phase: Phase, numbers: range, reason: str = "") -> None:
        """Runs without a verdict."""
        changes = []
        for number in numbers:
            ended = int((NOW - number * HOUR) * 1000)
            status = RunStatus.RUNNING if phase is Phase.RUNNING else RunStatus.FINISHED
            ref = RunRef(self.store, f"{number:032x}", "1", status, ended - 60_000, ended)
            changes.append((None, Entry(ref, phase, reason)))
        Ledger(self.engine).swap(changes, now=NOW)

    def _decided(
        self, run_id: str, statuses: tuple[Status, ...], name: str, experiment: str, at: float, experiment_id: str
    ) -> Decision:
        rules = self.policy.controls
        findings = tuple(_finding(rules[place % len(rules)].id, status) for place, status in enumerate(statuses))
        verdict = Verdict(self.policy.id, self.policy.version, self.policy.digest, worst(statuses), findings)
        made = verdicts.decision(self.policy, run_id=run_id, name=name, store=self.store)
        facts = {**made.run_facts, "experiment": experiment, "experiment_id": experiment_id, "end_time": int(at * 1000)}
        return replace(made, verdict=verdict, run_facts=facts, decided_at=_rfc3339(at))


def _rfc3339(seconds: float) -> str:
    from venturalitica_agent.publish.writeback import rfc3339

    return rfc3339(seconds)


def _finding(control: str, status: Status) -> Finding:
    low = Interval(0.41, 0.62, 0.95, "wilson")
    high = Interval(0.69, 0.81, 0.95, "wilson")
    groups = (
        GroupStat("female", 81, 42 / 81, 42, 81, low),
        GroupStat("male", 168, 127 / 168, 127, 168, high),
        GroupStat("other", 6, 0.5, 3, 6, Interval(0.12, 0.88, 0.95, "wilson"), False, "n=6 under 30"),
    )
    interval = Interval(0.55, 0.84, 0.95, "Katz log")
    measured = Measurement(
        control,
        "disparate_impact",
        42 / 81 / (127 / 168),
        interval,
        249,
        groups,
        "selection rate",
        "male",
        ("female", "male"),
    )
    sentence = (
        "Selection rate of female is 0.519 (n=81), of male 0.756 (n=168): ratio 0.686, 95 % interval 0.55–0.84; "
        f"required >= 0.8: {status.value}."
    )
    remedy = "With male as it is, the selection rate of female would have to be at least 0.605."
    return Finding(
        control,
        status,
        sentence,
        "disparate_impact",
        "10(2)(f)",
        "high",
        require=">= 0.8",
        measurement=None if status is Status.ERROR else measured,
        remedy=remedy if status is Status.FAIL else "",
    )


def audited_state(folder: Path, *, uri: str = "./mlruns", ui: str = "http://127.0.0.1:5000") -> AuditedState:
    """A state with one MLflow store that answers and one policy in force; no run yet."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "policies").mkdir()
    source = POLICIES / "credit-scoring" / "credit-scoring.yaml"
    (folder / "policies" / source.name).write_bytes(source.read_bytes())
    if uri.startswith("./"):
        (folder / uri).mkdir()
    store = {"mlflow": uri, "ui": ui}
    (folder / "agent.yaml").write_text(yaml.safe_dump({"stores": [store], "policies": "./policies"}))
    settings = load_settings(folder / "agent.yaml", env={}, cwd=folder)
    settings = replace(settings, web=replace(settings.web, port=0))  # any that is free
    engine = open_state(settings.state)

    @sa.event.listens_for(engine, "connect")
    def _hurried(connection: object, _record: object) -> None:
        connection.execute("PRAGMA synchronous=OFF")  # type: ignore[attr-defined]

    given = settings.stores[0].uri
    policy = parse_policy(source.read_bytes(), source.name)
    state = AuditedState(settings, engine, store_id(given), given, policy)
    Records(engine).store_up(state.store, given, now=NOW, scanned=True)
    PolicyRecord(engine).put_in_force([(policy, "", None)], folder=str(folder / "policies"), now=NOW - 500 * HOUR)
    return state
