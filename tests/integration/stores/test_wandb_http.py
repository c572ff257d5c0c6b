"""Talking to a W&B server that refuses, stalls, lies or sends us elsewhere: deadlines hold, and the key stays ours."""

from __future__ import annotations

import base64
import json
import logging
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from support.odd_server import Handler, OddServer, odd_server
from support.wandb_world import Lab
from wandb_server import Fault, Faults

from venturalitica_agent.errors import AgentError, PermanentError, RetryableError, StoreUnavailable, UntrustedInput
from venturalitica_agent.stores import wandb_http
from venturalitica_agent.stores.wandb_http import Key, NotAllowed, NotUnderstood, WandbHttp
from venturalitica_agent.stores.wandb_project import WandbProject

KEY = "s3cr3t" * 7
BASIC = base64.b64encode(f"api:{KEY}".encode()).decode()
VIEWER = "query Viewer { viewer { username } }"


def http_to(server: OddServer) -> WandbHttp:
    return WandbHttp(server.url, lambda: Key(KEY, "the test"))


def failure(call: Callable[[], Any]) -> AgentError:
    """What the call raises, which shows the key nowhere."""
    with pytest.raises(AgentError) as raised:
        call()
    shown = "".join(traceback.format_exception(raised.value)) + repr(raised.value) + str(raised.value.diagnostics())
    assert KEY not in shown
    assert BASIC not in shown
    return raised.value


