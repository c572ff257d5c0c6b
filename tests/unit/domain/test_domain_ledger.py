"""What a sight of a run does to its ledger entry: cases by name, and the promises under any sequence of sights."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from venturalitica_agent.domain.ledger import Entry, Phase, after_sight, stale, vanished
from venturalitica_agent.domain.run import RunRef, RunStatus

NOW, SETTLE = 1_000_000.0, 5.0
LONG_AGO, FUTURE = 1_000, 4_102_444_800_000
RUN = RunRef("s", "r", "1", RunStatus.FINISHED, start_time=0, end_time=LONG_AGO)
RUNNING = replace(RUN, status=RunStatus.RUNNING, end_time=None)


def see(known: Entry | None, ref: RunRef, *, backlog: bool = False, now: float = NOW) -> Entry:
    return after_sight(known, ref, now=now, settle=SETTLE, backlog=backlog)


def entry(phase: Phase, ref: RunRef = RUN, *, audited: RunRef | None = None, **fields: object) -> Entry:
    return Entry(ref, phase, audited_revision=audited.revision if audited else "", **fields)  # type: ignore[arg-type]


AGAIN = replace(RUN, end_time=2_000)
MORE_INPUTS = replace(RUN, inputs="abc")
DELETED = replace(RUN, deleted=True)


@pytest.mark.parametrize(
    ("known", "ref", "phase", "live"),
    [
        pytest.param(None, RUNNING, Phase.RUNNING, False, id="a run starts"),
        pytest.param(entry(Phase.RUNNING, RUNNING), RUN, Phase.SETTLING, True, id="it ends"),
        pytest.param(None, RUN, Phase.SETTLING, True, id="it is first seen when it has ended"),
        pytest.param(None, replace(RUN, end_time=1), Phase.SETTLING, True, id="end time forged to 1"),
        pytest.param(None, replace(RUN, end_time=FUTURE), Phase.SETTLING, True, id="end time forged to the future"),
        pytest.param(None, replace(RUN, end_time=None), Phase.SETTLING, True, id="ended without an end time"),
        pytest.param(None, replace(RUN, status=RunStatus.FAILED), Phase.SETTLING, True, id="it fails"),
        pytest.param(None, replace(RUN, status=RunStatus.KILLED), Phase.SETTLING, True, id="it is killed"),
        pytest.param(entry(Phase.DONE, audited=RUN), AGAIN, Phase.SETTLING, True, id="it ended anew"),
        pytest.param(entry(Phase.DONE, audited=RUN), MORE_INPUTS, Phase.SETTLING, True, id="inputs came later"),
        pytest.param(entry(Phase.CLAIMED), MORE_INPUTS, Phase.SETTLING, True, id="inputs came during the audit"),
        pytest.param(entry(Phase.STUCK), AGAIN, Phase.SETTLING, True, id="a stuck run gets another chance"),
        pytest.param(
            entry(Phase.DONE, audited=RUN), replace(RUNNING, end_time=LONG_AGO), Phase.RUNNING, False, id="it resumes"
        ),
        pytest.param(
            entry(Phase.RUNNING, replace(RUNNING, end_time=LONG_AGO), audited=RUN),
            RUN,
            Phase.DONE,
            False,
            id="it resumed and ended as if it never had",
        ),
        pytest.param(entry(Phase.DUE), DELETED, Phase.GONE, False, id="deleted before its audit"),
        pytest.param(entry(Phase.GONE, DELETED), RUN, Phase.SETTLING, True, id="restored, never audited"),
        pytest.param(entry(Phase.GONE, DELETED, audited=RUN), RUN, Phase.DONE, False, id="restored after its audit"),
        pytest.param(
            entry(Phase.GONE, DELETED, audited=RUN), AGAIN, Phase.SETTLING, True, id="restored and ended anew"
        ),
        pytest.param(entry(Phase.GONE, DELETED), RUNNING, Phase.RUNNING, False, id="restored, running"),
    ],
)
def test_what_follows_from_a_sight(known: Entry | None, ref: RunRef, phase: Phase, live: bool) -> None:
    found = see(known, ref)
    assert (found.phase, found.live, found.ref) == (phase, live, ref)
    assert found.ready_at == (NOW + SETTLE if phase is Phase.SETTLING else 0.0)
    assert found.audited_revision == (known.audited_revision if known else "")


@pytest.mark.parametrize("phase", [Phase.SETTLING, Phase.DUE, Phase.CLAIMED, Phase.DONE, Phase.IGNORED, Phase.STUCK])
def test_seeing_the_same_revision_again_changes_nothing(phase: Phase) -> None:
    known = entry(phase, attempts=2, job="j")
    assert see(known, RUN) is known


def test_a_backlog_is_due_at_once_and_not_urgent() -> None:
    found = see(None, RUN, backlog=True)
    assert (found.phase, found.live) == (Phase.DUE, False)
    fresh = see(None, replace(RUN, end_time=int(NOW * 1000)), backlog=True)
    assert (fresh.phase, fresh.live) == (Phase.SETTLING, False)
    forged = see(None, replace(RUN, end_time=FUTURE), backlog=True)
    assert (forged.phase, forged.ready_at) == (Phase.SETTLING, NOW + SETTLE)


def test_a_run_that_is_running_for_ever_is_stale_and_nothing_else_is() -> None:
    day = 86_400.0
    forever = Entry(replace(RUNNING, start_time=int((NOW - 2 * day) * 1000)), Phase.RUNNING)
    assert stale(forever, now=NOW, limit=day)
    assert not stale(forever, now=NOW, limit=3 * day)
    assert not stale(Entry(RUN, Phase.DUE), now=NOW, limit=day)
    assert not stale(replace(forever, ref=replace(forever.ref, status=RunStatus.SCHEDULED)), now=NOW, limit=day)


def test_a_vanished_run_that_is_back_is_audited_unless_it_was() -> None:
    assert see(vanished(entry(Phase.DUE)), RUN).phase is Phase.SETTLING
    assert see(vanished(entry(Phase.DONE, audited=RUN)), RUN).phase is Phase.DONE


refs = st.builds(
    RunRef,
    st.just("s"),
    st.just("r"),
    st.just("1"),
    st.sampled_from(RunStatus),
    start_time=st.just(0),
    end_time=st.sampled_from([None, 1, LONG_AGO, 2_000, FUTURE]),
    deleted=st.booleans(),
    inputs=st.sampled_from(["", "a", "b"]),
)
ENDED = st.one_of(refs.filter(lambda r: r.status.ended and not r.deleted))
WORK = ("sight", "settle", "claim", "finish", "fail", "vanish")


class Life:
    """One run under any sequence of sights and of our own work on it."""

    def __init__(self) -> None:
        self.entry: Entry | None = None
        self.jobs: set[tuple[str, int]] = set()
        self.now = NOW

    def do(self, what: str, ref: RunRef, backlog: bool) -> None:
        self.now += 1
        known = self.entry
        match what:
            case "sight":
                self.entry = after_sight(known, ref, now=self.now, settle=SETTLE, backlog=backlog)
            case "vanish" if known:
                self.entry = vanished(known)
            case "settle" if known and known.phase is Phase.SETTLING:
                self.entry = replace(known, phase=Phase.DUE)
            case "claim" if known and known.phase is Phase.DUE:
                job = (known.ref.revision, known.attempts)
                assert job not in self.jobs, "an engine that has seen this id would never run it"
                self.jobs.add(job)
                self.entry = replace(known, phase=Phase.CLAIMED, job=f"{job}")
            case "finish" if known and known.phase is Phase.CLAIMED:
                self.entry = replace(known, phase=Phase.DONE, audited_revision=known.ref.revision)
            case "fail" if known and known.phase is Phase.CLAIMED:
                self.entry = replace(known, phase=Phase.DUE, attempts=known.attempts + 1, failures=known.failures + 1)
            case _:
                pass


lives = st.lists(st.tuples(st.sampled_from(WORK), refs, st.booleans()), max_size=25)


@settings(max_examples=100, deadline=None)
@given(life=lives, ref=refs, backlog=st.booleans())
def test_seeing_twice_is_seeing_once(life: list[tuple[str, RunRef, bool]], ref: RunRef, backlog: bool) -> None:
    run = Life()
    for step in life:
        run.do(*step)
    run.do("sight", ref, backlog)
    once = run.entry
    run.do("sight", ref, not backlog)
    run.do("sight", ref, backlog)
    assert run.entry == once


@settings(max_examples=100, deadline=None)
@given(life=lives, last=ENDED, backlog=st.booleans())
def test_no_ended_run_is_lost_and_none_is_audited_twice(
    life: list[tuple[str, RunRef, bool]], last: RunRef, backlog: bool
) -> None:
    """Whatever happened: a run seen as ended is on its way to an audit, or this very revision was audited."""
    run = Life()
    for step in life:
        run.do(*step)
    run.do("sight", last, backlog)
    entry = run.entry
    assert entry is not None
    assert entry.ref.revision == last.revision
    if entry.phase is Phase.DONE:
        assert entry.audited_revision == last.revision
    else:
        assert entry.phase in (Phase.SETTLING, Phase.DUE, Phase.CLAIMED)
        assert entry.audited_revision != last.revision
    for step in ("settle", "claim", "finish"):
        run.do(step, last, backlog)
    assert run.entry is not None
    assert (run.entry.phase, run.entry.audited_revision) == (Phase.DONE, last.revision)
