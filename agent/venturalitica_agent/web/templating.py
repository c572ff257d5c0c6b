"""How documents become HTML: the one Jinja environment, and what templates may say of values.

Everything from outside (names, paths, sentences with names in them) passes `name` or `told`, which cut it and take its
control characters and text-direction overrides away; escaping is Jinja's, and always on. A link is live only if it is
http or https.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from venturalitica_agent import __version__
from venturalitica_agent.logging import clean
from venturalitica_agent.web import page_words as words
from venturalitica_agent.web.model import Counts, FindingView
from venturalitica_agent.web.trend import totals, trend_picture

if TYPE_CHECKING:
    from venturalitica_agent.language import Language

LONGEST_URL = 2000


@cache
def environment() -> Environment:
    """Templates with escaping always on; a value that is not there is an error, never an empty place."""
    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"name": name, "outside": outside, "iso": iso, "worst_first": worst_first, "markup": Markup}
    found.globals |= {
        "version": __version__,
        "in_order": in_order,
        "runs_url": runs_url,
        "run_url": run_url,
        "totals": totals,
        "picture_of": trend_picture,
        "statuses": words.STATUSES,
        "meanings": words.MEANINGS,
        "lights": words.LIGHTS,
        "kinds": words.KINDS,
        "how_bound": words.HOW_BOUND,
        "relations": words.RELATIONS,
        "checks": words.CHECKS,
        "parts_of": words.PARTS,
        "severities": words.SEVERITIES,
        "origins": words.ORIGINS,
        "decided": words.DECIDED,
    }
    return found


def in_language(language: Language) -> dict[str, Any]:
    """What a template calls to say something in the reader's language."""

    def said(vocabulary: Mapping[str, str], word: str) -> str:
        return language.text(vocabulary[word]) if word in vocabulary else name(word)

    return {
        "lang": language.code,
        "t": language.text,
        "said": said,
        "told": _teller(language),
        "number": language.number,
        "percent": language.percent,
        "whole": lambda n: whole(n, language),
        "moment": language.moment,
        "since": language.ago,
        "ago": lambda seconds: language.ago(max(0.0, time.time() - seconds)),
    }


def _teller(language: Language) -> Callable[..., Markup]:
    def told(sentence: str, limit: int = 2000) -> Markup:
        """A stored English sentence in the reader's language; the pieces that stay English are marked as English."""
        parts = (
            escape(piece.text)
            if piece.lang == language.code
            else Markup('<span lang="{}">{}</span>').format(piece.lang, piece.text)
            for piece in language.pieces(name(sentence, limit))
        )
        return Markup().join(parts)

    return told


def name(value: object, limit: int = 80) -> str:
    """Untrusted text as one line of at most `limit` characters, without anything that moves or hides text."""
    line = " ".join(clean(str(value)[: 4 * limit]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def outside(url: str) -> str:
    """The link if it leads to http or https, else nothing."""
    if len(url) > LONGEST_URL or clean(url) != url or any(character.isspace() for character in url):
        return ""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return url if parts.scheme in ("http", "https") and parts.netloc else ""


def iso(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339 UTC, for machines that read the page."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def whole(n: int, language: Language) -> str:
    """A count with its thousands apart, as 10,000 or in Spanish 10 000."""
    return f"{n:,}" if language.code == "en" else f"{n:,}".replace(",", "\u00a0")


def in_order(counts: Counts) -> list[tuple[str, int]]:
    """Statuses with how many of each, the worst first, those with none left out."""
    known = [(word, counts[word]) for word in words.STATUSES if counts.get(word)]
    return known + [(word, n) for word, n in sorted(counts.items()) if n and word not in words.STATUSES]


def worst_first(findings: Sequence[FindingView]) -> list[FindingView]:
    """Findings by how bad they are, in the policy's order among equals."""
    places = {word: place for place, word in enumerate(words.STATUSES)}
    return sorted(findings, key=lambda finding: places.get(finding.status, len(places)))


def runs_url(**wanted: str) -> str:
    """The list of runs under a filter; fields of `RunFilter`, and the cursors `after` and `before`."""
    query = urlencode({field: value for field, value in wanted.items() if value})
    return f"/runs?{query}" if query else "/runs"


def run_url(store: str, run_id: str) -> str:
    """Our own page of a run."""
    return f"/runs/{quote(store, safe='')}/{quote(run_id, safe='')}"
