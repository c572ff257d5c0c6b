"""`report.html`: the report for people in one file that makes no request and runs no script, in both languages.

Trackers show it inside of a sandboxed frame, and printers on paper. A large audit is cut to what a reader will open:
pictures and tables of the findings that come first, and a pointer to evidence.json for the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from venturalitica_agent.attest import account
from venturalitica_agent.attest.picture import MOST_GROUPS, group_picture
from venturalitica_agent.domain.evidence import Decision
from venturalitica_agent.domain.policy import Policy
from venturalitica_agent.domain.verdict import Finding, GroupStat, Status
from venturalitica_agent.language import LANGUAGES, Language, language
from venturalitica_agent.logging import clean

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

MOST_BYTES = 300_000
_SIGNS = {
    Status.PASS: "✓",
    Status.FAIL: "✗",
    Status.ERROR: "!",
    Status.WARN: "△",
    Status.INCONCLUSIVE: "?",
    Status.SKIP: "–",
    Status.WAIVED: "⊘",
}
"""A shape for each status, for who can't tell its colour."""
_CELLS = 90
"""Bytes of markup around the cells of a row."""
_NAMES = {"en": "English", "es": "Español"}


@dataclass(frozen=True, slots=True)
class _Room:
    """How much of an audit is told.

    Attributes:
        detailed: bytes of pictures and tables, given to the findings in their order.
        text: longest sentence, in characters. findings, facts, groups: the most that are listed.
    """

    detailed: int
    text: int
    findings: int
    facts: int
    groups: int


_ROOMS = (
    _Room(230_000, 2000, 400, 200, 60),
    _Room(170_000, 2000, 400, 200, 60),
    _Room(100_000, 700, 200, 100, 24),
    _Room(40_000, 300, 120, 60, 12),
    _Room(0, 160, 60, 30, 0),
    _Room(0, 80, 24, 12, 0),
)
"""From the most to the least; the last one fits whatever stands in it."""


def report_html(decision: Decision, policy: Policy, *, link: str = "") -> str:
    """The whole report as HTML, of at most `MOST_BYTES`. The same arguments give the same text.

    Args:
        link: where the run is shown in the tracker's UI; shown as a link only if it is http or https.
    """
    for room in _ROOMS:
        page = _template().render(
            tongues=[_told(decision, policy, language(code), room) for code in LANGUAGES],
            names=_NAMES,
            title=_line(f"{decision.verdict.status.value}: {_run_name(decision)}", 120),
            status=decision.verdict.status.value,
            link=_live(link),
            policy=policy,
        )
        if len(page.encode()) <= MOST_BYTES:
            break
    return page


@cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["line"] = _line
    return environment.get_template("report.html.jinja")


def _run_name(decision: Decision) -> str:
    return str(decision.run_facts.get("name") or decision.run_facts.get("run_id"))


def _line(value: object, limit: int = 400) -> str:
    """Untrusted text on one line, cut, without control characters and reordering marks; still to be escaped."""
    line = " ".join(clean(str(value)[: 4 * limit]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _live(link: str) -> str:
    try:
        scheme = urlsplit(link).scheme
    except ValueError:
        return ""
    return link if scheme in ("http", "https") and link.isprintable() and len(link) < 2000 else ""


def _told(decision: Decision, policy: Policy, language: Language, room: _Room) -> dict[str, Any]:
    """What the template shows, in one language."""
    verdict = decision.verdict
    findings = account.worst_first(verdict.findings)
    shown = findings[: room.findings]
    detailed = _detailed(shown, language, room)
    return {
        "lang": language.code,
        "t": language.text,
        "text": room.text,
        "run": _run_name(decision),
        "status": language.told(verdict.status.value),
        "sign": _SIGNS[verdict.status],
        "meaning": account.meaning(verdict, language),
        "counts": [(_SIGNS[s], language.told(s.value), n) for s, n in verdict.counts.items() if n],
        "findings": [_finding(f, language, room, detailed.get(place)) for place, f in enumerate(shown)],
        "more_findings": len(findings) - len(shown),
        "identity": tuple(account.identity(decision, policy, language)),
        "subject": tuple(account.subject(decision, language))[: room.facts],
        "limits": tuple(account.limits(decision, policy, language)),
    }


def _finding(finding: Finding, language: Language, room: _Room, details: _Details | None) -> dict[str, Any]:
    def told(sentence: str) -> Markup:
        return _pieces(language, sentence, room.text)

    measured = finding.measurement
    listed = len(details.groups) or MOST_GROUPS if details else 0
    return {
        "control": finding.control,
        "sign": _SIGNS[finding.status],
        "state": finding.status.value,
        "status": language.told(finding.status.value),
        "beside": account.beside(finding, language),
        "sentence": told(finding.sentence),
        "asked": account.asked(finding, language),
        "remedy": told(account.to_do(finding)),
        "measured": account.measured(measured, language) if measured else "",
        "picture": details.picture if details else "",
        "groups": details.groups if details else (),
        "more_groups": max(0, len(measured.groups) - listed) if measured else 0,
        "notes": [told(note) for note in account.beyond(finding)[:8]],
    }


@dataclass(frozen=True, slots=True)
class _Details:
    picture: Markup
    groups: Sequence[dict[str, str]]


def _detailed(findings: Sequence[Finding], language: Language, room: _Room) -> dict[int, _Details]:
    """Pictures of as many findings as there is room for, by place, and then their tables, likewise."""
    from markupsafe import Markup

    left = room.detailed // len(LANGUAGES)
    found: dict[int, _Details] = {}
    for place, finding in enumerate(findings):
        picture = group_picture(finding, language)
        left -= len(picture.encode())
        if left < 0:
            break
        found[place] = _Details(Markup(picture), ())  # noqa: S704 - markup of ours, in which all text is escaped
    for place, drawn in found.items():
        measured = findings[place].measurement
        groups = [_group(stat, language) for stat in measured.groups[: room.groups]] if measured else []
        left -= sum(_CELLS + sum(len(cell.encode()) for cell in row.values()) for row in groups)
        if left < 0:
            break
        found[place] = _Details(drawn.picture, groups)
    return found


def _group(stat: GroupStat, language: Language) -> dict[str, str]:
    ends = stat.interval and (language.number(stat.interval.low, 3), language.number(stat.interval.high, 3))
    return {
        "group": _line(stat.group, 60),
        "n": str(stat.n),
        "rate": "" if stat.value is None else language.number(stat.value, 4),
        "count": "" if stat.numerator is None else f"{stat.numerator}/{stat.denominator}",
        "interval": " – ".join(ends) if ends else "",
        "compared": language.text("yes")
        if stat.compared
        else f"{language.text('no')}: {_line(language.told(stat.reason), 80)}",
    }


def _pieces(language: Language, sentence: str, limit: int) -> Markup:
    """A stored sentence in the language; what stays English says so to a reader that speaks it aloud."""
    from markupsafe import Markup, escape

    said, left = Markup(), limit
    for piece in language.pieces(clean(sentence)):
        text = piece.text if len(piece.text) <= left else piece.text[: max(0, left - 1)] + "…"
        left -= len(text)
        said += escape(text) if piece.lang == language.code else Markup('<span lang="en">{}</span>').format(text)
        if left <= 0:
            break
    return said
