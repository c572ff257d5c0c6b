"""The catalogue of one language, and how a stored sentence is found in it.

The `.po` files of a folder are read by Babel. An entry without context is a text that code of ours asks for by its
English words. An entry with one is a pattern, and the context is its kind: `sentence`, `reason`, `title`… A place in a
pattern is `{name}` for what passes through as it is (names out of data), `{name:number}` for a number,
`{name:values}` for a listing such as `'a', 'b' and 3 more`, or `{name:kind}` for a phrase of that kind.
`{name:Kind}`, with a capital, is the phrase at the beginning of a sentence; `{name:kind_inside}` is one that is
known as a beginning and stands in the middle.

Names in a sentence are hostile text. A match costs a bounded power of a bounded length: no place is repeated, and
long texts and texts of many sentences aren't looked up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

LONGEST = 4000
"""Characters; a longer text stays as it is."""
_LOOSE = 1200
"""Characters up to which a text is read even if one of its phrases is unknown."""
_TELLING = 8
"""Literal characters without which a pattern with an unknown phrase says nothing."""
_MOST_SENTENCES = 24
_MOST_PHRASES = 800
_DEEPEST = 70
_INSIDE = "_inside"

Told = list[tuple[str, bool]]
"""Parts of a text, and whether each is in the language (or a name, which is in none)."""

_PLACE = re.compile(r"\{\{|\}\}|\{(\w+)(?::(\w+))?\}")
_NUMBER = r"\d{1,3}(?:,\d{3}){1,12}|[-+]?\d{1,40}(?:\.\d{1,40})?(?:e[-+]?\d{1,3})?|unbounded|[-+]?inf|nan"
_QUOTED = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
_TOKEN = rf"(?:{_QUOTED}|[^\s,'\"]+)"
_END = re.compile(r"[.?](?= )")
_VALUES = re.compile(rf"({_TOKEN}(?:, {_TOKEN})*) and (?:(\d+) more|({_TOKEN}))", re.DOTALL)
_TOP = (
    "sentence",
    "remedy",
    "reason",
    "note",
    "title",
    "rate",
    "status",
    "method",
    "why",
    "require",
    "limit",
    "origin",
    "problem",
)
"""Kinds of which a whole text may be, in the order in which they are tried."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """One English wording, as (literal, place, kind) triples, and what is said for it."""

    parts: tuple[tuple[str, str, str], ...]
    said: tuple[tuple[str, str, str], ...]

    @property
    def kinds(self) -> dict[str, str]:
        return {name: kind for _, name, kind in self.parts if name}

    @property
    def weight(self) -> int:
        """How much of it is literal: the more, the more specific it is."""
        return sum(len(literal) for literal, _, _ in self.parts)


def _parsed(message: str) -> tuple[tuple[str, str, str], ...]:
    parts, literal, at = [], "", 0
    for place in _PLACE.finditer(message):
        literal += message[at : place.start()]
        at = place.end()
        if place[1] is None:
            literal += place[0][0]
        else:
            parts.append((literal, place[1], place[2] or ""))
            literal = ""
    return (*parts, (literal + message[at:], "", ""))


def read_catalogue(code: str) -> Catalogue:
    """Every `.po` file of the language's folder."""
    from babel.messages.pofile import read_po

    texts: dict[str, str] = {}
    patterns: dict[str, list[Pattern]] = {}
    for path in sorted((Path(__file__).parent / code).glob("*.po")):
        with path.open("rb") as file:
            for message in read_po(file, locale=code, abort_invalid=True):
                if not message.id or not message.string:
                    continue
                if message.context is None:
                    texts[str(message.id)] = str(message.string)
                else:
                    pattern = Pattern(_parsed(str(message.id)), _parsed(str(message.string)))
                    patterns.setdefault(message.context, []).append(pattern)
    return Catalogue(texts, patterns)


class Catalogue:
    """Texts by their English words, and patterns by kind.

    Attributes:
        texts: English -> the same in the language.
        patterns: kind -> its patterns, the most specific first.
    """

    def __init__(self, texts: dict[str, str], patterns: dict[str, list[Pattern]]) -> None:
        self.texts = texts
        self.patterns = {kind: sorted(patterns[kind], key=lambda pattern: -pattern.weight) for kind in sorted(patterns)}

    def tell(self, text: str) -> Told:
        """An English text of ours in the language; what no pattern fits comes back as it is, and marked so."""
        return _Telling(self).text(text) if len(text) <= LONGEST else [(text, False)]

    def number(self, text: str) -> str:
        """A number out of an English sentence: 1,234.5 is "1 234,5"."""
        return self.texts.get(text) or text.replace(",", "\N{NO-BREAK SPACE}").replace(".", ",")

    def values(self, text: str) -> str:
        """A listing out of an English sentence; names in it stay."""
        found = _VALUES.fullmatch(text)
        if found is None:
            return text
        last = self.texts.get("{n} more", "{n} more").format(n=found[2]) if found[2] else found[3]
        return f"{found[1]} {self.texts.get('and', 'and')} {last}"

    @cached_property
    def strict(self) -> dict[str, list[tuple[Pattern, re.Pattern[str]]]]:
        return {k: [(p, self._regex(p, strict=True)) for p in found] for k, found in self.patterns.items()}

    @cached_property
    def loose(self) -> dict[str, list[tuple[Pattern, re.Pattern[str]]]]:
        """The patterns in which a phrase may be one that is unknown."""
        return {
            kind: [
                (p, self._regex(p, strict=False))
                for p in found
                if p.weight >= _TELLING and any(map(self._closed, p.kinds.values()))
            ]
            for kind, found in self.patterns.items()
        }

    def _closed(self, kind: str, within: tuple[str, ...] = ()) -> bool:
        """True for kinds of short phrases, with at most one name in each: they can be told apart within a sentence."""
        kind = kind.lower()
        if kind in within or kind not in self.patterns:
            return False
        return all(
            list(pattern.kinds.values()).count("") <= 1
            and all(of in ("", "number") or self._closed(of, (*within, kind)) for of in pattern.kinds.values())
            for pattern in self.patterns[kind]
        )

    def _regex(self, pattern: Pattern, *, strict: bool) -> re.Pattern[str]:
        return re.compile("".join(self._expressions(pattern, strict=strict)), re.DOTALL)

    def _expressions(self, pattern: Pattern, *, strict: bool) -> Iterator[str]:
        for literal, name, kind in pattern.parts:
            yield re.escape(literal)
            if name:
                yield f"(?P<{name}>{self._expression(kind, strict=strict)})"

    def _expression(self, kind: str, *, strict: bool) -> str:
        """What a place of that kind may hold: every wording of a closed kind, or else anything."""
        if kind == "number":
            return _NUMBER
        if not strict or not self._closed(kind):
            return ".+?"
        wordings = []
        for pattern in self.patterns[kind.lower()]:
            wording = "".join(
                re.escape(literal) + (f"(?:{self._expression(of, strict=True)})" if name else "")
                for literal, name, of in pattern.parts
            )
            first = pattern.parts[0][0][:1]
            capital = kind[0].isupper() and first
            wordings.append(re.escape(first.upper()) + wording[len(re.escape(first)) :] if capital else wording)
        return "|".join(wordings)


