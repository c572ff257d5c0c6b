"""The one way in which a metric says that it has no value here."""

from __future__ import annotations

from typing import TypeVar

from venturalitica_agent.errors import PermanentError

T = TypeVar("T")


class Undefined(PermanentError):
    """A quantity does not exist on this data (0/0, one group, one class): it is neither 0 nor 1, it is not given."""


def given(part: T | None, name: str) -> T:
    """`part`, which the caller can't do without.

    Raises:
        Undefined: when it is not there.
    """
    if part is None:
        raise Undefined(f"there are no {name}")
    return part