# -- refusals ---------------------------------------------------------------------------------------------------------
def test_each_reason_for_not_getting_in_has_words_of_its_own(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = lab.store(key=KEY)
    found = {"wrong key": failure(wrong.ping)}
    lab.server.world.anonymous = True
    found["nobody"] = failure(wrong.ping)
    lab.server.world.anonymous = False
    found["no project"] = failure(WandbProject(lab.http, "acme", "nonesuch").ping)
    found["no network"] = failure(WandbProject(WandbHttp("http://127.0.0.1:1", lambda: Key(KEY, "x")), "a", "b").ping)
    found["no key"] = failure(WandbProject(WandbHttp(lab.server.url, lambda: None), "a", "b").ping)
    reader = lab.store(key=lab.server.read_key)
    assert not reader.writable()
    assert lab.store().writable()
    run = lab.run()
    found["read-only"] = failure(lambda: reader.set_tags(run.name, {"venturalitica.status": "pass"}))
    assert all(isinstance(error, StoreUnavailable) and error.remedy for error in found.values())
    assert isinstance(found["read-only"], NotAllowed)
    assert len({error.what for error in found.values()}) == len({str(e.diagnostics()) for e in found.values()}) == 6
    assert "401" in found["wrong key"].what
    assert "Connection refused" in found["no network"].what
    assert KEY not in caplog.text


def test_a_listing_without_a_good_key_or_project_fails_and_is_not_empty(lab: Lab) -> None:
    lab.run("present")
    lost = WandbProject(lab.http, "acme", "nonesuch")
    for call in (lambda: list(lost.scan()), lambda: lost.look("present"), lambda: list(lost.recent(0))):
        assert "no project acme/nonesuch" in failure(call).what
    lab.server.world.anonymous = True
    nobody = lab.store(key=KEY)
    for call in (lambda: list(nobody.scan()), lambda: nobody.look("present"), lambda: nobody.get_tags("present")):
        assert "names no user" in failure(call).what


def test_a_key_that_is_replaced_is_taken_up(lab: Lab) -> None:
    keys = [Key(KEY, "old"), Key(lab.server.key, "new")]
    http = WandbHttp(lab.server.url, lambda: keys.pop(0))
    assert "old" in failure(lambda: http.ask(VIEWER, {})).what
    assert http.ask(VIEWER, {})["viewer"]


def test_an_error_that_quotes_the_key_is_not_passed_on(odd: OddServer) -> None:
    words = f"bad credentials {KEY}; Authorization: Basic {BASIC}; permission denied"
    http = http_to(odd)
    for status in (403, 400, 422):
        odd.answer = lambda handler, status=status: handler.say(status, words.encode())
        assert "***" in str(failure(lambda: http.ask(VIEWER, {})))
    odd.answer = lambda handler: handler.say(200, json.dumps({"errors": [{"message": words}]}).encode())
    assert isinstance(failure(lambda: http.ask(VIEWER, {})), NotAllowed)


@pytest.mark.parametrize(
    ("errors", "kind"),
    [
        ([{"message": "internal"}], RetryableError),
        ([{"message": "permission denied"}], NotAllowed),
        ([{"message": 'Cannot query field "x" on type "Run".'}], NotUnderstood),
        ("a text", RetryableError),
        (5, RetryableError),
        ({"message": "a map"}, RetryableError),
        ([None, 3], RetryableError),
    ],
)
def test_errors_in_a_good_answer_are_errors(odd: OddServer, errors: Any, kind: type[AgentError]) -> None:
    odd.answer = lambda handler: handler.say(200, json.dumps({"data": {"viewer": {}}, "errors": errors}).encode())
    assert type(failure(lambda: http_to(odd).ask(VIEWER, {}))) is kind


def test_a_request_that_the_server_doesnt_understand_is_not_tried_again(lab: Lab) -> None:
    assert isinstance(failure(lambda: lab.http.ask("query X { viewer { nonesuch } }", {})), NotUnderstood)


def test_a_server_that_is_not_wandb_is_told_by_its_address(odd: OddServer) -> None:
    odd.answer = lambda handler: handler.say(404, b"<html>nothing here</html>")
    error = failure(lambda: http_to(odd).ask(VIEWER, {}))
    assert (error.subject, "WANDB_BASE_URL" in error.remedy) == (odd.url, True)


# -- waits ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("header", ["Retry_After", "RateLimit_Reset", "date"])
def test_the_wait_that_the_server_asks_for_is_kept(odd: OddServer, status: int, header: str) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    headers = {"Retry_After": date} if header == "date" else {header: "60"}
    odd.answer = lambda handler: handler.say(status, b"", **headers)
    http = http_to(odd)
    first = failure(lambda: http.ask(VIEWER, {}))
    assert isinstance(first, StoreUnavailable)
    assert 55 <= first.pause <= 61
    asked = len(odd.seen)
    again = failure(lambda: http.ask(VIEWER, {}))
    assert isinstance(again, StoreUnavailable)
    assert 50 <= again.pause <= first.pause
    assert len(odd.seen) == asked


def test_a_used_up_limit_is_heeded_before_it_is_refused(odd: OddServer) -> None:
    body = b'{"data": {}}'
    odd.answer = lambda handler: handler.say(200, body, RateLimit_Remaining="0", RateLimit_Reset="30")
    http = http_to(odd)
    assert http.ask(VIEWER, {}) == {}
    error = failure(lambda: http.ask(VIEWER, {}))
    assert isinstance(error, StoreUnavailable)
    assert 25 <= error.pause <= 30
    assert len(odd.seen) == 1


@pytest.mark.parametrize(
    "header", ["soon", "-5", "nan", "", "0", "Mon, 99 Foo 2026", "Mon, 01 Jan 99999 00:00:00 GMT", "9" * 400]
)
def test_a_wait_that_is_none_or_without_end_stops_nobody_for_ever(odd: OddServer, header: str) -> None:
    odd.answer = lambda handler: handler.say(429, b"", Retry_After=header)
    error = failure(lambda: http_to(odd).ask(VIEWER, {}))
    assert isinstance(error, StoreUnavailable)
    assert 0 <= error.pause <= 3600


def test_a_short_wait_is_waited(odd: OddServer) -> None:
    odd.answer = lambda handler: handler.say(
        *((200, b'{"data": {}}') if len(odd.seen) > 1 else (429,)), Retry_After="1"
    )
    http = http_to(odd)
    failure(lambda: http.ask(VIEWER, {}))
    began = time.monotonic()
    assert http.ask(VIEWER, {}) == {}
    assert time.monotonic() - began > 0.8


# -- a server in trouble ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "trouble",
    [
        lambda faults: faults.status(500),
        lambda faults: faults.status(503),
        lambda faults: faults.slow(0.4),
        lambda faults: faults.drop(applied=False),
        lambda faults: faults.drop(applied=True),
        lambda faults: faults.truncate(),
        lambda faults: faults.truncate(honest=True),
    ],
)
def test_trouble_of_the_server_is_a_store_that_is_away(
    lab: Lab, trouble: Callable[[Faults], Fault], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wandb_http, "_READ", 0.2)
    http = lab.http
    with trouble(lab.server.faults):
        error = failure(lambda: http.ask(VIEWER, {}))
    assert isinstance(error, StoreUnavailable)
    assert (error.subject, bool(error.remedy)) == (lab.server.url, True)
    assert http.ask(VIEWER, {})["viewer"]


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"null", b"3", b'{"data": null}', b"{}", b"\xff", b"[" * 200_000]
)
def test_a_body_that_is_no_answer_is_a_store_that_is_away(odd: OddServer, body: bytes) -> None:
    odd.answer = lambda handler: handler.say(200, body)
    assert isinstance(failure(lambda: http_to(odd).ask(VIEWER, {})), StoreUnavailable)


