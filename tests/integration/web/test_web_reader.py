"""What the pages say of states that the agent really wrote."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.page_state import UI, PageState
from support.verdicts import policy, subject

from venturalitica_agent.domain.ledger import Phase
from venturalitica_agent.domain.verdict import Status
from venturalitica_agent.policy.load import load_one_policy
from venturalitica_agent.state.listing import BadQuery
from venturalitica_agent.web.model import Light, RunFilter
from venturalitica_agent.web.reader import Reader

PASS, FAIL, SKIP, INCONCLUSIVE = Status.PASS, Status.FAIL, Status.SKIP, Status.INCONCLUSIVE
NOW = time.time()
Opened = Callable[..., tuple[PageState, Reader]]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    things: list[PageState | Reader] = []

    def open_it(more: str = "", **env: str) -> tuple[PageState, Reader]:
        state = PageState(tmp_path / "place", more, env)
        reader = Reader(state.settings)
        things.extend((reader, state))
        return state, reader

    yield open_it
    for thing in things:
        thing.close()


def test_nothing_audited_is_grey(opened: Opened) -> None:
    state, reader = opened()
    state.see("r", Phase.DUE, at=NOW - 60, ended=NOW - 70)
    view = reader.overview()
    assert (view.light, view.counts, view.due.count) == (Light.GREY, {}, 1)
    (store,) = view.stores
    assert (store.ok, store.light, store.phases) == (None, Light.GREY, {"due": 1})
    assert [(one.id, one.light, one.policies) for one in store.experiments] == [("7", Light.GREY, ())]


def test_green_says_as_of_when_and_runs_that_are_gone_or_ignored_do_not_count(opened: Opened) -> None:
    state, reader = opened()
    state.decide("good", PASS, SKIP, at=NOW - 100)
    for run_id, phase in (("deleted", Phase.GONE), ("aside", Phase.IGNORED)):
        state.decide(run_id, FAIL, at=NOW - 50)
        state.see(run_id, phase, at=NOW, ended=NOW - 51, reason="why")
    view = reader.overview()
    assert (view.light, view.counts) == (Light.GREEN, {"pass": 1})
    (light,) = view.stores[0].experiments[0].policies
    assert (light.policy, light.light, light.as_of) == ("credit", Light.GREEN, int(NOW - 100))
    assert sum(week.counts.get("pass", 0) for week in light.trend) == 1
    listed = {(row.run_id, row.status, row.policy, row.reason) for row in reader.runs(RunFilter()).rows}
    assert listed == {("good", "pass", "credit", ""), ("deleted", "gone", "", "why"), ("aside", "ignored", "", "why")}
    state.decide("bad", INCONCLUSIVE, at=NOW)
    assert reader.overview().light is Light.AMBER


def test_a_newer_verdict_takes_the_place_of_an_older_one(opened: Opened) -> None:
    state, reader = opened()
    state.decide("r", FAIL, at=NOW - 100)
    state.decide("r", PASS, at=NOW - 50, about=subject(column="gender"))
    assert (reader.overview().light, reader.overview().counts) == (Light.GREEN, {"pass": 1})


def test_what_waits_says_since_when_also_when_it_is_tried_again(opened: Opened) -> None:
    state, reader = opened()
    state.see("tried", Phase.DUE, at=NOW - 500, ended=NOW - 400)
    state.see("tried", Phase.CLAIMED, at=NOW - 10, ended=NOW - 400)  # seen_at stays, changed_at moves
    state.see("stuck", Phase.STUCK, at=NOW - 300, ended=NOW - 301)
    state.see("forgotten", Phase.RUNNING, at=NOW - 2 * 86_400)
    state.see("going on", Phase.RUNNING, at=NOW - 60)
    view = reader.overview()
    assert (view.due.count, view.stuck.count, view.running_too_long) == (1, 1, 1)
    assert view.due.since == pytest.approx(NOW - 400, abs=0.01)
    assert view.stuck.since == pytest.approx(NOW - 300, abs=0.01)
    assert reader.integrations().stores[0].lag == pytest.approx(time.time() - NOW + 400, abs=5)


def test_a_run_page_shows_all_that_its_verdict_rests_on(opened: Opened) -> None:
    state, reader = opened()
    decision = state.decide("r", PASS, FAIL, at=NOW, name="trained")
    page = reader.run(state.store, "r")
    assert page is not None
    assert (page.name, page.experiment, page.status, page.light, page.phase) == (
        "trained", "demo", "fail", Light.RED, "done",
    )  # fmt: skip
    assert page.run_link == f"{UI}/#/experiments/7/runs/r"
    assert page.failing_link.startswith(f"{UI}/#/experiments/7/runs?searchFilter=")
    (audit,) = page.audits
    assert (audit.audit_id, audit.counts, audit.decided_at) == (decision.audit_id, {"pass": 1, "fail": 1}, int(NOW))
    first = audit.findings[0]
    assert (first.sentence, first.value, first.high, first.picture) == ("The ratio is 0.43.", 0.43, None, "")
    assert [(group.group, group.value, group.n) for group in first.groups] == [("f", 0.4, 100), ("m", None, 100)]
    digests = {digest.part: (digest.sha256, digest.check) for digest in audit.digests}
    data = decision.subject.data["evaluation"]
    assert decision.subject.model is not None
    assert digests == {"model": (decision.subject.model.digest, ""), "evaluation": (data.file.sha256, "match")}
    assert [(role.role, role.column, role.how) for role in audit.binding] == [("gender", "sex", "declared")]
    assert audit.missing == ("training: no training data was logged",)
    report = f"venturalitica/credit/{decision.audit_id}/report.md"
    assert f"{UI}/#/experiments/7/runs/r/artifacts/{report}" in {file.link for file in audit.evidence}
    assert [limit.article for limit in audit.cannot_claim] == ["10(2)(f)"]


def test_a_run_page_leads_to_earlier_audits_and_to_the_runs_of_its_lineage(opened: Opened) -> None:
    state, reader = opened()
    about = subject()
    assert about.model is not None
    other_model = replace(about, model=replace(about.model, digest="e" * 64))
    data = about.data["evaluation"]
    other_data = replace(about, data={"evaluation": replace(data, file=replace(data.file, sha256="f" * 64))})
    state.decide("r", FAIL, at=NOW - 500, about=subject(column="gender"))
    state.decide("r", PASS, at=NOW - 400)
    state.decide("same model", PASS, at=NOW - 300, about=other_data)
    state.decide("same data", PASS, at=NOW - 200, about=other_model)
    state.decide("neither", PASS, at=NOW - 100, about=replace(other_data, model=other_model.model))
    page = reader.run(state.store, "r")
    assert page is not None
    assert [(one.relation, one.run_id, one.status) for one in page.earlier] == [
        ("earlier", "r", "fail"),
        ("same model", "same model", "pass"),
        ("same data", "same data", "pass"),
    ]


def test_the_lineage_of_a_popular_model_is_bounded(opened: Opened) -> None:
    state, reader = opened()
    for n in range(25):
        state.decide(f"r{n}", PASS, at=NOW + n)
    page = reader.run(state.store, "r0")
    assert page is not None
    assert len(page.earlier) == 20
    assert page.earlier[0].run_id == "r24"


def test_a_run_without_a_verdict_has_a_page_and_an_unknown_one_has_none(opened: Opened) -> None:
    state, reader = opened()
    state.see("r", Phase.STUCK, at=NOW, ended=NOW, reason="could not be tagged")
    page = reader.run(state.store, "r")
    assert page is not None
    assert (page.status, page.light, page.reason, page.audits) == ("stuck", Light.GREY, "could not be tagged", ())
    assert reader.run(state.store, "nobody") is None


def test_policies_show_what_each_version_changed_and_decided(opened: Opened) -> None:
    state, reader = opened()
    file = state.settings.policies / "credit.yaml"
    old = load_one_policy(file)
    file.write_text(file.read_text().replace("0.5", "0.6").replace("1.0.0", "1.1.0"))
    new = load_one_policy(file)
    state.policies.put_in_force([(old, "c" * 40, False)], folder="/p", now=NOW - 1000)
    state.policies.put_in_force([(new, "", None)], folder="/p", now=NOW - 500)
    state.policies.note_mistake("/p", "line 3 is wrong", now=NOW)
    state.decide("r1", PASS, at=NOW - 900, policy=old)
    state.decide("r2", FAIL, at=NOW - 400, policy=new)
    today = time.strftime("%Y-%m-%d", time.gmtime())
    (state.settings.policies / "waivers.yaml").write_text(
        f"waivers: [{{policy: credit, control: ratio, reason: known, owner: Ana, expires: {today}, run: r1}}]\n"
    )
    page = reader.policies()
    (view,) = page.policies
    assert view.title == "Credit"
    assert [(term.version, term.decided) for term in view.terms] == [("1.1.0", {"fail": 1}), ("1.0.0", {"pass": 1})]
    assert any("0.6" in words and "0.5" in words for words in view.terms[0].diff)
    assert view.terms[1].diff == ()
    assert page.refused == ("line 3 is wrong",)
    (waiver,) = page.waivers
    assert (waiver.scope, waiver.counts_today, waiver.days_left) == ("runs r1", True, 0)
    assert any("expires at the end of today" in notice for notice in reader.overview().notices)


def test_waivers_that_can_not_be_read_are_told_of(opened: Opened) -> None:
    state, reader = opened()
    (state.settings.policies / "waivers.yaml").write_text("waivers: [{}]\n")
    assert any("the waivers can't be read now" in notice for notice in reader.overview().notices)


def test_integrations_show_stores_with_their_last_trouble_and_credentials_by_name_only(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "s3cr3t-" + "x" * 30
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", secret)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    state, reader = opened()
    uri = state.settings.stores[0].uri
    state.records.store_down(state.store, uri, "no answer", "start it", now=NOW - 100)
    state.records.store_up(state.store, uri, now=NOW - 50, scanned=True)
    state.decide("r", PASS, at=NOW - 20, name="newest")
    state.see("not mine", Phase.IGNORED, at=NOW - 10, ended=NOW - 11, reason="no rule selects it")
    view = reader.integrations()
    (store,) = view.stores
    assert (store.ok, store.last_error, store.remedy, store.last_error_at) == (True, "no answer", "start it", NOW - 100)
    assert (store.scanned_at, store.last_event) == (NOW - 50, NOW - 10)
    assert (store.latest_run, store.latest_run_link) == ("newest", f"{UI}/#/experiments/7/runs/r")
    assert store.ignored == {"no rule selects it": 1}
    credentials = {one.name: (one.present, one.origin) for one in store.credentials}
    assert credentials["AWS_ACCESS_KEY_ID"] == (True, "environment")
    assert credentials["AWS_SECRET_ACCESS_KEY"] == (False, "")
    assert secret not in view.model_dump_json()


def test_a_credential_of_dotenv_is_told_apart_though_the_service_applied_it(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / ".env").write_text("AWS_ACCESS_KEY_ID=of-dotenv\n")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-dotenv")
    _, reader = opened()
    credentials = {one.name: one.origin for one in reader.integrations().stores[0].credentials}
    assert credentials["AWS_ACCESS_KEY_ID"] == ".env"


@pytest.mark.parametrize(
    ("wanted", "paging"),
    [
        ({"since": "yesterday"}, {}),
        ({"until": "2026-02-30"}, {}),
        ({"text": "a\0b"}, {}),
        ({}, {"after": "nonsense"}),
        ({}, {"size": 0}),
        ({}, {"size": 501}),
    ],
)
def test_a_question_that_can_not_be_read_is_refused(opened: Opened, wanted: dict[str, str], paging: dict) -> None:
    _, reader = opened()
    with pytest.raises(BadQuery):
        reader.runs(RunFilter(**wanted), **paging)


def test_the_last_day_of_a_filter_counts_whole(opened: Opened) -> None:
    state, reader = opened()
    midnight = 1_767_225_600.0  # 2026-01-01
    for name, ended in (("before", midnight - 1), ("first", midnight), ("last", midnight + 86_399.9)):
        state.decide(name, PASS, at=midnight + 200_000, ended=ended, policy=policy("credit"))
    state.decide("after", PASS, at=midnight + 200_000, ended=midnight + 86_400)
    rows = reader.runs(RunFilter(since="2026-01-01", until="2026-01-01")).rows
    assert [row.run_id for row in rows] == ["last", "first"]
