"""Nothing stays claimed for ever: what happens to a claim whose job is not alive."""

from __future__ import annotations

from pathlib import Path

import pytest

from venturalitica_agent.claim.rescue import rescue
from venturalitica_agent.domain.ledger import Entry, Phase
from venturalitica_agent.domain.run import RunRef, RunStatus
from venturalitica_agent.state.ledger import Ledger
from venturalitica_agent.state.opening import open_state


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(open_state(f"sqlite:///{tmp_path}/state.db"))
    for run_id in ("a", "b"):
        ref = RunRef("s", run_id, "1", RunStatus.FINISHED, end_time=1)
        assert ledger.swap([(None, Entry(ref, Phase.CLAIMED, job=f"job-{run_id}"))], now=1.0)
    return ledger


@pytest.mark.parametrize("status", ["ENQUEUED", "PENDING", "DELAYED"])
def test_a_job_that_is_alive_keeps_its_claim(ledger: Ledger, status: str) -> None:
    assert rescue(ledger, lambda _: status, now=2.0) == 0
    assert len(ledger.in_phase(Phase.CLAIMED)) == 2


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (None, "its job was lost"),
        ("ERROR", "ended as ERROR"),
        ("CANCELLED", "ended as CANCELLED"),
        ("MAX_RECOVERY_ATTEMPTS_EXCEEDED", "ended as MAX_RECOVERY_ATTEMPTS_EXCEEDED"),
    ],
)
def test_a_dead_job_frees_its_run_and_counts_as_a_failure(ledger: Ledger, status: str | None, reason: str) -> None:
    assert rescue(ledger, {"job-a": status, "job-b": "PENDING"}.get, now=2.0) == 1
    entry = ledger.get("s", "a")
    assert entry is not None
    assert (entry.phase, entry.attempts, entry.failures) == (Phase.DUE, 1, 1)
    assert reason in entry.reason
    assert rescue(ledger, {"job-b": "PENDING"}.get, now=3.0) == 0


def test_a_job_that_could_not_note_its_end_says_nothing_of_its_run(ledger: Ledger) -> None:
    assert rescue(ledger, {"job-a": "SUCCESS", "job-b": "PENDING"}.get, now=2.0) == 1
    entry = ledger.get("s", "a")
    assert entry is not None
    assert (entry.phase, entry.attempts, entry.failures) == (Phase.DUE, 1, 0)


def test_a_job_that_finishes_during_the_rescue_is_left_alone(ledger: Ledger) -> None:
    def status(job: str) -> str:
        entry = ledger.get("s", job.removeprefix("job-"))
        assert entry is not None
        ledger.move(entry, Phase.DONE, now=2.0, audited_revision=entry.ref.revision)
        return "SUCCESS"

    assert rescue(ledger, status, now=3.0) == 0
    assert {e.phase for e in ledger.of_store("s").values()} == {Phase.DONE}
