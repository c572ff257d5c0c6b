"""What a check came to, in words for the one who asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    OK = "ok"
    FAIL = "FAIL"
    NOT_CHECKABLE = "not checkable"


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        words: what was checked and seen, or why it can't be checked.
        needed: False where evidence may be called checked although this could not be.
    """

    name: str
    outcome: Outcome
    words: str
    needed: bool = True


class Broken(Exception):
    """Something isn't what it must be. The message is a sentence without its full stop, about the file at hand."""


def exit_code(checks: Iterable[Check]) -> int:
    """0: all that is needed is ok; 1: something is not what was attested; 3: something that is needed can't be told."""
    checks = list(checks)
    if any(check.outcome is Outcome.FAIL for check in checks):
        return 1
    open_ = any(check.needed and check.outcome is Outcome.NOT_CHECKABLE for check in checks)
    return 3 if open_ or not checks else 0


def printable(text: str) -> str:
    """Text that may come from a hostile file, for a terminal: one line, no control characters."""
    return "".join(c if c.isprintable() else "�" for c in " ".join(text.split()))


def document(found: Mapping[str, Sequence[Check]], code: int) -> dict[str, object]:
    """What `--json` prints: every check of every subject."""
    rows = {
        subject: [{"name": c.name, "outcome": c.outcome.value, "words": c.words, "needed": c.needed} for c in checks]
        for subject, checks in found.items()
    }
    return {"exit_code": code, "checked": rows}


def line(check: Check) -> str:
    return f"  {check.outcome.value:<13}  {check.name}: {printable(check.words)}"