def test_a_huge_answer_is_refused_before_it_is_read(
    odd: OddServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(wandb_http, "_MOST_ANSWER", 10_000)
    odd.answer = lambda handler: handler.say(200, b" " * 100_000)
    assert isinstance(failure(lambda: http_to(odd).ask(VIEWER, {})), UntrustedInput)
    assert isinstance(failure(lambda: http_to(odd).download("/x", tmp_path / "x", 99_999)), UntrustedInput)
    assert (tmp_path / "x").stat().st_size <= 99_999
    http_to(odd).download("/x", tmp_path / "x", 100_000)


def drip(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    for _ in range(200):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.02)


def test_an_answer_that_comes_byte_by_byte_has_a_deadline(odd: OddServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb_http, "_READ", 0.1)
    monkeypatch.setattr(wandb_http, "_TRANSFER", 0.2)
    odd.answer = drip
    began = time.monotonic()
    assert isinstance(failure(lambda: http_to(odd).ask(VIEWER, {})), StoreUnavailable)
    assert isinstance(failure(lambda: http_to(odd).read("/x")), StoreUnavailable)
    assert time.monotonic() - began < 2


def test_an_error_whose_body_never_comes_is_still_that_error(odd: OddServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb_http, "_READ", 0.1)

    def unfinished(handler: Handler) -> None:
        handler.say(403, b"permis", Content_Length="1000")
        time.sleep(0.3)

    odd.answer = unfinished
    assert isinstance(failure(lambda: http_to(odd).ask(VIEWER, {})), NotAllowed)


# -- where the key goes -----------------------------------------------------------------------------------------------
def test_the_key_goes_to_the_server_and_to_no_file_host(
    odd: OddServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login me password elsewhere\nmachine 127.0.0.1 login me password elsewhere\n")
    monkeypatch.setenv("NETRC", str(netrc))
    http = http_to(odd)
    with odd_server() as host:
        host.answer = lambda handler: handler.say(200, b"bytes")
        odd.answer = lambda handler: handler.say(200, b"bytes")
        assert http.read(f"{host.url}/file") == b"bytes"
        http.upload(f"{host.url}/put", b"x", {"X-Custom": "1"})
        http.read(f"{odd.url}/files/x")
        http.read("/files/y")
        http.read(f"{odd.url}/bucket/z?X-Amz-Signature=abc")
        odd.answer = lambda handler: handler.say(307, b"", Location=f"{host.url}/moved")
        assert http.read("/files/z") == b"bytes"
    sent = {path: headers.get("Authorization") for path, headers in odd.seen + host.seen}
    assert {path for path, header in sent.items() if header == f"Basic {BASIC}"} == {"/files/x", "/files/y", "/files/z"}
    assert {path for path, header in sent.items() if header is None} == {
        "/file",
        "/put",
        "/moved",
        "/bucket/z?X-Amz-Signature=abc",
    }


@pytest.mark.parametrize("status", [401, 403])
def test_a_file_host_that_refuses_its_address_says_nothing_of_our_key(odd: OddServer, status: int) -> None:
    http = http_to(odd)
    with odd_server() as host:
        host.answer = lambda handler: handler.say(status, b"<Error>expired</Error>")
        error = failure(lambda: http.read(f"{host.url}/file?sig=1"))
        assert error.subject == host.url
        odd.answer = lambda handler: handler.say(302, b"", Location=f"{host.url}/moved")
        assert failure(lambda: http.read("/file")).subject == host.url
    assert type(error) is RetryableError
    assert "key" not in error.what
    odd.answer = lambda handler: handler.say(200, b'{"data": {}}')
    assert http.ask(VIEWER, {}) == {}


def test_a_post_is_never_sent_on(odd: OddServer) -> None:
    with odd_server() as host:
        odd.answer = lambda handler: handler.say(307, b"", Location=f"{host.url}/graphql")
        assert isinstance(failure(lambda: http_to(odd).ask(VIEWER, {})), StoreUnavailable)
        assert host.seen == []


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://host/x", "None", "", "data:,x", "http://[/x", "ftp://h:port/", "http://h:99999/"],
)
def test_addresses_that_are_not_http_are_refused(odd: OddServer, url: str, tmp_path: Path) -> None:
    assert isinstance(failure(lambda: http_to(odd).download(url, tmp_path / "x", 10)), UntrustedInput)
    assert odd.seen == []


@pytest.mark.parametrize(
    "url", ["http:///x", "http://.example/x", "http://a b/x", f"http://{'x' * 300}/", "http://ü\u202e/"]
)
def test_hosts_that_are_none_are_away(odd: OddServer, url: str) -> None:
    assert isinstance(failure(lambda: http_to(odd).read(url)), StoreUnavailable)


def test_a_redirect_to_a_local_file_is_not_followed(odd: OddServer) -> None:
    odd.answer = lambda handler: handler.say(302, b"", Location="file:///etc/passwd")
    assert isinstance(failure(lambda: http_to(odd).read("/x")), StoreUnavailable)


def test_credentials_in_the_base_url_are_not_shown(lab: Lab) -> None:
    url = lab.server.url.replace("//", f"//me:{KEY}@")
    http = WandbHttp(url, lambda: Key(lab.server.key, "the test"))
    assert http.ask(VIEWER, {})["viewer"]
    assert http.shown == lab.server.url
    wrong = WandbHttp(url, lambda: Key("0" * 40, "the test"))
    failure(lambda: wrong.ask(VIEWER, {}))
    failure(lambda: WandbHttp(f"http://me:{KEY}@127.0.0.1:1", lambda: Key(KEY, "x")).ask(VIEWER, {}))


def test_a_file_that_is_not_there_is_for_good(lab: Lab) -> None:
    assert isinstance(failure(lambda: lab.http.read("/storage/none/x")), PermanentError)
