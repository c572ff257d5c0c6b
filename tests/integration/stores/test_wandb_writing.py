"""Writing verdicts to runs of W&B that others write too: only what is ours changes, and is there before we say so."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.wandb_world import Lab
from wandb_server import WandbServer
from wandb_server.runs import Run

from venturalitica_agent.errors import PermanentError, RetryableError, StoreUnavailable
from venturalitica_agent.policy.rules import POLICY_ID, VERSION
from venturalitica_agent.stores import wandb_files
from venturalitica_agent.stores.wandb_http import WandbHttp

PASS = {"venturalitica.policy": "credit@1", "venturalitica.counts": "3/0/0", "venturalitica.status": "pass"}
FAIL = PASS | {"venturalitica.failed": "C1,C2", "venturalitica.status": "fail"}
FILES = {"venturalitica/credit/ab12/evidence.json": b'{"a": 1}\n', "policy_snapshot/credit.yaml": b"x: 1\n"}
THEIRS = {
    "state": "crashed",
    "tags": ["baseline", "team:risk", "vl", "venturalitica"],
    "config": {"lr": {"value": 0.1}, "_wandb": {"value": {"x": 1}}, "deep": {"value": {"a": [1, None]}}},
    "summary_metrics": {
        "accuracy": 0.1 + 0.2,
        "tiny": 5e-324,
        "big": 2**77,
        "lost": float("inf"),
        "undefined": float("nan"),
        "nested": {"a": {"b": [1, "ü😀", None, True]}},
        "_wandb": {"runtime": 3},
    },
    "group": "loans",
    "job_type": "train",
    "notes": "do not touch\n",
    "display_name": "a name",
    "history_lines": ['{"loss": 1}'],
}
OURS = {"tags", "summary_metrics", "stored_files"}


@pytest.fixture(params=[True, False], ids=["modifyRuns", "upsertBucket"])
def lab(request: pytest.FixtureRequest, empty_wandb: WandbServer, old_wandb: WandbServer) -> Iterator[Lab]:
    """On a server that adds and removes single tags, and on one that only replaces them all."""
    server = empty_wandb if request.param else old_wandb
    yield Lab.on(server)
    server.faults.clear()


@pytest.fixture(scope="session")
def old_wandb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WandbServer]:
    with WandbServer(tmp_path_factory.mktemp("old-wandb"), modify_runs=False) as server:
        yield server


def theirs(run: Run) -> dict[str, Any]:
    """All of a run but what is ours."""
    kept = {name: value for name, value in vars(run).items() if name not in OURS}
    summary = {k: v for k, v in run.summary_metrics.items() if k != "venturalitica"}
    return copy.deepcopy({k: v for k, v in kept.items() if k not in ("project", "user", "logged", "used")}) | {
        "summary": repr(summary),
        "tags": [tag for tag in run.tags if not tag.startswith("vl:")],
        "files": [name for name in run.stored_files if not name.startswith(("venturalitica/", "policy_snapshot/"))],
    }


def ours(run: Run) -> list[str]:
    return sorted(tag for tag in run.tags if tag.startswith("vl:"))


def between(monkeypatch: pytest.MonkeyPatch, operation: str, change: Callable[[], None]) -> None:
    """Have somebody else make a change just before our first request of that name."""
    ask, done = WandbHttp.ask, []

    def asked(self: WandbHttp, query: str, variables: Any) -> Any:
        if f" {operation}(" in query and not done:
            done.append(change())
        return ask(self, query, variables)

    monkeypatch.setattr(WandbHttp, "ask", asked)


# -- tags and summary -------------------------------------------------------------------------------------------------
def test_nothing_of_anybody_else_changes(lab: Lab) -> None:
    run = lab.run(**copy.deepcopy(THEIRS))
    before, store = theirs(run), lab.store()
    ref = store.look(run.name)
    for verdict in (PASS, FAIL, PASS):
        store.put_files(run.name, FILES)
        store.set_tags(run.name, verdict, remove=["venturalitica.failed"])
    assert theirs(run) == before
    assert store.look(run.name) == ref
    assert ours(run) == ["vl:credit@1", "vl:pass"]


def test_a_reaudit_replaces_our_tags_and_takes_away_what_is_stale(lab: Lab) -> None:
    run, store = lab.run(tags=["baseline"]), lab.store()
    store.set_tags(run.name, FAIL)
    assert (ours(run), dict(store.get_tags(run.name))) == (["vl:credit@1", "vl:fail"], FAIL | {"baseline": ""})
    store.set_tags(run.name, PASS, remove=["venturalitica.failed", "never-set"])
    assert (ours(run), dict(store.get_tags(run.name))) == (["vl:credit@1", "vl:pass"], PASS | {"baseline": ""})
    assert run.summary_metrics["venturalitica"] == {"policy": "credit@1", "counts": "3/0/0", "status": "pass"}


def test_saying_the_same_again_writes_nothing(lab: Lab) -> None:
    run, store = lab.run(), lab.store()
    store.set_tags(run.name, PASS)
    lab.server.reset_log()
    store.set_tags(run.name, PASS)
    assert lab.asked() == ["Marks"]


def test_a_tag_that_comes_between_our_read_and_our_write_stays(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    run, store = lab.run(tags=["baseline"]), lab.store()
    for operation, tag in (("ChangeTags", "first"), ("SetSummary", "second")):
        between(monkeypatch, operation, lambda tag=tag: run.tags.append(tag))
        store.set_tags(run.name, FAIL if tag == "first" else PASS)
        assert tag in run.tags
        monkeypatch.undo()
        run.tags.remove(tag)
    assert run.tags[0] == "baseline"


def test_what_is_written_to_the_summary_after_our_look_is_not_undone_by_our_tags(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, store = lab.run(summary_metrics={"accuracy": 0.5}), lab.store()
    between(monkeypatch, "ChangeTags", lambda: run.summary_metrics.update(accuracy=0.9, late=1))
    store.set_tags(run.name, PASS)
    assert {k: v for k, v in run.summary_metrics.items() if k != "venturalitica"} == {"accuracy": 0.9, "late": 1}


@pytest.mark.parametrize("operation", ["SetSummary", "ChangeTags|SetTags"])
@pytest.mark.parametrize("applied", [False, True])
def test_a_connection_that_breaks_leads_to_the_same_end(lab: Lab, operation: str, applied: bool) -> None:
    run, store = lab.run(**copy.deepcopy(THEIRS)), lab.store()
    before = theirs(run)
    lab.server.faults.drop(applied=applied, on=operation, times=1)
    with pytest.raises(StoreUnavailable):
        store.set_tags(run.name, FAIL)
    assert "venturalitica.status" not in store.get_tags(run.name) or applied
    store.set_tags(run.name, FAIL)
    assert (ours(run), theirs(run)) == (["vl:credit@1", "vl:fail"], before)
    assert store.get_tags(run.name).items() >= FAIL.items()


def test_half_a_verdict_is_none(lab: Lab) -> None:
    run, store = lab.run(), lab.store()
    store.set_tags(run.name, FAIL)
    for tags in (["vl:fail"], [], ["vl:credit@1", "vl:fail", "vl:pass"], ["vl:credit@1", "vl:pass"]):
        run.tags = tags
        assert store.get_tags(run.name) == {}
    run.tags = ["vl:fail", "vl:credit@1"]
    assert store.get_tags(run.name) == FAIL
    run.summary_metrics["venturalitica"] = "pass"
    assert store.get_tags(run.name) == {}


def test_a_verdict_that_somebody_wrote_as_plain_tags_is_none(lab: Lab) -> None:
    run = lab.run(tags=["venturalitica.status:pass", "venturalitica.policy=credit@1", "vl:pass", "team:risk"])
    store = lab.store()
    assert store.get_tags(run.name) == {"team": "risk"}
    assert store.get_run(run.name).tags == {"team": "risk"}
    store.set_tags(run.name, FAIL)
    assert dict(store.get_tags(run.name)) == FAIL | {"team": "risk"}
    assert "venturalitica.status:pass" in run.tags


@pytest.mark.parametrize("summary", ['{"accuracy": 0.5', "[1]", '"text"'])
def test_a_summary_that_cant_be_read_is_left_alone(lab: Lab, summary: str) -> None:
    run, store = lab.run(summary_metrics=summary), lab.store()
    with pytest.raises(PermanentError, match="can't be read"):
        store.set_tags(run.name, PASS)
    assert (run.summary_metrics, run.tags) == (summary, [])
    assert store.get_tags(run.name) == {}


def test_a_server_that_drops_what_is_in_the_summary_is_noticed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    run, store = lab.run(summary_metrics={"accuracy": 0.5}), lab.store()
    ask = WandbHttp.ask

    def forgetful(self: WandbHttp, query: str, variables: Any) -> Any:
        answer = ask(self, query, variables)
        if "SetSummary" in query:
            answer["upsertBucket"]["bucket"]["summaryMetrics"] = "{}"
        return answer

    monkeypatch.setattr(WandbHttp, "ask", forgetful)
    with pytest.raises(RetryableError, match="reads back otherwise"):
        store.set_tags(run.name, PASS)
    assert run.tags == []


def test_a_server_that_takes_single_tags_and_forgets_them_is_noticed(
    empty_wandb: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab.on(empty_wandb)
    run, store = lab.run(tags=["baseline"]), lab.store()
    ask = WandbHttp.ask
    monkeypatch.setattr(WandbHttp, "ask", lambda self, q, v: {} if "ChangeTags" in q else ask(self, q, v))
    store.set_tags(run.name, PASS)
    assert run.tags == ["baseline", "vl:credit@1", "vl:pass"]


def test_what_the_server_can_do_is_found_out_once(lab: Lab) -> None:
    store, runs = lab.store(), [lab.run(), lab.run()]
    store.set_tags(runs[0].name, PASS)
    lab.server.reset_log()
    store.set_tags(runs[1].name, PASS)
    assert lab.asked() in (["Marks", "SetSummary", "ChangeTags"], ["Marks", "SetSummary", "Marks", "SetTags"])


def test_a_refused_change_of_tags_is_not_taken_for_an_old_server(empty_wandb: WandbServer) -> None:
    lab = Lab.on(empty_wandb)
    store, runs = lab.store(), [lab.run(), lab.run()]
    with lab.server.faults.status(409, on="ChangeTags"):
        store.set_tags(runs[0].name, PASS)
    lab.server.reset_log()
    store.set_tags(runs[1].name, PASS)
    assert "ChangeTags" in lab.asked()
    assert ours(runs[0]) == ours(runs[1]) == ["vl:credit@1", "vl:pass"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.from_regex(POLICY_ID, fullmatch=True), st.from_regex(VERSION, fullmatch=True), min_size=1, max_size=4
    ),
    st.sampled_from(["pass", "fail", "inconclusive", "error"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
)
def test_what_is_set_is_what_is_got(lab: Lab, policies: dict[str, str], status: str, failed: str) -> None:
    tags = {"venturalitica.policy": "@".join(next(iter(policies.items()))), "venturalitica.failed": failed}
    if len(policies) > 1:
        tags |= {f"venturalitica.{policy}.policy": f"{policy}@{version}" for policy, version in policies.items()}
        tags |= {f"venturalitica.{policy}.status": status for policy in policies}
    tags |= {"venturalitica.status": status}
    run, store = lab.run(tags=["baseline"]), lab.store()
    store.set_tags(run.name, tags)
    assert dict(store.get_tags(run.name)) == tags | {"baseline": ""}
    assert all(len(tag) <= 64 for tag in run.tags)


# -- files ------------------------------------------------------------------------------------------------------------
def test_files_are_listed_and_read_back_as_they_were_put(lab: Lab, tmp_path: Path) -> None:
    run, store = lab.run(), lab.store()
    for content in (b"first", b"second, longer"):
        files = FILES | {"venturalitica/über uns/r.md": content}
        store.put_files(run.name, files)
        assert {path: store.read_file(run.name, path) for path in files} == files
        assert lab.store().read_file(run.name, "venturalitica/über uns/r.md") == content
        assert {f.path: f.size for f in lab.store().list_files(run.name)} == {p: len(c) for p, c in files.items()}
    assert run.state == "finished"


@pytest.mark.parametrize("listed", [False, True])
def test_a_file_that_never_registers_is_an_error_soon(lab: Lab, listed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb_files, "_PATIENCE", 0.3)
    run, store = lab.run(), lab.store()
    with (
        lab.server.faults.unregistered(listed=listed, on="/storage/.*evidence"),
        pytest.raises(RetryableError, match=r"does not list .*evidence\.json") as missed,
    ):
        store.put_files(run.name, FILES)
    assert not isinstance(missed.value, StoreUnavailable)  # so that it counts, and ends in a verdict of its own
    store.put_files(run.name, FILES)
    assert store.read_file(run.name, next(iter(FILES))) == FILES[next(iter(FILES))]


def test_a_file_that_registers_late_is_waited_for(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    run, store, asked = lab.run(), lab.store(), []

    def late(_: float) -> None:
        asked.append(1)
        for file in run.stored_files.values():
            file.listed = True

    monkeypatch.setattr(wandb_files.time, "sleep", late)
    ask = WandbHttp.ask

    def unlisted(self: WandbHttp, query: str, variables: Any) -> Any:
        answer = ask(self, query, variables)
        if "RunFiles(" in query and not asked and "CreateRunFiles" not in query:
            answer["project"]["run"]["files"]["edges"] = []
        return answer

    monkeypatch.setattr(WandbHttp, "ask", unlisted)
    store.put_files(run.name, FILES)
    assert asked


def test_bytes_that_are_damaged_on_their_way_in_are_refused_by_the_server(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, store = lab.run(), lab.store()
    send = requests.Session.send

    def damaging(self: requests.Session, request: requests.PreparedRequest, **how: Any) -> requests.Response:
        if request.method == "PUT":
            request.body = b"~" + request.body[1:]
        return send(self, request, **how)

    monkeypatch.setattr(requests.Session, "send", damaging)
    with pytest.raises(PermanentError, match="BadDigest"):
        store.put_files(run.name, FILES)


def test_bytes_that_are_damaged_on_their_way_back_are_read_again(lab: Lab) -> None:
    run, store = lab.run(), lab.store()
    store.put_files(run.name, FILES)
    path, content = next(iter(FILES.items()))
    with lab.server.faults.corrupt(on="/storage/.*evidence", times=2):
        assert store.read_file(run.name, path) == content
    with lab.server.faults.corrupt(on="/storage/.*evidence"), pytest.raises(PermanentError, match="other bytes"):
        store.read_file(run.name, path)


@pytest.mark.parametrize("on", ["CreateRunFiles", "/storage/", "MarkRunFilesUploaded", "RunFiles"])
@pytest.mark.parametrize("applied", [False, True])
def test_a_broken_upload_is_made_again(lab: Lab, on: str, applied: bool) -> None:
    run, store = lab.run(), lab.store()
    lab.server.faults.drop(applied=applied, on=on, times=1)
    with pytest.raises(StoreUnavailable):
        store.put_files(run.name, FILES)
    store.put_files(run.name, FILES)
    assert {path: store.read_file(run.name, path) for path in FILES} == FILES


def test_a_read_only_key_writes_nothing(lab: Lab) -> None:
    run, reader = lab.run(**copy.deepcopy(THEIRS)), lab.store(key=lab.server.read_key)
    before = theirs(run)
    for call in (lambda: reader.put_files(run.name, FILES), lambda: reader.set_tags(run.name, PASS)):
        with pytest.raises(StoreUnavailable, match="may not do this"):
            call()
    assert (theirs(run), ours(run), run.stored_files) == (before, [], {})
    assert reader.get_run(run.name).name == "a name"


def test_audit_runs_that_are_off_cost_nothing(lab: Lab) -> None:
    lab.run("r")
    store = lab.store(audit_runs=False)
    run = store.get_run("r")
    lab.server.reset_log()
    store.link_audit(run, ["evalset:v0/test.csv"], FILES, PASS)
    assert lab.server.requests == []
