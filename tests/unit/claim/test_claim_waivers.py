"""Which verdicts are given again when a waiver comes, changes or ends: real ledger, real records, a clock of ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import count
from pathlib import Path
from typing import cast

import pytest
from support.verdicts import decision, policy

from venturalitica_agent.attest.bundle import build_bundle
from venturalitica_agent.attest.notary import Notary
from venturalitica_agent.auditor import Auditor
from venturalitica_agent.claim.in_force import PoliciesInForce
from venturalitica_agent.claim.plan import AuditRule, Rulebook
from venturalitica_agent.detect.reconcile import Reconciler
from venturalitica_agent.domain.evidence import Published
from venturalitica_agent.domain.history import Term
from venturalitica_agent.domain.ledger import Entry, Phase
from venturalitica_agent.domain.policy import Selector
from venturalitica_agent.domain.run import Run, RunRef, RunStatus
from venturalitica_agent.domain.subject import DataPlan
from venturalitica_agent.domain.verdict import Status, Waived
from venturalitica_agent.fetch.cache import Cache
from venturalitica_agent.pipeline import World
from venturalitica_agent.policy.waivers import Waiver, Waivers
from venturalitica_agent.sandbox.launcher import Sandbox
from venturalitica_agent.state.ledger import Ledger
from venturalitica_agent.state.opening import open_state
from venturalitica_agent.state.policies import PolicyRecord
from venturalitica_agent.state.records import Records
from venturalitica_agent.stores.memory import MemoryStore

POLICY = policy()
LAST = date(2026, 12, 31)
WAIVER = Waiver("credit", "control-0", "a remedy", "Ana Ruiz", LAST, experiment="demo")
OF_RUN = Waived("a remedy", "Ana Ruiz", "2026-12-31")


class Office:
    """An auditor whose day and file of waivers can be turned."""

    def __init__(self, folder: Path) -> None:
        engine = open_state(f"sqlite:///{folder}/state.db")
        self.ledger, self.records, self.store = Ledger(engine), Records(engine), MemoryStore()
        self.waivers = Waivers()
        self.day = date(2026, 12, 1)
        rule = AuditRule("loan", Selector("demo"), ("credit",), DataPlan())
        history = {"credit": (Term("credit", "1.0.0", POLICY.digest, "credit.yaml", 0.0),)}
        world = World(
            store_of=lambda _: self.store,
            policy_of={POLICY.digest: POLICY}.__getitem__,
            records=self.records,
            notary=cast(Notary, None),
            cache=cast(Cache, None),
            sandbox=cast(Sandbox, None),
            waivers=lambda: self.waivers,
        )
        self.auditor = Auditor(
            stores={"memory": self.store},
            ledger=self.ledger,
            reconciler=Reconciler(self.ledger, settle=0.0),
            book=lambda: Rulebook({"credit": POLICY}, (rule,), history),
            world=world,
            clock=lambda: datetime(self.day.year, self.day.month, self.day.day, 12, tzinfo=UTC).timestamp(),
        )

    def audited(self, run_id: str, status: Status, *, waived: bool = False, policy_id: str = "credit") -> None:
        """A run with a verdict of one finding; a waived one would be `status`."""
        ref = RunRef("memory", run_id, "1", RunStatus.FINISHED, start_time=1, end_time=1)
        run = self.store.add(Run(ref, "a run", "demo", "memory"))
        under = POLICY if policy_id == "credit" else replace(POLICY, id=policy_id)
        given = decision(under, Status.WAIVED if waived else status, run_id=run_id)
        if waived:
            (finding,) = given.verdict.findings
            finding = replace(finding, waived=OF_RUN, would_be=status)
            given = replace(given, verdict=replace(given.verdict, findings=(finding,)))
        published = Published(given.verdict.status.value, {}, "", 1.0)
        self.records.keep_audit(run, given, build_bundle(given, under), published, now=1.0)
        entry = Entry(run.ref, Phase.DONE, audited_revision=run.ref.revision)
        assert self.ledger.swap([(None, entry)], now=1.0)

    def due(self) -> Sequence[str]:
        """The runs that are audited again now."""
        self.auditor.mind_waivers()
        return [entry.ref.run_id for entry in self.ledger.in_phase(Phase.DUE)]


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def test_a_new_waiver_concerns_what_did_not_pass(office: Office) -> None:
    for status in Status:
        if status is not Status.WAIVED:
            office.audited(status.value, status)
    assert office.due() == []
    office.waivers = Waivers((WAIVER,), "d")
    assert sorted(office.due()) == ["error", "fail", "inconclusive", "warn"]


def test_a_waiver_of_other_runs_concerns_nothing(office: Office) -> None:
    office.audited("r", Status.FAIL)
    for other in ({"policy": "hiring"}, {"control": "control-1"}, {"experiment": "x"}, {"runs": ("other",)}):
        office.waivers = Waivers((replace(WAIVER, **other),), str(other))  # type: ignore[arg-type]
        assert office.due() == []


@pytest.mark.parametrize("would_be", [Status.FAIL, Status.ERROR])
def test_a_verdict_stands_through_the_last_day_and_is_given_again_on_the_next(office: Office, would_be: Status) -> None:
    office.audited("r", would_be, waived=True)
    office.waivers = Waivers((WAIVER,), "d")
    office.day = LAST
    assert office.due() == []
    office.day = date(2027, 1, 1)
    assert office.due() == ["r"]


def test_a_changed_or_removed_waiver_gives_a_new_verdict_and_another_file_alone_does_not(office: Office) -> None:
    for run in ("changed", "removed"):
        office.audited(run, Status.FAIL, waived=True)
    both = (replace(WAIVER, runs=("changed",)), replace(WAIVER, runs=("removed",)))
    office.waivers = Waivers(both, "one")
    assert office.due() == []
    office.waivers = Waivers(both, "other bytes")
    assert office.due() == []
    office.waivers = Waivers((replace(both[0], owner="Bo Li"),), "third")
    assert sorted(office.due()) == ["changed", "removed"]


def test_verdicts_of_a_policy_that_no_longer_claims_the_run_are_left_alone(office: Office) -> None:
    """Otherwise each start would audit them again, and never under that policy."""
    office.audited("r", Status.FAIL, waived=True, policy_id="gone")
    assert office.due() == []


def test_waivers_come_into_force_with_the_policies_beside_them_and_a_bad_file_never(tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    text = "policy: credit\nversion: 1\ncontrols: [{id: control-0, metric: roc_auc, require: '>= 0.7'}]\n"
    (folder / "credit.yaml").write_text(text)
    ahead = count(2_000_000_000, 60)
    record = PolicyRecord(open_state(f"sqlite:///{tmp_path}/state.db"))
    rules = (AuditRule("all", Selector(), ("credit",), DataPlan()),)
    in_force = PoliciesInForce(folder, record, lambda _: rules, clock=lambda: next(ahead))
    waiver = "{policy: credit, control: %s, experiment: demo, reason: a remedy, owner: Ana Ruiz, expires: 2026-12-31}"
    file = folder / "waivers.yaml"
    file.write_text(f"waivers: [{waiver % 'control-0'}]")
    assert in_force.refresh()
    assert in_force.book.waivers.items == (replace(WAIVER, line=1),)
    file.write_text(f"waivers: [{waiver % 'control-9'}]")
    assert not in_force.refresh()
    assert [waived.control for waived in in_force.book.waivers.items] == ["control-0"]
    (mistake,) = record.mistakes()
    assert "has no control 'control-9'" in mistake["words"]
    file.unlink()
    assert in_force.refresh()
    assert in_force.book.waivers == Waivers()
