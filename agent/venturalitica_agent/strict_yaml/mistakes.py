"""Mistakes in a document, collected so that a person can mend them all in one go."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NoReturn

from venturalitica_agent.errors import ConfigError
from venturalitica_agent.logging import without_credentials

_TOLD = 50  # a hostile file can hold hundreds of thousands of mistakes; nobody mends more than these in one go


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong in a document.

    Attributes:
        line, column: where, from 1; line 0 when it is not in the file (an environment variable, the file as a whole).
        path: which value, e.g. `controls[2].metric`; empty for the document itself.
        text: the source text that is wrong.
        message: what is wrong with it, for a person.
        nearest: the known word that was probably meant, or empty.
    """

    line: int
    column: int
    path: str
    text: str
    message: str
    nearest: str = ""

    def told(self, file: str) -> str:
        """`file:line:column: what (did you mean 'x'?)`."""
        place = f"{file}:{self.line}:{self.column}" if self.line else file
        hint = f" (did you mean {shown(self.nearest)}?)" if self.nearest else ""
        return f"{place}: {self.message}{hint}"


class InvalidDocument(ConfigError):
    """A document can't be used; `mistakes` holds every one that was found, in the order of the file."""

    def __init__(self, file: str, mistakes: Iterable[Mistake]) -> None:
        self.file = file
        self.mistakes = tuple(sorted(mistakes, key=lambda m: (m.line, m.column)))
        count = len(self.mistakes)
        lines = [m.told(file) for m in self.mistakes[:_TOLD]]
        if count > _TOLD:
            lines.append(f"... and {count - _TOLD} more")
        head = "one mistake" if count == 1 else f"{count} mistakes"
        super().__init__(
            "\n  ".join([head, *lines]),
            subject=file,
            remedy="correct the lines named above; nothing of this file is used",
        )


class Mistakes:
    """Collects the mistakes of one file. The first one about a value is the cause; later ones are its echo."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._found: dict[tuple[int, int, str], Mistake] = {}

    def add(self, mistake: Mistake) -> None:
        place = (mistake.line, mistake.column, mistake.path)
        self._found.setdefault(place, replace(mistake, text=redacted(mistake.text)))

    def stop(self, mistake: Mistake) -> NoReturn:
        """Add a mistake after which nothing more can be read."""
        self.add(mistake)
        raise InvalidDocument(self.file, self._found.values())

    def raise_if_any(self) -> None:
        """Raise `InvalidDocument` when anything was wrong."""
        if self._found:
            raise InvalidDocument(self.file, self._found.values())


def nearest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """The known word that looks most like `word` or is abbreviated by it (case apart), or "" when none is close."""
    folded = word.casefold()[:200]
    by_folded = {k.casefold(): k for k in known}
    found = difflib.get_close_matches(folded, by_folded, n=1, cutoff=cutoff)
    if not found and len(folded) >= 3:  # an abbreviation, such as `eval`
        found = [k for k in by_folded if k.startswith(folded)]
    return by_folded[found[0]] if len(found) == 1 else ""


def shown(text: str) -> str:
    """Untrusted text made fit for a message: credentials hidden, quoted, control characters escaped, cut at 80."""
    text = redacted(text)
    return repr(text if len(text) <= 80 else text[:77] + "...")


def redacted(text: str) -> str:
    """Text without the credentials that URLs carry (`://user:secret@`, `?password=...`); cut at 1,000 characters."""
    return without_credentials(text[:1000])
