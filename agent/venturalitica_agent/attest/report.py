"""`report.md`: what a data scientist reads in ten seconds and an officer files, in English and then in Spanish. Every
name in it is hostile text."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator

from venturalitica_agent.attest import account
from venturalitica_agent.attest.account import Fact
from venturalitica_agent.domain.evidence import Decision
from venturalitica_agent.domain.policy import Policy
from venturalitica_agent.domain.verdict import Finding, GroupStat, counts_tag
from venturalitica_agent.language import LANGUAGES, Language, language
from venturalitica_agent.logging import clean

# Inline markup only: text stands after words of ours, where nothing works that needs a line's start.
_MARKUP = re.compile(r"([\\`*_\[\]|~])")
_AT_START = re.compile(r"^(\d{0,9})([-#+=.)])")
_MOST_GROUPS = 60


def text(value: object, limit: int = 400) -> str:
    """Untrusted text for Markdown: one line, no markup, no HTML, no control characters."""
    line = " ".join(clean(str(value)).split())
    line = line if len(line) <= limit else line[: limit - 1] + "…"
    return html.escape(_MARKUP.sub(r"\\\1", line), quote=False)


def _first(value: object, limit: int = 400) -> str:
    """Untrusted text that begins a line or a list item, where it must not begin a heading or a list."""
    return _AT_START.sub(r"\1\\\2", text(value, limit))


def report_md(decision: Decision, policy: Policy, *, link: str = "") -> str:
    """The whole report as Markdown, once in each language."""
    told = ("\n".join(_report(decision, policy, link, language(code))) for code in LANGUAGES)
    return "\n---\n\n".join(told)


def _report(decision: Decision, policy: Policy, link: str, language: Language) -> Iterator[str]:
    t, verdict = language.text, decision.verdict
    name = decision.run_facts.get("name") or decision.run_facts.get("run_id")
    status = language.told(verdict.status.value)
    yield f"# {status}: {text(name)}"
    yield ""
    yield f"**{status}**: {account.meaning(verdict, language)}. ({counts_tag(verdict.counts)})"
    yield ""
    yield from map(_line, account.identity(decision, policy, language))
    if link:
        yield f"- [{t('open the run in the tracker')}]({html.escape(link)})"
    yield from ("", f"## {t('Findings')}", "")
    for finding in account.worst_first(verdict.findings):
        yield from _finding(finding, language)
    yield from ("", f"## {t('What was audited')}", "")
    yield from map(_line, account.subject(decision, language))
    yield from ("", f"## {t('What this cannot claim')}", "")
    yield from map(_line, account.limits(decision, policy, language))
    yield ""


def _line(fact: Fact) -> str:
    parts = [text(fact.text, 3000), f"`{text(fact.code)}`" if fact.code else "", text(fact.more, 3000)]
    said = " ".join(part for part in parts if part)
    return f"- {_first(fact.name)}: {said}" if fact.name else f"- {said}"


def _finding(finding: Finding, language: Language) -> Iterable[str]:
    t, status = language.text, language.told(finding.status.value)
    yield f"### {status}: {text(finding.control)} {text(account.beside(finding, language))}".rstrip()
    yield from ("", _first(language.told(finding.sentence), 2000), "")
    yield from (f"*{text(account.asked(finding, language), 800)}*", "")
    if remedy := account.to_do(finding):
        yield from (f"{t('What to do:')} {text(language.told(remedy), 2000)}", "")
    measured = finding.measurement
    if measured is None:
        return
    yield from (text(account.measured(measured, language), 800), "")
    if measured.groups:
        yield "| " + " | ".join(map(t, ("group", "rows", "rate", "count", "interval", "compared"))) + " |"
        yield "|---|---|---|---|---|---|"
        yield from (_group(stat, language) for stat in measured.groups[:_MOST_GROUPS])
        if len(measured.groups) > _MOST_GROUPS:
            more = t("and {n} more in evidence.json", n=len(measured.groups) - _MOST_GROUPS)
            yield f"| … {more} | | | | | |"
        yield ""
    yield from (f"{t('Note:')} {text(language.told(note), 1000)}\n" for note in account.beyond(finding))


def _group(stat: GroupStat, language: Language) -> str:
    rate = "" if stat.value is None else language.number(stat.value, 4)
    count = "" if stat.numerator is None else f"{stat.numerator}/{stat.denominator}"
    ends = stat.interval and (language.number(stat.interval.low, 3), language.number(stat.interval.high, 3))
    bounds = "–".join(ends) if ends else ""
    compared = language.text("yes") if stat.compared else f"{language.text('no')}: {text(language.told(stat.reason))}"
    return f"| {text(stat.group, 80)} | {stat.n} | {rate} | {count} | {bounds} | {compared} |"