class _Telling:
    """One text being told. Each of its parts is looked up once as each kind, and `_MOST_PHRASES` in all."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._told: dict[tuple[str, str], Told | None] = {}

    def text(self, text: str) -> Told:
        """The text as a phrase of any kind, else as sentences in a row."""
        partial: Told | None = None
        for kind in _TOP:
            told = self._phrase(text, kind, 0)
            if told and not _unknown(told):
                return told
            partial = partial or told
        told = self._sentences(text, 0)
        return partial if partial and _unknown(partial) < _unknown(told) else told

    def _phrase(self, text: str, kind: str, depth: int) -> Told | None:
        """`text` as a phrase of one kind: told as a whole if possible, else in part, else None."""
        if kind[:1].isupper():
            small = self._phrase(text[:1].lower() + text[1:], kind.lower(), depth)
            told = small if small and not _unknown(small) else self._phrase(text, kind.lower(), depth) or small
            return _capitalised(told) if told else None
        if kind.endswith(_INSIDE):
            kind = kind.removesuffix(_INSIDE)
            told = self._phrase(text[:1].upper() + text[1:], kind, depth)
            return told and _lowered(told)
        key = kind, text
        if key not in self._told:
            if depth > _DEEPEST or len(self._told) >= _MOST_PHRASES:
                return None
            self._told[key] = None  # a phrase within itself is none
            self._told[key] = self._found(text, kind, depth)
        return self._told[key]

    def _found(self, text: str, kind: str, depth: int) -> Told | None:
        partial: Told | None = None
        for patterns in (self._catalogue.strict, self._catalogue.loose if len(text) <= _LOOSE else {}):
            for pattern, regex in patterns.get(kind, ()):
                found = regex.fullmatch(text)
                if found is None:
                    continue
                told = self._filled(pattern, found.groupdict(), depth + 1)
                if not _unknown(told):
                    return told
                partial = partial or told
        return partial

    def _filled(self, pattern: Pattern, places: dict[str, str], depth: int) -> Told:
        told: Told = []
        for literal, name, _ in pattern.said:
            told.append((literal, True))
            if name:
                told += self._place(places[name], pattern.kinds[name], depth)
        return told

    def _place(self, text: str, kind: str, depth: int) -> Told:
        if not kind:
            return [(text, True)]
        if kind == "number":
            return [(self._catalogue.number(text), True)]
        if kind == "values":
            return [(self._catalogue.values(text), True)]
        if kind == "sentences":
            return self._sentences(text, depth)
        return self._phrase(text, kind, depth) or [(text, False)]

    def _sentences(self, text: str, depth: int) -> Told:
        """`text` as sentences in a row: with as little unknown as possible, and then as few as possible, so that a
        sentence of ours inside of a name stays a name."""
        ends = [place.end() for place in _END.finditer(text)]
        if len(ends) > _MOST_SENTENCES:
            return [(text, False)]
        starts = [0, *(end + 1 for end in ends)]
        ends.append(len(text))
        best: list[Told] = [[]]  # of what follows the last place, the one before it, …
        for first in reversed(range(len(starts))):
            ways: list[Told] = []
            for last in reversed(range(first, len(ends))):
                part = text[starts[first] : ends[last]]
                here = self._phrase(part, "sentence", depth) or ([(part, False)] if last == first else None)
                if here is None:
                    continue
                rest = best[len(ends) - 1 - last]
                ways.append([*here, (" ", True), *rest] if rest else here)
                if not _unknown(ways[-1]):
                    break
            best.append(min(ways, key=_unknown))
        return best[-1]


def _unknown(told: Told) -> int:
    """How many characters stay English."""
    return sum(len(text) for text, known in told if not known)


def _capitalised(told: Told) -> Told:
    place = next((i for i, (text, _) in enumerate(told) if text), None)
    if place is None:
        return told
    text, known = told[place]
    return [*told[:place], (text[:1].upper() + text[1:], known), *told[place + 1 :]]


def _lowered(told: Told) -> Told:
    """As within a sentence; a word that has more than its first letter in capitals or figures stays."""
    text, known = told[0]
    return [(text[:1].lower() + text[1:] if text[1:2].islower() else text, known), *told[1:]]
