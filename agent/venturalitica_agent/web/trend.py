"""The small picture of the last weeks: what passed stands above the line, what failed hangs below it.

Direction and fill tell the outcomes apart, so that the picture also works on paper and without seeing colours. No
text of the outside gets into it; classes are coloured by the style sheet.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from venturalitica_agent.web.model import Counts, Week

_BAR, _GAP, _HALF, _BASE = 8, 4, 15.0, 17.0
_PASSED, _OPEN, _FAILED = ("pass",), ("inconclusive", "warn"), ("fail", "error")


def totals(weeks: Sequence[Week]) -> dict[str, int]:
    """Verdicts of all these weeks: how many passed, are open (inconclusive or a warning), and failed (or errors)."""
    return {
        "passed": sum(_of(week.counts, _PASSED) for week in weeks),
        "open": sum(_of(week.counts, _OPEN) for week in weeks),
        "failed": sum(_of(week.counts, _FAILED) for week in weeks),
    }


def trend_picture(weeks: Sequence[Week]) -> Markup:
    """An SVG with one column per week, oldest first, hidden from screen readers: `totals` is its text."""
    above = (_of(week.counts, _PASSED + _OPEN) for week in weeks)
    below = (_of(week.counts, _FAILED) for week in weeks)
    scale = _HALF / max([1, *above, *below])
    width = len(weeks) * (_BAR + _GAP) - _GAP if weeks else _BAR
    columns = "".join(_column(index * (_BAR + _GAP), week.counts, scale) for index, week in enumerate(weeks))
    return Markup(  # noqa: S704 - made of numbers only
        f'<svg class="trend" viewBox="0 0 {width} 34" width="{width}" height="34" aria-hidden="true" focusable="false">'
        f'<path class="base" d="M0 {_BASE}H{width}"/>{columns}</svg>'
    )


def _column(x: int, counts: Counts, scale: float) -> str:
    passed, unclear, failed = (_of(counts, kinds) * scale for kinds in (_PASSED, _OPEN, _FAILED))
    bars = _bar("passed", x, _BASE - passed, passed) + _bar("failed", x, _BASE, failed)
    if unclear:  # drawn as an outline, so half a line's width smaller on each side
        height = max(unclear - 1, 0.5)
        bars += _bar("open", x + 0.5, _BASE - passed - 0.5 - height, height, _BAR - 1)
    return bars


def _bar(kind: str, x: float, y: float, height: float, width: float = _BAR) -> str:
    if not height:
        return ""
    return f'<rect class="{kind}" x="{x:g}" y="{y:.2f}" width="{width:g}" height="{height:.2f}"/>'


def _of(counts: Counts, kinds: Sequence[str]) -> int:
    return sum(counts.get(kind, 0) for kind in kinds)
