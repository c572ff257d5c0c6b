"""The page for people: whole, small, asking nobody, in two languages, and a name in it is only ever a name."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import pytest
from support.verdicts import decision, digest, finding, policy, renamed, subject

from venturalitica_agent.attest.report_html import MOST_BYTES, report_html
from venturalitica_agent.domain.evidence import Decision
from venturalitica_agent.domain.policy import Control, Op, Policy, Requirement
from venturalitica_agent.domain.subject import ColumnBinding, Problem
from venturalitica_agent.domain.verdict import Finding, GroupStat, Interval, Measurement, Status, Verdict
from venturalitica_agent.domain.verdict import worst as worst_of

VOID = {"meta", "input", "br", "hr", "img", "link"}
LOADS = {"src", "srcset", "data", "action", "formaction", "background", "poster", "xlink:href", "style"}


class Page(HTMLParser):
    """What a browser makes of a page: its elements, its links, and the text of each language."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, str] = {"en": "", "es": ""}
        self._lang = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "main":
            self._lang = dict(attrs)["lang"] or ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "main":
            self._lang = ""

    def handle_data(self, data: str) -> None:
        if self._lang:
            self.text[self._lang] += data

    @property
    def links(self) -> list[str | None]:
        return [attributes.get("href") for _, attributes in self.elements if "href" in attributes]


def checked(text: str) -> Page:
    """The page, if nothing in it loads, runs or leads anywhere but to the tracker."""
    page = Page(text)
    assert len(text.encode()) <= MOST_BYTES
    tags = [tag for tag, _ in page.elements]
    assert not {"script", "iframe", "img", "link", "object", "embed", "form", "base"} & set(tags)
    assert tags.count("style") == 1
    for _, attributes in page.elements:
        assert not LOADS & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]
    assert "url(" not in text
    assert "@import" not in text
    return page


def test_verdict_findings_and_evidence_stand_in_both_languages() -> None:
    given = decision(policy(), Status.FAIL, Status.PASS)
    page = checked(report_html(given, policy(), link="http://ui:5000/#/experiments/1/runs/r"))
    english, spanish = page.text["en"], page.text["es"]
    for told in (english, spanish):
        assert told.index("a run") < told.index("control-0") < told.index("control-1")
        assert policy().digest in told
        assert digest(b"d") in told  # the data's
        assert "evidence.json" in told
    assert "At least one control is not met".lower() in english.lower()
    assert "al menos un control no se cumple" in spanish
    assert "What this cannot claim" in english
    assert "Qué no puede afirmar esto" in spanish
    assert "article 10(2)(f):" in english
    assert "artículo 10(2)(f):" in spanish
    assert "0.43" in english
    assert "0,43" in spanish
    assert page.links == ["http://ui:5000/#/experiments/1/runs/r"] * 2
    pictures = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert len(pictures) == 4
    assert report_html(given, policy()) == report_html(given, policy())


@pytest.mark.parametrize(
    "link", ["javascript:alert(1)", "data:text/html,x", "http://[", "file:///etc", "http://x\n", ""]
)
def test_only_a_link_to_a_tracker_is_one(link: str) -> None:
    assert checked(report_html(decision(policy(), Status.PASS), policy(), link=link)).links == []


def test_what_no_catalogue_knows_is_marked_as_english() -> None:
    given = decision(policy(), Status.ERROR)
    odd = finding(Status.ERROR, sentence="Accuracy was not evaluated: the disk is on fire.")
    page = report_html(replace(given, verdict=replace(given.verdict, findings=(odd,))), policy())
    assert 'Exactitud: no se evaluó, porque <span lang="en">the disk is on fire</span>.' in page


HOSTILE = [
    "<script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</title><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "</svg></main><h1>pass</h1>",
    "{{ 7*7 }}{% raw %}",
    "javascript:alert(1)",
    "a\x1b[31m\u202egnp.exe\u2028",
    "&lt;b&gt; &#60;b&#62;",
    "Z\u0351\u036b\u0343\u036a\u0302" * 200,
    "漢" * 3000,
    "<" * 5000,
]


def hostile(name: str, findings: int = 1, groups: int = 3) -> tuple[Decision, Policy]:
    """An audit in which everything that somebody else names is named so."""
    about = subject(name=name, column=name)
    binding = {name: ColumnBinding(name, name, "name", positive=name, groups={name: (name,) * 5})}
    about = replace(about, binding=binding, problems={name: Problem(name, name)})
    given = renamed(decision(policy(title=name), Status.FAIL, about=about), name=name, experiment=name)
    interval = Interval(0.1, 0.6, 0.95, name)
    stats = tuple(
        GroupStat(f"{name} {place}", 50, place / groups, place, groups, interval, place % 3 != 0, name)
        for place in range(groups)
    )
    measured = Measurement("c", "disparate_impact", 0.2, interval, 99, stats, name, stats[1].group, notes=(name, name))
    found = tuple(
        Finding(
            f"{name} {place}",
            Status.FAIL,
            f"Selection rate of {name} is 0.1 (n=5). {name}",
            "disparate_impact",
            article=name,
            require=">= 0.8",
            measurement=measured,
            remedy=name,
        )
        for place in range(findings)
    )
    asked = tuple(Control(f.control, "disparate_impact", Requirement(Op.GE, 0.8)) for f in found)
    verdict = Verdict("credit", name, given.verdict.policy_digest, Status.FAIL, found)
    return replace(given, verdict=verdict, notes=(name,)), replace(policy(title=name), controls=asked, file_name=name)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_hostile_name_becomes_markup(name: str) -> None:
    page = checked(report_html(*hostile(name)))
    plain = Page(report_html(*hostile("plain")))
    assert [tag for tag, _ in page.elements if tag in ("h1", "h2", "h3", "main", "dl")] == [
        tag for tag, _ in plain.elements if tag in ("h1", "h2", "h3", "main", "dl")
    ]
    assert "\x1b" not in "".join(page.text.values())
    assert "\u202e" not in "".join(page.text.values())


def test_sixty_controls_of_sixty_groups_stay_small_and_say_where_the_rest_is() -> None:
    statuses = [Status.FAIL, Status.INCONCLUSIVE, Status.PASS] * 20
    groups = tuple(
        GroupStat(f"group {i}", 50, 0.5, 25, 50, Interval(0.4, 0.6, 0.95, "Wilson score")) for i in range(60)
    )
    found = []
    for place, status in enumerate(statuses):
        one = finding(status, f"control-{place}")
        assert one.measurement is not None
        found.append(replace(one, measurement=replace(one.measurement, groups=groups, rate="selection rate")))
    given = decision(policy(), Status.FAIL)
    verdict = replace(given.verdict, findings=tuple(found), status=worst_of(statuses))
    text = report_html(replace(given, verdict=verdict), policy())
    page = checked(text)
    assert all(f"control-{place}" in page.text["es"] for place in range(60))
    assert "groups more are in evidence.json" in page.text["en"]
    pictures = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert len(pictures) >= 20


@pytest.mark.parametrize("name", ["<" * 400, "漢" * 900, "&" * 5000])
def test_a_hostile_audit_of_many_controls_stays_under_the_limit(name: str) -> None:
    checked(report_html(*hostile(name, findings=60, groups=60)))
