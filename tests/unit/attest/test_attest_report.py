"""The report quotes hostile names; a reader's Markdown must show them as text and run, link or load none of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from markdown_it import MarkdownIt
from support.verdicts import decision, finding, policy, renamed, subject

from venturalitica_agent.attest.report import report_md
from venturalitica_agent.domain.subject import Problem
from venturalitica_agent.domain.verdict import GroupStat, Status, Verdict, Waived, worst

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "[click](http://evil.example)",
    "![x](http://evil.example/pixel.png)",
    "<http://evil.example>",
    "[x]: http://evil.example",
    "`<b>` [c](http://evil.example)",
    "``[c](http://evil.example)``",
    "\\[c](http://evil.example)",
    "\\\\[c](http://evil.example)",
    "a\n\n# heading\n\n<b>raw</b>",
    "a\r\n- item\n\n    code",
    "| a | b |\n|---|---|",
    "\x1b[31mred\x1b[0m",
    "\u202egnp.exe",
    "&lt;b&gt; &#60;b&#62;",
    "**bold** _em_ ~~gone~~",
    "# heading",
    "> quote",
    "- item",
    "1. item",
    "+ item",
    "```\ncode",
    "***",
    "===",
    "a" * 5000,
]
ALLOWED = {"h1", "h2", "h3", "p", "strong", "em", "ul", "li", "code", "table", "thead", "tbody", "tr", "th", "td", "hr"}


def tags_in(text: str) -> set[str]:
    """Every HTML element that a Markdown reader would make of it, tables and raw HTML allowed."""
    found = set()
    pending = MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough").parse(text)
    while pending:
        token = pending.pop()
        pending += token.children or []
        assert token.type not in ("html_block", "html_inline"), token.content
        if token.tag:
            found.add(token.tag)
    return found


def headings(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.startswith("#")]


@pytest.mark.parametrize("name", HOSTILE)
def test_no_hostile_name_becomes_markup(name: str) -> None:
    about = subject(name=name, column=name)
    about = replace(about, problems={name: Problem(name, name)})
    given = renamed(decision(policy(title=name), Status.FAIL, about=about), name=name, experiment=name)
    hostile = finding(Status.FAIL, name, sentence=name)
    assert hostile.measurement is not None
    measured = replace(hostile.measurement, notes=(name,), groups=(GroupStat(name, 3, compared=False, reason=name),))
    hostile = replace(hostile, measurement=measured, remedy=f"{name} now", article=name, metric=name)
    verdict = Verdict("credit", "1.0.0", given.verdict.policy_digest, Status.FAIL, (hostile,))
    given = replace(given, verdict=verdict, notes=(name,))
    text = report_md(given, policy(title=name))
    plain = report_md(
        replace(decision(policy(), Status.FAIL), verdict=replace(verdict, findings=(finding(Status.FAIL),))), policy()
    )
    assert tags_in(text) - ALLOWED == set()
    assert len(headings(text)) == len(headings(plain)) == 10
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert max(map(len, text.split("\n"))) < 30_000
    text.encode()


def test_the_one_link_is_the_trackers() -> None:
    given = decision(policy(), Status.PASS)
    assert "a" in tags_in(report_md(given, policy(), link="http://ui/#/experiments/1/runs/r"))
    assert "a" not in tags_in(report_md(given, policy()))


def test_the_report_says_outcome_value_and_what_is_missing() -> None:
    text = report_md(decision(policy(), Status.FAIL, Status.PASS), policy())
    assert "# fail: a run" in text
    assert "(p1 f1 i0 w0 e0 s0 x0)" in text
    assert "Value 0.43" in text
    assert "training: missing: no training data was logged" in text
    assert text.index("### fail: control-0") < text.index("### pass: control-1")
    assert "house defaults" in text


@pytest.mark.parametrize("status", list(Status))
def test_every_status_has_its_meaning(status: Status) -> None:
    shown = worst([status])
    assert f"\n**{shown.value}**: " in report_md(decision(policy(), status), policy())
    assert (shown is status) == (status is not Status.WAIVED)


def test_a_waived_finding_shows_who_answers_for_it_and_what_it_would_be() -> None:
    waived = replace(
        finding(Status.WAIVED, sentence="Waived until 2026-12-31 by Ana Ruiz: soon. Would fail: 0.43."),
        waived=Waived("soon", "Ana Ruiz", "2026-12-31"),
        would_be=Status.FAIL,
    )
    given = decision(policy(), Status.PASS)
    both = (*given.verdict.findings, waived)
    given = replace(given, verdict=replace(given.verdict, findings=both), waivers="ab" * 32)
    text = report_md(given, policy())
    assert "**pass**: apart from 1 waived finding, every control that was evaluated meets its requirement." in text
    assert "### waived: ratio (would be: fail)" in text
    assert "Value 0.43, 95 % interval" in text.split("### waived")[1]
    assert f"- waivers: SHA-256 `{'ab' * 32}`" in text
    assert "waive" not in report_md(decision(policy(), Status.PASS), policy())
    alone = Verdict("credit", "1.0.0", given.verdict.policy_digest, Status.SKIP, (waived,))
    assert "**skip**: no control counts: each" in report_md(replace(given, verdict=alone), policy())
