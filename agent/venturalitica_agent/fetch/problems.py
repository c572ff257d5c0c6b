"""How what is wrong with a run's model or data becomes words in the subject instead of the end of the audit."""

from __future__ import annotations

from collections.abc import Sequence

from venturalitica_agent.domain.subject import Problem
from venturalitica_agent.errors import PermanentError, UntrustedInput
from venturalitica_agent.strict_yaml import shown

_LISTED = 10


class Unfit(PermanentError):
    """A part of the subject can't be had.

    `code` is "missing" (nothing there), "ambiguous" (several, and we don't guess), "unreadable" (there, but broken),
    "large" (too large to be held at once), "unsupported" (there, but of a kind that we don't audit) or "unavailable".
    """

    def __init__(self, what: str, *, subject: str = "", remedy: str = "", code: str = "unavailable") -> None:
        super().__init__(what, subject=subject, remedy=remedy)
        self.code = code


def as_problem(error: PermanentError) -> Problem:
    """The same words as a `Problem`; UntrustedInput gets the code "refused"."""
    refused = "refused" if isinstance(error, UntrustedInput) else "unavailable"
    code = error.code if isinstance(error, Unfit) else refused
    return Problem(str(error), error.remedy, code)


def listed(names: Sequence[str], most: int = _LISTED) -> str:
    """Untrusted names for a sentence: quoted, control characters escaped, at most `most` of them."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(shown(n) for n in names[:most]) + more
