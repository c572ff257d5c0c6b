"""States as the agent writes them, for the status page: real verdicts of hand-made decisions in a real database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from support import verdicts as made

from venturalitica_agent.attest.bundle import build_bundle
from venturalitica_agent.domain.evidence import Decision, Published
from venturalitica_agent.domain.ledger import Entry, Phase
from venturalitica_agent.domain.policy import Policy
from venturalitica_agent.domain.run import Run, RunRef, RunStatus
from venturalitica_agent.domain.subject import Subject
from venturalitica_agent.domain.verdict import Status
from venturalitica_agent.settings import Settings, load_settings
from venturalitica_agent.state.ledger import Ledger
from venturalitica_agent.state.opening import open_state
from venturalitica_agent.state.policies import PolicyRecord
from venturalitica_agent.state.records import Records
from venturalitica_agent.stores.naming import store_id

UI = "http://tracker.example:5000"
POLICY = """
policy: credit
version: "1.0.0"
title: Credit
applies_to: {experiment: "*"}
controls:
- {id: ratio, metric: accuracy, require: ">= 0.5"}
"""
SETTINGS = f"""
stores: [{{mlflow: ./mlruns, ui: "{UI}"}}]
policies: ./policies
"""


class PageState:
    """A folder with agent.yaml, a policy and a state, that grows as a service would let it grow."""

    def __init__(self, folder: Path, more: str = "", env: dict[str, str] | None = None) -> None:
        (folder / "policies").mkdir(parents=True)
        (folder / "mlruns").mkdir()
        (folder / "policies" / "credit.yaml").write_text(POLICY)
        (folder / "agent.yaml").write_text(SETTINGS + more)
        self.settings: Settings = load_settings(folder / "agent.yaml", env=env or {}, cwd=folder)
        self.store = store_id(self.settings.stores[0].uri)
        self.engine = open_state(self.settings.state)
        self.ledger, self.records = Ledger(self.engine), Records(self.engine)
        self.policies = PolicyRecord(self.engine)
        self.policy = made.policy("credit")

    def see(self, run_id: str, phase: Phase, *, at: float, ended: float | None = None, reason: str = "") -> None:
        """A run in the ledger, in experiment 7; times in seconds."""
        status = RunStatus.RUNNING if phase is Phase.RUNNING else RunStatus.FINISHED
        end = None if ended is None else int(ended * 1000)
        ref = RunRef(self.store, run_id, "7", status, start_time=int(at * 1000) - 1000, end_time=end)
        known = self.ledger.get(self.store, run_id)
        assert self.ledger.swap([(known, Entry(ref, phase, reason))], now=at)

    def decide(
        self,
        run_id: str,
        *statuses: Status,
        at: float,
        ended: float | None = None,
        name: str = "a run",
        experiment: str = "demo",
        policy: Policy | None = None,
        about: Subject | None = None,
    ) -> Decision:
        """A verdict, with the run done."""
        policy, ended = policy or self.policy, at - 1 if ended is None else ended
        self.see(run_id, Phase.DONE, at=at, ended=ended)
        decided_at = f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"
        decision = made.decision(policy, *statuses, run_id=run_id, store=self.store, about=about, decided_at=decided_at)
        facts = {"name": name, "experiment": experiment, "experiment_id": "7", "end_time": int(ended * 1000)}
        decision = replace(decision, run_facts={**decision.run_facts, **facts})
        ref = RunRef(self.store, run_id, "7", RunStatus.FINISHED, end_time=int(ended * 1000))
        run = Run(ref, name, experiment, "mem:/")
        published = Published(decision.verdict.status.value, {}, f"{UI}/#/experiments/7/runs/{run_id}", at)
        self.records.keep_audit(run, decision, build_bundle(decision, policy), published, now=at)
        return decision

    def close(self) -> None:
        self.engine.dispose()
