"""The languages that people read: English, in which every text of ours is written, and Spanish.

What is stored (findings, notes, problems) is English, once. It is told in Spanish by patterns: the catalogue has each
of our sentences, with places for what is filled in. What no pattern fits stays as it is, and is known to be so.
"""

from __future__ import annotations

from functools import cache

from venturalitica_agent.language.speech import LANGUAGES, Language, Piece

__all__ = ["LANGUAGES", "Language", "Piece", "language", "preferred"]


@cache
def language(code: str) -> Language:
    """The language of that code; English for a code that we don't have."""
    from venturalitica_agent.language.catalogue import read_catalogue

    return Language(code, read_catalogue(code)) if code in LANGUAGES[1:] else Language(LANGUAGES[0])


def preferred(accept: str) -> str:
    """Which of our languages a reader wants, by the `Accept-Language` of RFC 9110 §12.5.4; English without any."""
    wanted = []
    for place, entry in enumerate(accept[:1000].split(",")):
        tag, _, weight = entry.strip().partition(";q=")
        try:
            quality = float(weight or 1)
        except ValueError:
            continue
        wanted.append((-quality, place, tag.strip().lower().partition("-")[0]))
    return next((tag for quality, _, tag in sorted(wanted) if tag in LANGUAGES and quality < 0), LANGUAGES[0])
