"""Until when evidence has to be kept: a policy's `retain`, counted from the verdict. Pure."""

from __future__ import annotations

import re
from datetime import date, timedelta

LENGTH = r"[1-9][0-9]{0,2} (day|week|month|year)s?"
DAY = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"


def retain_until(retain: str, decided_at: str) -> str:
    """The last day, as YYYY-MM-DD.

    Args:
        retain: a length of `LENGTH`, or the day itself.
        decided_at: RFC 3339.

    Raises:
        ValueError: `retain` is neither.
    """
    if re.fullmatch(DAY, retain):
        return date.fromisoformat(retain).isoformat()
    found = re.fullmatch(LENGTH, retain)
    if found is None:
        raise ValueError(f"neither a length of time nor a day: {retain}")
    count, decided = int(retain.split()[0]), date.fromisoformat(decided_at[:10])
    match found[1]:
        case "day":
            until = decided + timedelta(days=count)
        case "week":
            until = decided + timedelta(weeks=count)
        case "month":
            until = _months_later(decided, count)
        case _:
            until = _months_later(decided, 12 * count)
    return until.isoformat()


def _months_later(day: date, months: int) -> date:
    """The same day of a later month; the first of the next one where it has no such day."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    try:
        return day.replace(year=year, month=month + 1)
    except ValueError:
        return date(year, month + 2, 1)
