"""A verdict that was logged and never published is found again, and logged once: real keys, real log."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from support.verdicts import decision, policy

from venturalitica_agent.attest.bundle import build_bundle
from venturalitica_agent.attest.keys import Keys
from venturalitica_agent.attest.notary import Notary
from venturalitica_agent.domain.verdict import Status
from venturalitica_agent.pipeline import _as_logged
from venturalitica_agent.state.log import Log
from venturalitica_agent.state.opening import open_state


def test_a_decision_that_is_made_again_keeps_the_time_under_which_it_was_logged(tmp_path: Path) -> None:
    notary = Notary(Keys(tmp_path / "keys"), Log(open_state(f"sqlite:///{tmp_path}/state.db")))
    under = policy()
    first = decision(under, Status.PASS, run_id="r")
    assert _as_logged(first, under, notary) is None
    notary.attest(first, under, build_bundle(first, under), since=None)
    entries = list(notary.log.entries())

    later = replace(first, decided_at="2031-01-01T00:00:00Z")
    assert _as_logged(later, under, notary) == first
    notary.attest(first, under, build_bundle(first, under), since=None)
    assert list(notary.log.entries()) == entries

    other_run = replace(later, run_facts={**first.run_facts, "run_id": "s"})
    other_facts = replace(later, run_facts={**first.run_facts, "end_time": 7})
    assert _as_logged(other_run, under, notary) is None
    assert _as_logged(other_facts, under, notary) is None
