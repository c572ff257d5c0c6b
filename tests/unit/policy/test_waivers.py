"""Waivers: whom they cover and until when; and no mistake in them goes unseen."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from venturalitica_agent.domain.policy import Policy
from venturalitica_agent.domain.verdict import Finding, Status, Verdict, Waived
from venturalitica_agent.errors import ConfigError
from venturalitica_agent.policy import load_policies, parse_policy
from venturalitica_agent.policy.waivers import (
    Waiver,
    Waivers,
    applying,
    day_of,
    ending,
    expired,
    load_waivers,
    notices,
    parse_waivers,
)
from venturalitica_agent.strict_yaml import InvalidDocument

POLICY = parse_policy(
    b'policy: credit\nversion: 1\ncontrols:\n- {id: auc, metric: roc_auc, require: ">= 0.7"}\n'
    b'- {id: sex-gap, metric: equal_opportunity_diff, role: g, require: "<= 0.1"}\n',
    "credit.yaml",
)
ONE = """\
waivers:
  - policy: credit
    control: sex-gap
    run: [3f2a, "nightly #7"]
    experiment: "loan*"
    reason: the remedy ships in March
    owner: Ana Ruiz, credit risk
    expires: 2026-12-31
"""
LAST = date(2026, 12, 31)


def read(text: str, *policies: Policy) -> tuple[Waiver, ...]:
    return parse_waivers(text.encode(), "waivers.yaml", policies or (POLICY,))


def found(waivers: tuple[Waiver, ...], today: date = LAST, **other: str) -> Waiver | None:
    asked = {"policy": "credit", "control": "sex-gap", "run_id": "3f2a", "run_name": "x", "experiment": "loan-v2"}
    return applying(waivers, today=today, **(asked | other))  # type: ignore[arg-type]


def test_every_key_of_a_waiver_is_read() -> None:
    reason, owner = "the remedy ships in March", "Ana Ruiz, credit risk"
    assert read(ONE) == (Waiver("credit", "sex-gap", reason, owner, LAST, ("3f2a", "nightly #7"), "loan*", 2),)


def test_a_waiver_covers_its_own_finding_and_no_other() -> None:
    waivers = read(ONE)
    assert found(waivers) is waivers[0]
    assert found(waivers, run_id="9", run_name="nightly #7") is waivers[0]
    for other in (
        {"policy": "hiring"}, {"control": "auc"}, {"run_id": "3f2", "run_name": "nightly"}, {"experiment": "Loan-v2"},
    ):  # fmt: skip
        assert found(waivers, **other) is None


def test_without_runs_it_covers_the_experiment_and_the_other_way_round() -> None:
    by_experiment = read(ONE.replace('    run: [3f2a, "nightly #7"]\n', ""))
    assert found(by_experiment, run_id="any")
    assert not found(by_experiment, run_id="any", experiment="churn")
    by_run = read(ONE.replace('    experiment: "loan*"\n', ""))
    assert found(by_run, experiment="churn")


def test_it_counts_through_its_last_day_and_is_told_a_week_ahead() -> None:
    waivers = read(ONE)
    days = {n: LAST + timedelta(days=n) for n in (-8, -7, 0, 1)}
    assert [n for n, day in days.items() if found(waivers, day)] == [-8, -7, 0]
    assert [n for n, day in days.items() if ending(waivers, day)] == [-7, 0]
    assert [n for n, day in days.items() if expired(waivers, day)] == [1]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.dates(date(2026, 1, 1), date(2026, 2, 28)), max_size=6), st.dates(date(2026, 1, 1), date(2026, 2, 28))
)
def test_on_every_day_a_waiver_counts_or_is_expired(ends: list[date], today: date) -> None:
    waivers = tuple(Waiver("credit", "sex-gap", "r", "o", end) for end in ends)
    gone, soon = expired(waivers, today), ending(waivers, today)
    assert {w.expires for w in gone} == {end for end in ends if end < today}
    assert [w.expires for w in soon] == sorted(end for end in ends if today <= end <= today + timedelta(days=7))
    longest = found(waivers, today)
    assert (longest.expires if longest else None) == max((end for end in ends if end >= today), default=None)


BAD = [
    ("waivers: {}\n", 1, 10, "must be a list", ""),
    ("waivres: []\n", 1, 1, "unknown key 'waivres'", "waivers"),
    ("[]\n", 1, 1, "must be a map of keys and values, not a list", ""),
    (ONE.replace("credit\n", "credti\n"), 2, 13, "there is no policy 'credti'", "credit"),
    (ONE.replace("control: sex-gap", "control: sexgap"), 3, 14, "has no control 'sexgap'", "sex-gap"),
    (ONE.replace("2026-12-31", "2026-02-29"), 8, 14, "must be a date of the calendar", ""),
    (ONE.replace("2026-12-31", "never"), 8, 14, "must be a date of the calendar", ""),
    (ONE.replace("2026-12-31", "20261231"), 8, 14, "must be a date of the calendar", ""),
    (ONE.replace("    expires: 2026-12-31\n", ""), 2, 5, "'expires' is missing", ""),
    (ONE.replace("    owner: Ana Ruiz, credit risk\n", ""), 2, 5, "'owner' is missing", ""),
    (ONE.replace("the remedy ships in March", ""), 6, 12, "'reason' is empty", ""),
    (ONE.replace("the remedy ships in March", '" "'), 6, 13, "'reason' is empty", ""),
    (ONE.replace("    reason:", "    raeson:"), 6, 5, "unknown key 'raeson'", "reason"),
    (ONE.replace('[3f2a, "nightly #7"]', "[]"), 4, 10, "is an empty list", ""),
    (ONE.replace("    run: [3f2a", "    runs: [3f2a"), 4, 5, "unknown key 'runs'", "run"),
    (ONE + ONE.replace("waivers:\n", ""), 9, 5, "waived on line 2 already", ""),
    (ONE.replace('    run: [3f2a, "nightly #7"]\n    experiment: "loan*"\n', ""), 2, 5, "say for which runs", ""),
]


@pytest.mark.parametrize(("text", "line", "column", "what", "near"), BAD)
def test_bad_waivers_name_line_column_and_nearest_word(text: str, line: int, column: int, what: str, near: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        read(text)
    told = [(m.line, m.column, m.nearest) for m in caught.value.mistakes if what in m.message]
    assert told == [(line, column, near)], str(caught.value)


def test_all_mistakes_come_at_once() -> None:
    with pytest.raises(InvalidDocument) as caught:
        read(ONE.replace("credit\n", "credti\n").replace("2026-12-31", "soon").replace("owner", "ownr"))
    assert [m.line for m in caught.value.mistakes] == [2, 2, 7, 8]


def test_waivers_lie_beside_policies(tmp_path: Path) -> None:
    (tmp_path / "credit.yaml").write_bytes(POLICY.content)
    policies = load_policies(tmp_path)
    assert load_waivers(tmp_path, policies) == Waivers()
    assert load_waivers(tmp_path / "credit.yaml", policies) == Waivers()
    (tmp_path / "waivers.yaml").write_text("waivers: []\n")
    assert load_waivers(tmp_path, load_policies(tmp_path)).items == ()
    (tmp_path / "waivers.yaml").write_text(ONE)
    loaded = load_waivers(tmp_path, policies)
    assert [waiver.control for waiver in loaded.items] == ["sex-gap"]
    assert loaded.digest == sha256(ONE.encode()).hexdigest()
    (tmp_path / "waivers.yml").write_text(ONE)
    with pytest.raises(ConfigError, match=r"in two files: waivers\.yaml and waivers\.yml"):
        load_waivers(tmp_path, policies)


def test_waivers_in_a_subfolder_are_not_left_unread(tmp_path: Path) -> None:
    (tmp_path / "credit").mkdir()
    (tmp_path / "credit" / "credit.yaml").write_bytes(POLICY.content)
    (tmp_path / "credit" / "Waivers.yaml").write_text(ONE)
    with pytest.raises(ConfigError, match=r"not looked for: credit/Waivers\.yaml"):
        load_waivers(tmp_path, load_policies(tmp_path))


def test_what_counts_is_told_by_control() -> None:
    waivers = Waivers(read(ONE))
    granted = {"sex-gap": Waived("the remedy ships in March", "Ana Ruiz, credit risk", "2026-12-31")}
    assert waivers.on("credit", "3f2a", "x", "loan-v2", LAST) == granted
    for run in (("hiring", "3f2a", "x", "loan"), ("credit", "4", "x", "loan"), ("credit", "3f2a", "x", "churn")):
        assert waivers.on(*run, LAST) == {}
    assert waivers.on("credit", "3f2a", "x", "loan-v2", LAST + timedelta(days=1)) == {}


def test_notices_say_what_is_over_and_what_ends_soon() -> None:
    told = {n: notices(read(ONE), LAST + timedelta(days=n)) for n in (-8, -7, -1, 0, 1)}
    about = "the waiver of credit/sex-gap for runs 3f2a, nightly #7 (Ana Ruiz, credit risk) "
    assert told == {
        -8: (),
        -7: (about + "expires in 7 days",),
        -1: (about + "expires in 1 day",),
        0: (about + "expires at the end of today",),
        1: (about + "expired on 2026-12-31 and no longer counts",),
    }


def test_days_are_days_of_utc() -> None:
    midnight = datetime(2026, 12, 31, tzinfo=UTC).timestamp()
    assert [day_of(midnight + seconds) for seconds in (-1, 0, 86_399, 86_400)] == [
        date(2026, 12, 30), LAST, LAST, date(2027, 1, 1),
    ]  # fmt: skip


def test_a_verdict_agrees_when_it_waives_what_counts_and_nothing_else() -> None:
    waivers, none = Waivers(read(ONE)), Waivers()
    run = ("3f2a", "x", "loan-v2")
    granted = waivers.on("credit", *run, LAST)["sex-gap"]
    after = LAST + timedelta(days=1)

    def verdict(status: Status, waived: Waived | None = None, would_be: Status | None = None) -> Verdict:
        finding = Finding("sex-gap", status, "", "m", waived=waived, would_be=would_be)
        return Verdict("credit", "1", "d", status, (finding,))

    waived = verdict(Status.WAIVED, granted, Status.FAIL)
    assert waivers.agree(waived, *run, LAST)
    assert not waivers.agree(waived, *run, after)
    assert not none.agree(waived, *run, LAST)
    assert not waivers.agree(verdict(Status.WAIVED, replace(granted, owner="B"), Status.FAIL), *run, LAST)
    for status in (Status.FAIL, Status.WARN, Status.INCONCLUSIVE, Status.ERROR):
        assert not waivers.agree(verdict(status), *run, LAST)
        assert waivers.agree(verdict(status), *run, after)
    for status in (Status.PASS, Status.SKIP):
        assert waivers.agree(verdict(status), *run, LAST)
