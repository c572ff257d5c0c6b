"""The page as browsers, scripts and Prometheus meet it: documents as described, and the guard before all of them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from prometheus_client.parser import text_string_to_metric_families
from starlette.routing import Route
from starlette.testclient import TestClient
from support.page_state import PageState

from venturalitica_agent.domain.ledger import Phase
from venturalitica_agent.domain.verdict import Status
from venturalitica_agent.state.counters import Counters
from venturalitica_agent.state.notices import Outbox
from venturalitica_agent.telemetry import Telemetry
from venturalitica_agent.web import guard
from venturalitica_agent.web.access import user_line
from venturalitica_agent.web.app import create_app
from venturalitica_agent.web.metrics import METRICS
from venturalitica_agent.web.reader import Reader

ROOT = Path(__file__).resolve().parents[3]
TOKEN = "a-token-of-some-length"
PASSWORD = "correct horse"
HOSTILE = '"><script>alert(1)</script>\\u2028 {{7*7}} ‮'
NOW = time.time()
PAGES = ("/", "/runs", "/policies", "/integrations")


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageState]:
    found = PageState(tmp_path_factory.mktemp("web") / "place")
    uri = found.settings.stores[0].uri
    found.records.store_up(found.store, uri, now=NOW - 5, scanned=True)
    found.policies.put_in_force([(found.policy, "", None)], folder="/p", now=NOW - 1000)
    found.decide("good", Status.PASS, at=NOW - 10, name="plain")
    found.decide("hostile/../id?", Status.FAIL, at=NOW - 5, ended=NOW - 20, name=HOSTILE, experiment=HOSTILE)
    found.see("waits", Phase.DUE, at=NOW - 100, ended=NOW - 90)
    found.see("ignored", Phase.IGNORED, at=NOW, ended=NOW, reason='no "rule"\nselects it')
    told = Telemetry(Counters(found.engine))
    for _ in range(2):
        with told.stage("fetch"):
            pass
    told.published('say "credit"', "pass", 1500)
    told.delayed(0.4)
    told.delayed(1e9)
    told.retried("StoreUnreachable")
    told.poll_failed(found.store)
    told.killed("memory")
    told.flush()
    yield found
    found.close()


@pytest.fixture(scope="module")
def reader(state: PageState) -> Iterator[Reader]:
    found = Reader(state.settings)
    yield found
    found.close()


def client_of(reader: Reader, base: str = "http://127.0.0.1:8321", **web: Any) -> TestClient:
    settings = replace(reader.settings, web=replace(reader.settings.web, **web))
    return TestClient(create_app(settings, reader), base_url=base, follow_redirects=False)


@pytest.fixture(scope="module")
def client(reader: Reader) -> TestClient:
    return client_of(reader)


@pytest.fixture
def closed(reader: Reader) -> TestClient:
    """The page on an address that others reach."""
    return client_of(reader, "http://status.example:8321", host="0.0.0.0", token=TOKEN)


def described(client: TestClient) -> dict[str, Any]:
    document: dict[str, Any] = client.get("/api/v1/openapi.json").json()
    return document


def fits(document: dict[str, Any], path: str, status: int, answer: Any) -> None:
    """The answer is what the description says of this route and status."""
    schema = document["paths"][path]["get"]["responses"][str(status)]["content"]["application/json"]["schema"]
    Draft202012Validator({**schema, "components": document["components"]}).validate(answer)


# -- the API ------------------------------------------------------------------------------------------------------
def test_the_description_is_valid_openapi(client: TestClient) -> None:
    validate(described(client))


def test_every_described_route_answers_as_described(client: TestClient, state: PageState) -> None:
    document = described(client)
    asked = {path: path for path in document["paths"]}
    asked["/api/v1/runs/{store}/{run_id}"] = f"/api/v1/runs/{state.store}/good"
    for path, url in asked.items():
        answer = client.get(url)
        assert answer.status_code == 200, url
        fits(document, path, 200, answer.json())


def test_every_route_of_the_api_is_described(client: TestClient, reader: Reader) -> None:
    every = [route.path for route in create_app(reader.settings, reader).routes if isinstance(route, Route)]
    routes = {path.replace(":path", "") for path in every if path.startswith("/api/")}
    documented = set(described(client)["paths"]) | {"/api/v1/openapi.json"}
    assert routes <= documented
    assert {path for path in documented if path.startswith("/api/")} == routes


@pytest.mark.parametrize(
    ("url", "path", "status"),
    [
        ("/api/v1/runs?statsu=fail", "/api/v1/runs", 400),
        ("/api/v1/runs?since=soon", "/api/v1/runs", 400),
        ("/api/v1/runs?after=zzz", "/api/v1/runs", 400),
        ("/api/v1/runs?size=many", "/api/v1/runs", 400),
        ("/api/v1/runs?size=0", "/api/v1/runs", 400),
        (f"/api/v1/runs?text={'x' * 501}", "/api/v1/runs", 400),
        ("/api/v1/runs?text=%00", "/api/v1/runs", 400),
        ("/api/v1/runs/nowhere/nobody", "/api/v1/runs/{store}/{run_id}", 404),
    ],
)
def test_what_can_not_be_answered_says_why(client: TestClient, url: str, path: str, status: int) -> None:
    answer = client.get(url)
    assert answer.status_code == status
    fits(described(client), path, status, answer.json())
    assert answer.json()["what"]


def test_the_api_filters_and_turns_pages(client: TestClient) -> None:
    first = client.get("/api/v1/runs?size=2").json()
    second = client.get("/api/v1/runs", params={"size": 2, "after": first["after"]}).json()
    names = [row["run_id"] for page in (first, second) for row in page["rows"]]
    assert names == ["ignored", "good", "hostile/../id?", "waits"]
    assert (first["first"], second["first"], second["total"], second["after"]) == (1, 3, 4, "")
    assert client.get("/api/v1/runs", params={"size": 2, "before": second["before"]}).json()["rows"] == first["rows"]
    failing = client.get("/api/v1/runs?status=fail&control=control-0&policy=credit").json()
    assert [row["run_id"] for row in failing["rows"]] == ["hostile/../id?"]
    assert failing["filter"]["status"] == "fail"


def test_hostile_names_are_data_in_json_and_text_in_pages(client: TestClient, state: PageState) -> None:
    answer = client.get("/api/v1/runs?status=fail")
    assert answer.headers["content-type"] == "application/json"
    (row,) = answer.json()["rows"]
    assert row["name"] == HOSTILE
    assert row["link"].endswith("/#/experiments/7/runs/hostile%2F..%2Fid%3F")
    for url in ("/", "/runs", f"/runs/{state.store}/hostile%2F..%2Fid%3F"):
        page = client.get(url)
        assert page.status_code == 200, url
        assert "<script>alert" not in page.text
        assert "alert(1)" in page.text


# -- health and metrics --------------------------------------------------------------------------------------------
def test_it_is_alive_and_ready(client: TestClient) -> None:
    assert client.get("/healthz").json()["status"] == "alive"
    assert client.get("/readyz").json() == {"ready": True, "reasons": []}


def test_it_is_not_ready_while_a_store_is_away(tmp_path: Path) -> None:
    state = PageState(tmp_path / "place")
    reader = Reader(state.settings)
    client = client_of(reader)
    unseen = client.get("/readyz")
    state.records.store_down(state.store, "secret place", "secret reason", "", now=NOW)
    down = client.get("/readyz")
    assert (unseen.status_code, unseen.json()["reasons"]) == (503, [f"store {state.store} was not looked at yet"])
    assert (down.status_code, down.json()["reasons"]) == (503, [f"store {state.store} does not answer"])
    fits(described(client), "/readyz", 503, down.json())
    reader.close()
    state.close()


def test_an_unreadable_state_is_said_and_nothing_else_breaks(tmp_path: Path) -> None:
    state = PageState(tmp_path / "place")
    reader = Reader(state.settings)
    with state.engine.begin() as db:
        db.exec_driver_sql("DROP TABLE stores")
    client = client_of(reader)
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").json()["reasons"] == ["the state can't be read: OperationalError"]
    assert client.get("/api/v1/overview").status_code == client.get("/").status_code == 503
    assert client.get("/api/v1/overview").json()["what"] == "the state can't be read now"
    reader.close()
    state.close()


def test_the_metrics_are_those_that_the_page_documents_with_values_of_the_state(
    client: TestClient, state: PageState
) -> None:
    Outbox(state.engine, "team").open(NOW)
    Outbox(state.engine, "team").note("key", "fail", "a run failed", NOW)
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    plain = [sample for family in families.values() if family.type != "histogram" for sample in family.samples]
    samples = [sample for sample in plain if not sample.name.endswith("_created")]
    histograms = {name for name, family in families.items() if family.type == "histogram"}
    assert {sample.name for sample in samples} | histograms == set(METRICS)
    for sample in samples:
        assert set(sample.labels) == set(filter(None, METRICS[sample.name][0].split(", ")))
    values = {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value for sample in samples
    }
    assert values["venturalitica_runs", "done", state.store] == 2
    assert values["venturalitica_runs_ignored", 'no "rule"\nselects it', state.store] == 1
    assert values["venturalitica_verdicts", "credit", "fail"] == values["venturalitica_verdicts", "credit", "pass"] == 1
    assert values[("venturalitica_due",)] == 1
    assert values[("venturalitica_due_oldest_seconds",)] == pytest.approx(time.time() - NOW + 90, abs=20)
    assert values[("venturalitica_stuck",)] == values[("venturalitica_policy_refused",)] == 0
    assert values["venturalitica_store_up", state.store, state.settings.stores[0].uri] == 1
    assert values["venturalitica_audits_total", 'say "credit"', "pass"] == 1
    assert values[("venturalitica_evidence_bytes_total",)] == 1500
    assert values["venturalitica_sandbox_kills_total", "memory"] == 1
    assert values["venturalitica_notices", "team", "waiting"] == 1
    assert values["venturalitica_notices", "team", "given_up"] == 0
    delays = {
        (sample.name.rpartition("_")[2], sample.labels.get("le")): sample.value
        for sample in families["venturalitica_verdict_delay_seconds"].samples
    }
    assert (delays["bucket", "0.25"], delays["bucket", "0.5"], delays["bucket", "86400"]) == (0, 1, 1)
    assert delays["bucket", "+Inf"] == delays["count", None] == 2
    assert delays["sum", None] == pytest.approx(1e9, rel=1e-6)
    stages = families["venturalitica_stage_seconds"].samples
    assert {sample.labels["stage"] for sample in stages} == {"fetch"}
    assert [sample.value for sample in stages if sample.name.endswith("_count")] == [2]


def test_the_page_of_documentation_lists_every_metric_with_its_labels() -> None:
    page = (ROOT / "docs" / "status-page.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(venturalitica_\w+)` \| ([^|]*?) \|", page, re.MULTILINE)
    listed = {name: labels.replace("`", "") for name, labels in rows}
    assert listed == {name: labels for name, (labels, _) in METRICS.items()}


# -- the guard ------------------------------------------------------------------------------------------------------
def test_every_answer_tells_browsers_what_they_may_do(client: TestClient) -> None:
    for url in (*PAGES, "/api/v1/overview", "/healthz", "/metrics", "/nothing/here", "/static/htmx.min.js"):
        headers = client.get(url).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == "'self'"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == ("max-age=3600" if url.startswith("/static") else "no-store")


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "", "localhost@evil.example", "[::1", "2130706433"]
)
def test_a_name_that_somebody_lets_point_to_this_machine_is_not_answered(client: TestClient, host: str) -> None:
    for url in ("/", "/api/v1/overview", "/metrics", "/healthz"):
        assert client.get(url, headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost:8321", "127.0.0.1", "[::1]:8321", "LOCALHOST"])
def test_this_machine_s_own_names_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/api/v1/overview", headers={"host": host}).status_code == 200


def test_strangers_get_the_form_and_scripts_get_401(closed: TestClient) -> None:
    for url in PAGES:
        answer = closed.get(url)
        assert (answer.status_code, answer.headers["location"].split("?")[0]) == (303, "/login")
    for url in ("/api/v1/overview", "/api/v1/openapi.json", "/metrics"):
        answer = closed.get(url)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert [closed.get(url).status_code for url in ("/healthz", "/readyz", "/static/htmx.min.js", "/login")] == [
        200
    ] * 4


def test_metrics_are_open_on_loopback_only(reader: Reader) -> None:
    client = client_of(reader, token=TOKEN)
    assert client.get("/metrics").status_code == 200
    assert client.get("/").status_code == 303


def test_the_bearer_of_the_token_is_let_in(closed: TestClient) -> None:
    assert closed.get("/api/v1/overview", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    for wrong in (f"Bearer {TOKEN}x", "Bearer", f"Basic {TOKEN}", TOKEN, "Bearer ñ".encode()):
        assert closed.get("/api/v1/overview", headers={"authorization": wrong}).status_code == 401


def fields_of(client: TestClient, url: str) -> dict[str, str]:
    """The hidden fields of the form on a page."""
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', client.get(url).text)
    return dict(found)


def test_a_login_opens_the_pages_until_the_token_changes(closed: TestClient, reader: Reader) -> None:
    hidden = fields_of(closed, "/login?next=%2Fruns%3Fstatus%3Dfail")
    answer = closed.post("/login", data={**hidden, "token": TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (303, "/runs?status=fail")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert TOKEN not in cookie
    assert closed.get("/").status_code == 200
    session = closed.cookies[guard.SESSION]
    other = client_of(reader, "http://status.example:8321", host="0.0.0.0", token=TOKEN + "-new")
    for forged in (session, session[:-1] + "0", "9999999999.x.y", "..", "9" * 400):
        other.cookies.set(guard.SESSION, forged)
        assert other.get("/").status_code == 303
    assert closed.post("/logout", data=fields_of(closed, "/integrations")).status_code == 303
    assert closed.get("/").status_code == 303


def test_users_log_in_by_name_and_password(reader: Reader, tmp_path: Path) -> None:
    (tmp_path / "users").write_text(user_line("ana", PASSWORD))
    client = client_of(reader, "http://status.example:8321", host="0.0.0.0", users=tmp_path / "users")
    hidden = fields_of(client, "/login")
    assert client.post("/login", data={**hidden, "user": "ana", "password": "wrong"}).status_code == 403
    assert client.get("/").status_code == 303
    assert client.post("/login", data={**hidden, "user": "ana", "password": PASSWORD}).status_code == 303
    assert client.get("/").status_code == 200


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:x", "/a\nb"]
)
def test_a_login_leads_nowhere_else(closed: TestClient, target: str) -> None:
    hidden = {**fields_of(closed, "/login"), "next": target}
    assert closed.post("/login", data={**hidden, "token": TOKEN}).headers["location"] == "/"


def test_guessing_is_slowed_down(closed: TestClient) -> None:
    hidden = fields_of(closed, "/login")
    answers = [closed.post("/login", data={**hidden, "token": f"guess {n}"}).status_code for n in range(12)]
    assert answers == [403] * 10 + [429] * 2
    assert closed.post("/login", data={**hidden, "token": TOKEN}).status_code == 429


def test_a_form_of_another_site_changes_nothing(client: TestClient, reader: Reader) -> None:
    good = fields_of(client, "/integrations")["csrf"]
    stranger = client_of(reader)
    assert stranger.post("/recheck", data={"csrf": good}).status_code == 403  # without this visitor's cookie
    for wrong in ("", "x", good[:-1], "ñ"):
        assert client.post("/recheck", data={"csrf": wrong}).status_code == 403
    assert client.post("/recheck", content=json.dumps({"csrf": good})).status_code == 403
    assert client.post("/recheck", data={"csrf": good, "more": "x" * 20_000}).status_code == 413
    assert client.post("/recheck", data={"csrf": good}).status_code == 303
    assert client.post("/recheck", headers={"x-csrf-token": good}).status_code == 303


def test_only_reading_is_possible_elsewhere(client: TestClient) -> None:
    csrf = {"x-csrf-token": fields_of(client, "/integrations")["csrf"]}
    for method in ("POST", "PUT", "DELETE"):
        for url in ("/", "/api/v1/overview", "/metrics"):
            assert client.request(method, url, headers=csrf).status_code == 405


def test_files_outside_of_static_are_not_served(client: TestClient) -> None:
    for url in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2f..%2fagent.py", "/static//etc/passwd"):
        assert client.get(url).status_code in (404, 405)
