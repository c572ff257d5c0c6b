"""The pages on hand-made documents: what stands on them, in both languages, whatever the names hold."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.testclient import TestClient
from support import documents as made

from venturalitica_agent.web.access import Access
from venturalitica_agent.web.guard import Guard, Keeper
from venturalitica_agent.web.model import Light, RunFilter
from venturalitica_agent.web.pages import page_routes
from venturalitica_agent.web.templating import name, outside

RUN = f"/runs/5d41402abc4b/{1:032x}"
PATHS = ("/", "/runs", RUN, "/policies", "/integrations")
HOSTILE = "<img src=x onerror=alert(1)>\"'`{{7*7}}\u202eevil\u0000\u001b[31m javascript:alert(1)"


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self._in_script = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attrs for found, attrs in self.elements if found == tag]


def client(reader: made.HandMadeReader | None = None, access: Access | None = None) -> TestClient:
    app = Starlette(routes=page_routes(reader or made.HandMadeReader()))  # type: ignore[arg-type]
    app.add_middleware(Guard, keeper=Keeper(access or Access(), b"k" * 32), host="127.0.0.1")
    return TestClient(app, base_url="http://127.0.0.1", headers={"accept-language": "en"})


def see(path: str, reader: made.HandMadeReader | None = None, **headers: str) -> Page:
    answer = client(reader).get(path, headers={key.replace("_", "-"): value for key, value in headers.items()})
    assert answer.status_code == 200, answer.text
    return Page(answer.text)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("tongue", ["en", "es"])
def test_each_page_has_one_h1_landmarks_a_skip_link_and_its_language(path: str, tongue: str) -> None:
    page = see(path, accept_language=tongue)
    assert page.all("html") == [{"lang": tongue}]
    for tag in ("h1", "main", "header", "footer"):
        assert len(page.all(tag)) == 1, tag
    assert page.all("a")[0]["href"] == "#main"
    assert [a for a in page.all("a") if a.get("aria-current") in ("page", "true") and "lang" not in a]
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels)), levels
    assert len(page.all("caption")) == len(page.all("table"))
    assert all("scope" in th for th in page.all("th"))


@pytest.mark.parametrize("path", PATHS)
def test_no_page_needs_an_inline_script_or_style_or_another_machine(path: str) -> None:
    page = see(path)
    assert all(script.get("src", "").startswith("/static/") for script in page.all("script"))
    assert not page.all("style")
    for tag, attributes in page.elements:
        assert "style" not in attributes, tag
        assert not [key for key in attributes if key.startswith("on")], tag
        if tag != "a":
            assert not any("//" in attributes.get(key, "") for key in ("src", "href")), (tag, attributes)


def test_an_unasked_service_is_grey_and_says_what_to_do_next() -> None:
    page = see("/", made.HandMadeReader(told=made.empty_overview()))
    assert "Nothing evaluated yet" in page.text
    assert "venturalitica-agent run" in page.text
    lamps = [attributes["class"] for tag, attributes in page.elements if "lamps" in attributes.get("class", "")]
    assert "lamps l-grey" in lamps
    assert not [shown for shown in lamps if "l-green" in shown]


@pytest.mark.parametrize(
    ("light", "counts", "words"),
    [
        (Light.RED, {"fail": 2, "pass": 3}, "2 verdicts fail"),
        (Light.RED, {"fail": 1}, "One verdict fails"),
        (Light.RED, {"error": 1, "pass": 9}, "One verdict could not be reached"),
        (Light.RED, {"error": 4}, "4 verdicts could not be reached"),
        (Light.AMBER, {"inconclusive": 1}, "Nothing failed, but not everything is settled"),
        (Light.GREEN, {"pass": 1}, "Everything evaluated passed"),
        (Light.GREY, {"skip": 5}, "Nothing evaluated yet"),
    ],
)
def test_the_headline_is_the_verdict_on_everything(light: Light, counts: dict[str, int], words: str) -> None:
    page = see("/", made.HandMadeReader(told=made.overview(light=light, **counts)))
    assert f" {words} " in page.text


def test_what_failed_stands_before_what_passed_with_its_remedy_and_its_picture() -> None:
    page = see(RUN)
    places = [page.text.index(control) for control in ("k-anonymity", "sex-impact-ratio", "age-impact", "overall-acc")]
    assert places == sorted(places)
    assert "What to do: With male as it is" in page.text
    assert len([svg for svg in page.all("svg") if svg.get("role") == "img"]) == 4  # the error has no value to draw
    assert "What this cannot claim" in page.text
    assert "Article 10(2)(f)" in page.text


def test_a_run_without_a_verdict_claims_nothing() -> None:
    page = see(RUN, made.HandMadeReader(shown=made.run(reason="the store was away")))
    assert "Nothing was measured on this run" in page.text
    assert "pass" not in page.text.split("Nothing was measured")[0].lower()


def test_links_out_are_live_only_to_http() -> None:
    reader = made.HandMadeReader(shown=made.run(made.audit(), run_link="javascript:alert(1)", experiment_link="data:x"))
    links = [a["href"] for a in see(RUN, reader).all("a")]
    assert not [link for link in links if not link.startswith(("/", "#", "?", "http://127.0.0.1:5000/"))], links


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "JAVASCRIPT:alert(1)",
        " http://a/",
        "http:///x",
        "//evil.example/",
        "data:text/html,x",
        "file:///etc/passwd",
        "http://[",
        "http://a/\u202e",
        "java\nscript:x",
        "http://" + "a" * 5000,
        "",
    ],
)
def test_an_address_that_is_not_plain_http_is_no_link(url: str) -> None:
    assert outside(url) == ""


def test_an_address_of_a_tracker_stays_as_it_is() -> None:
    url = "https://mlflow.example/#/experiments/1/runs?searchFilter=tags.a%20%3D%20%27fail%27&x=1"
    assert outside(url) == url


@pytest.mark.parametrize("tongue", ["en", "es"])
@pytest.mark.parametrize(
    "hostile",
    [HOSTILE, "x" * 5000, "\u202e\u2066" * 50, "'\"><script>alert(1)</script>"],
    ids=["markup", "long", "direction", "script"],
)
def test_hostile_names_never_become_markup(hostile: str, tongue: str) -> None:
    group = made.group(hostile, 5, 40)
    finding = made.finding(
        hostile,
        sentence=f"Selection rate of {hostile} is 0.1",
        remedy=hostile,
        groups=(group,),
        notes=(hostile,),
        metric=hostile,
        method=hostile,
        waived=hostile,
        reference=hostile,
    )
    audit = made.audit(finding, title=hostile, version=hostile, notes=(hostile,), missing=(hostile,), sandbox=hostile)
    reader = made.HandMadeReader(
        shown=made.run(audit, name=hostile, reason=hostile, experiment=hostile, store_uri=hostile),
        listed=made.runs(
            made.row(name=hostile, failed=(hostile,) * 9, experiment=hostile), made.row(2, status=hostile)
        ),
        told=made.overview(experiment=hostile),
    )
    for path in ("/", "/runs", RUN):
        body = client(reader).get(path, headers={"accept-language": tongue}).text
        page = Page(body)
        assert not page.all("img")
        assert len(page.all("script")) == 1
        assert not [1 for _, attributes in page.elements for key in attributes if key.startswith("on")]
        assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", page.text)
        visible = max(page.words, key=len)
        assert len(visible) < 2100, len(visible)


@given(st.text(max_size=300), st.integers(min_value=2, max_value=120))
@settings(max_examples=50, deadline=None)
def test_a_name_is_one_line_of_bounded_length_without_control_characters(text: str, limit: int) -> None:
    shown = name(text, limit)
    assert len(shown) <= limit
    assert "\n" not in shown
    assert not re.search("[\x00-\x1f\u200e\u200f\u202a-\u202e\u2066-\u2069]", shown)


def test_the_filter_is_the_address_and_empty_fields_leave_it() -> None:
    reader = made.HandMadeReader()
    answer = client(reader).get("/runs?text=&status=fail&policy=&experiment=loan%20a&after=", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/runs?status=fail&experiment=loan+a")
    page = see("/runs?status=fail&experiment=loan+a&after=k", reader)
    assert reader.asked[-1] == (RunFilter(status="fail", experiment="loan a"), "k", "")
    assert {"value": "fail", "selected": ""} in page.all("option")
    assert [field["value"] for field in page.all("input") if field.get("name") == "experiment"] == ["loan a"]


def test_turning_a_page_keeps_the_filter() -> None:
    reader = made.HandMadeReader(listed=made.runs(made.row(), after="later", before="sooner"))
    links = {a["rel"]: a["href"] for a in see("/runs?status=fail", reader).all("a") if a.get("rel") in ("next", "prev")}
    assert links == {"next": "/runs?status=fail&after=later", "prev": "/runs?status=fail&before=sooner"}


def test_an_empty_list_tells_a_filter_from_a_service_that_saw_nothing() -> None:
    reader = made.HandMadeReader(listed=made.runs())
    assert "Nothing matches this filter." in see("/runs?status=pass", reader).text
    assert "No run was seen yet." in see("/runs", reader).text


def test_the_language_is_asked_by_address_then_cookie_then_browser() -> None:
    asked = client()
    assert Page(asked.get("/", headers={"accept-language": "es-ES,en;q=0.5"}).text).all("html") == [{"lang": "es"}]
    answer = asked.get("/runs?status=fail&lang=es")
    assert "vl_lang=es" in answer.headers["set-cookie"]
    assert Page(asked.get("/", headers={"accept-language": "en"}).text).all("html") == [{"lang": "es"}]
    tongues = {a["hreflang"]: a["href"] for a in Page(answer.text).all("a") if "hreflang" in a}
    assert tongues == {"en": "?status=fail&lang=en", "es": "?status=fail&lang=es"}


def test_a_stored_sentence_that_no_pattern_fits_is_marked_as_english_on_a_spanish_page() -> None:
    finding = made.finding(sentence="Completely unforeseen words.")
    body = client(made.HandMadeReader(shown=made.run(made.audit(finding)))).get(RUN, headers={"accept-language": "es"})
    assert '<p class="sentence"><span lang="en">Completely unforeseen words.</span></p>' in body.text


def test_an_unknown_run_is_a_page_that_says_so() -> None:
    answer = client().get("/runs/5d41402abc4b/nobody")
    assert answer.status_code == 404
    assert "has never seen such a run" in answer.text


def test_a_list_that_can_not_be_read_is_an_error_in_words() -> None:
    from venturalitica_agent.state.listing import BadQuery

    class Strict(made.HandMadeReader):
        def runs(self, wanted: RunFilter, **cursor: Any) -> Any:
            raise BadQuery("is not a day", subject="since=tomorrow", remedy="write it as 2026-11-30")

    answer = client(Strict()).get("/runs?since=tomorrow")
    assert answer.status_code == 400
    assert "since=tomorrow: is not a day; write it as 2026-11-30" in answer.text


def test_checking_again_takes_the_token_of_the_page() -> None:
    class Checked(made.HandMadeReader):
        times = 0

        def recheck(self) -> None:
            self.times += 1

    reader = Checked()
    browser = client(reader)
    assert browser.post("/recheck", data={"csrf": "forged"}).status_code == 403
    fields = Page(browser.get("/integrations").text).all("input")
    token = next(field["value"] for field in fields if field["name"] == "csrf")
    answer = browser.post("/recheck", data={"csrf": token}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"], reader.times) == (303, "/integrations", 1)


def test_who_has_to_log_in_is_sent_to_the_form_and_back() -> None:
    browser = client(access=Access(token="a-token-of-enough-length"))
    form = Page(browser.get("/policies").text)
    fields = {field["name"]: field.get("value", "") for field in form.all("input")}
    assert set(fields) == {"csrf", "next", "token"}
    wrong = browser.post("/login", data={**fields, "token": "wrong"})
    assert wrong.status_code == 403
    assert "That is not right" in wrong.text
    right = browser.post("/login", data={**fields, "token": "a-token-of-enough-length"}, follow_redirects=False)
    assert (right.status_code, right.headers["location"]) == (303, "/policies")
    assert "Sign out" in browser.get("/policies").text
    assert browser.post("/logout", data=fields, follow_redirects=False).headers["location"] == "/login"
    assert "Sign out" not in browser.get("/policies").text
