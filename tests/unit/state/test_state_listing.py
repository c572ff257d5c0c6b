"""The list of runs against a list that Python sorts and filters: every row once, in order, forwards and backwards."""

from __future__ import annotations

from dataclasses import asdict
from itertools import pairwise

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from venturalitica_agent.domain.ledger import Phase
from venturalitica_agent.state.listing import STANDING, BadQuery, Key, Listing, Wanted
from venturalitica_agent.state.opening import open_state
from venturalitica_agent.state.tables import audits, runs, verdict_controls, verdicts

STORES, POLICIES, STATUSES, CONTROLS = ("s" * 12, "t" * 12), ("p", "q"), ("pass", "fail", "error"), ("a", "b")
run_rows = st.tuples(
    st.sampled_from(STORES),
    st.sampled_from(["r1", "R1", "r-2", "x%y", "x_y", "ñandú", "zz"]),
    st.sampled_from(list(Phase)),
    st.sampled_from([None, 0, 5_000, 86_400_000]),
    st.dictionaries(
        st.sampled_from(POLICIES), st.tuples(st.sampled_from(STATUSES), st.sets(st.sampled_from(CONTROLS))), max_size=2
    ),
)
wanteds = st.builds(
    Wanted,
    status=st.sampled_from(["", *STATUSES, *STANDING.values(), "no such"]),
    policy=st.sampled_from(["", "", *POLICIES]),
    store=st.sampled_from(["", "", *STORES]),
    experiment=st.sampled_from(["", "", "1", "named"]),
    control=st.sampled_from(["", "", *CONTROLS]),
    since=st.sampled_from([None, None, 1, 5_000]),
    until=st.sampled_from([None, None, 5_000, 86_400_000]),
    text=st.sampled_from(["", "", "r", "R1", "%", "_", "Ñ", "ñ", "called R-2"]),
)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> sa.Engine:
    return open_state(f"sqlite:///{tmp_path_factory.mktemp('state')}/agent.db")


def fill(state: sa.Engine, given_rows: list[tuple]) -> list[dict]:
    """Put these runs into the state; returns every row that the list may show, as plain dicts."""
    found = []
    with state.begin() as db:
        for table in (runs, audits, verdicts, verdict_controls):
            db.execute(sa.delete(table))
        for store, run_id, phase, ended, given_verdicts in given_rows:
            key = {"store": store, "run_id": run_id}
            common = {"experiment_id": "1", "end_time": ended}
            fixed = {"status": "FINISHED", "revision": "", "reason": "why", "seen_at": 0.0, "changed_at": 0.0}
            db.execute(runs.insert().values(**key, **common, **fixed, phase=phase.value))
            shown = {**key, "ended": ended or 0, "experiment": "named"}
            for policy, (status, unmet) in given_verdicts.items():
                name = f"Called {run_id}"
                same = {**key, "policy": policy, "audit_id": policy, "version": "1", "status": status, "run_name": name}
                columns = {c.name: "" for c in audits.c if c.name not in {*same, "decision", "end_time"}}
                numbers = {"audited_at": 0.0, "tagged_at": 0.0, "end_time": ended, "decision": {}}
                db.execute(audits.insert().values(**{**columns, **same, **numbers}))
                listed = {
                    "experiment_id": "1",
                    "experiment": "named",
                    "folded_name": name.casefold(),
                    "decided_at": 1.0,
                }
                digests = {"model_digest": "", "data_digest": ""}
                db.execute(verdicts.insert().values(**same, **listed, **digests, ended=ended or 0))
                for control in unmet:
                    db.execute(verdict_controls.insert().values(**key, policy=policy, control=control))
                if phase not in (Phase.IGNORED, Phase.GONE):
                    found.append({**shown, "kind": 0, "policy": policy, "status": status, "unmet": unmet, "name": name})
            if phase is not Phase.DONE:
                plain = {"kind": 1, "policy": "", "status": STANDING[phase], "unmet": set(), "name": ""}
                found.append({**shown, **plain})
    return found


def wanted_of(row: dict, wanted: Wanted, named: set[str]) -> bool:
    texts = [(wanted.status, row["status"]), (wanted.policy, row["policy"]), (wanted.store, row["store"])]
    called = wanted.experiment in ("", "1" if row["kind"] else "named", "named" if row["store"] in named else None)
    return (
        all(not given or given == has for given, has in texts)
        and called
        and (not wanted.control or wanted.control in row["unmet"])
        and (wanted.since is None or row["ended"] >= wanted.since)
        and (wanted.until is None or row["ended"] < wanted.until)
        and (wanted.text.casefold() in row["name"].casefold() or row["run_id"].startswith(wanted.text))
    )


def place(row: dict) -> tuple:
    return (-row["ended"], row["kind"], row["store"], row["run_id"], row["policy"])


@settings(max_examples=50, deadline=None)
@given(st.lists(run_rows, max_size=12, unique_by=lambda row: row[:2]), wanteds, st.integers(1, 4))
def test_pages_hold_every_wanted_row_once_in_order(
    state: sa.Engine, given_rows: list[tuple], wanted: Wanted, size: int
) -> None:
    rows = fill(state, given_rows)
    named = {row["store"] for row in rows if row["kind"] == 0} | {r[0] for r in given_rows if r[4]}
    expected = sorted(place(row) for row in rows if wanted_of(row, wanted, named))
    listing, seen, pages = Listing(state), [], []
    page = listing.page(wanted, size=size)
    while page.rows:
        assert page.total == len(expected)
        assert page.skipped == len(seen)
        pages.append(page)
        seen += [place(row) for row in page.rows]
        page = listing.page(wanted, size=size, after=Key.read(page.key(-1)))
    assert seen == expected
    for earlier, later in pairwise(pages):
        back = listing.page(wanted, size=size, before=Key.read(later.key(0)))
        assert ([place(r) for r in back.rows], back.skipped) == ([place(r) for r in earlier.rows], earlier.skipped)


def test_a_row_tells_what_the_audit_and_the_ledger_say(state: sa.Engine) -> None:
    fill(state, [(STORES[0], "r1", Phase.STUCK, 5, {"p": ("fail", {"a"})})])
    verdict, standing = Listing(state).page(Wanted(), size=9).rows
    assert (verdict["status"], verdict["run_name"], verdict["failed"]) == ("fail", "Called r1", "")
    assert (standing["status"], standing["reason"], standing["run_name"], standing["experiment"]) == (
        "stuck", "why", "Called r1", "named",
    )  # fmt: skip


def test_the_choices_are_what_there_is(state: sa.Engine) -> None:
    fill(state, [(STORES[0], "r1", Phase.DUE, 5, {"p": ("fail", {"a", "b"})}), (STORES[1], "r", Phase.DONE, 6, {})])
    expected = {"status": ["fail", "pending"], "policy": ["p"], "experiment": ["named"], "control": ["a", "b"]}
    assert Listing(state).choices() == expected


@pytest.mark.parametrize("token", ["", "x", "%%%", "W10", "bnVsbA", "ñ", "W1siYSJdXQ", "A" * 5000])
def test_a_place_that_nobody_gave_is_refused(token: str) -> None:
    with pytest.raises(BadQuery):
        Key.read(token)


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


@settings(max_examples=50)
@given(st.integers(-(2**63), 2**63 - 1), st.sampled_from([0, 1]), words, words)
def test_a_place_survives_the_url(ended: int, kind: int, run_id: str, policy: str) -> None:
    key = Key(ended, kind, STORES[0], run_id, policy)
    assert asdict(Key.read(key.token())) == asdict(key)
