"""One language: texts, stored sentences, numbers and times as its readers write them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from venturalitica_agent.language.catalogue import Catalogue

LANGUAGES = ("en", "es")

_MONTHS = {
    "en": ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
    "es": ["ene", "feb", "mar", "abr", "may", "jun", "jul", "ago", "sep", "oct", "nov", "dic"],
}
_UNITS = ((86400.0, "{n} d"), (3600.0, "{n} h"), (60.0, "{n} min"), (1.0, "{n} s"))


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a sentence and the code of the language that it is in."""

    text: str
    lang: str


class Language:
    """Texts in one language. Immutable, safe to share between threads.

    Attributes:
        code: "en" or "es", as in the `lang` attribute of HTML.
    """

    def __init__(self, code: str, catalogue: Catalogue | None = None) -> None:
        self.code = code
        self._catalogue = catalogue
        self._pieces = lru_cache(maxsize=2048)(self._read)

    def text(self, message: str, /, **values: object) -> str:
        """A text of ours by its English words, with `{places}` for the values; English where the catalogue has none.

        Values are put in as they are: numbers come from `number`, and who shows a text escapes what is untrusted in it.
        """
        known = message if self._catalogue is None else self._catalogue.texts.get(message, message)
        return known.format(**values) if values else known

    def told(self, sentence: str) -> str:
        """A stored English sentence, remedy, note, title or status in this language; what is unknown stays English."""
        return "".join(piece.text for piece in self.pieces(sentence))

    def knows(self, sentence: str) -> bool:
        """True when nothing of `told(sentence)` stays English but names."""
        return all(piece.lang == self.code for piece in self.pieces(sentence))

    def pieces(self, sentence: str) -> tuple[Piece, ...]:
        """`told(sentence)` in pieces of one language each, for readers that speak aloud what is written."""
        return self._pieces(sentence)

    def _read(self, sentence: str) -> tuple[Piece, ...]:
        if self._catalogue is None:
            return (Piece(sentence, self.code),)
        return _joined(self._catalogue.tell(sentence), self.code)

    def number(self, x: float | None, digits: int | None = None) -> str:
        """A number with `digits` decimals, or with up to four significant digits; "–" for none."""
        if x is None or math.isnan(x):
            return "–"
        if math.isinf(x):
            return "∞" if x > 0 else "−∞"
        plain = f"{x:.{digits}f}" if digits is not None else f"{x:d}" if isinstance(x, int) else f"{x:.4g}"
        return self.decimal(plain)

    def decimal(self, written: str) -> str:
        """A number that is written in English, with this language's decimal sign."""
        return written if self.code == "en" else written.replace(".", ",")

    def percent(self, x: float | None, digits: int = 0) -> str:
        """A share from 0 to 1 as "95 %"."""
        return "–" if x is None or math.isnan(x) else f"{self.decimal(f'{x * 100:.{digits}f}')} %"

    def moment(self, seconds: float | None) -> str:
        """A time in seconds since the epoch as "23 Nov 2026, 21:37 UTC"; "–" for none."""
        return "–" if seconds is None else f"{self.day(seconds)}, {datetime.fromtimestamp(seconds, UTC):%H:%M} UTC"

    def day(self, seconds: float | None) -> str:
        """The day of a time in seconds since the epoch, UTC, as "23 Nov 2026"; "–" for none."""
        if seconds is None:
            return "–"
        at = datetime.fromtimestamp(seconds, UTC)
        return f"{at.day} {_MONTHS[self.code][at.month - 1]} {at.year}"

    def ago(self, seconds: float | None) -> str:
        """How long ago something was, from the seconds that passed since, as "3 min ago"; "–" for none."""
        if seconds is None:
            return "–"
        for size, words in _UNITS:
            if seconds >= size:
                return self.text("{time} ago", time=self.text(words, n=int(seconds // size)))
        return self.text("just now")


def _joined(pieces: Iterable[tuple[str, bool]], code: str) -> tuple[Piece, ...]:
    """Neighbours of one language made one piece."""
    joined: list[Piece] = []
    for text, known in pieces:
        lang = code if known else LANGUAGES[0]
        if joined and joined[-1].lang == lang:
            joined[-1] = Piece(joined[-1].text + text, lang)
        elif text:
            joined.append(Piece(text, lang))
    return tuple(joined)
