"""A finding as a picture: its value against what is required, and each group's rate with its interval and rows.

Inline SVG for pages and reports of any background: strokes and fills are the colour of the text around, so it prints,
and what is meant is told by shape and by words. No style attributes, no scripts, no references; every text is escaped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from venturalitica_agent.attest.drawing import cut, escaped, finite, fitted, plain, scale, text, ticks
from venturalitica_agent.domain.metric import METRICS, Form
from venturalitica_agent.domain.verdict import Finding
from venturalitica_agent.language import Language

MOST_GROUPS = 12
_LEFT, _PLOT, _WIDTH = 226, 300, 700
_ROW, _HEAD = 24, 20
_OF_SIZES = "min_group_n"
"""The metric whose groups' own values are their rows."""
_REQUIRED = re.compile(r"(<=|>=|==|!=|<|>) ([-+]?[0-9.]+(?:e[-+]?[0-9]+)?)")


class GroupLike(Protocol):
    """One group of a page's document."""

    @property
    def group(self) -> str: ...
    @property
    def n(self) -> int: ...
    @property
    def value(self) -> float | None: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...
    @property
    def compared(self) -> bool: ...
    @property
    def reason(self) -> str: ...


class FindingLike(Protocol):
    """A finding of a page's document: `web.model.FindingView`."""

    @property
    def control(self) -> str: ...
    @property
    def metric(self) -> str: ...
    @property
    def require(self) -> str: ...
    @property
    def value(self) -> float | None: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...
    @property
    def n(self) -> int | None: ...
    @property
    def rate(self) -> str: ...
    @property
    def reference(self) -> str: ...
    @property
    def groups(self) -> Sequence[GroupLike]: ...


@dataclass(frozen=True, slots=True)
class _Row:
    """A dot with its interval. `aside` stands in the place of a value where a group was not compared."""

    name: str
    n: int | None
    value: float | None
    low: float | None
    high: float | None
    compared: bool = True
    reference: bool = False
    aside: str = ""


@dataclass(frozen=True, slots=True)
class _Drawn:
    """What of a finding is drawn."""

    control: str
    metric: str
    require: str
    overall: _Row
    rows: tuple[_Row, ...]
    rate: str


def group_picture(finding: Finding | FindingLike, language: Language) -> str:
    """An `<svg role="img">` in the language, with a title and a description in words; empty without a finite value.

    First the value, its interval and the part of the scale that the requirement allows; then each group, at most
    `MOST_GROUPS`, on the scale of their rates. A requirement on a gap is drawn among the groups as the rate that it
    leaves to the group worst off while the best one stays.
    """
    drawn = _drawn_of(finding)
    if drawn is None:
        return ""
    required = _requirement(drawn.require)
    parts = list(_panel(language, [drawn.overall], 0, language.text("value"), required, _limits(drawn.metric)))
    height = _HEAD + _ROW + 18
    rows, more = _chosen(drawn.rows)
    if rows:
        caption = language.told(drawn.rate) if drawn.rate else language.text("groups")
        among = _among_groups(drawn, required)
        label = "required {require}" if among == required else "the group worst off would need {require}"
        parts += _panel(language, rows, height + 4, caption, among, None, label)
        height += _HEAD + _ROW * len(rows) + 22
        if more:
            parts.append(text(0, height + 10, language.text("and {n} more in evidence.json", n=more)))
            height += 18
    parts.append(text(0, height + 12, _legend(language, rows, required is not None), small=True))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="picture" role="img" viewBox="0 0 {_WIDTH} {height + 20}" '
        f'width="{_WIDTH}" height="{height + 20}" font-family="sans-serif" font-size="12" fill="currentColor" '
        f'stroke="none"><title>{escaped(_titled(drawn, language))}</title>'
        f"<desc>{escaped(_described(drawn, rows, language))}</desc>{''.join(parts)}</svg>"
    )


def _drawn_of(finding: Finding | FindingLike) -> _Drawn | None:
    if not isinstance(finding, Finding):
        overall = _Row("", finding.n, finding.value, finding.low, finding.high)
        rows = tuple(
            _Row(g.group, g.n, g.value, g.low, g.high, g.compared, g.group == finding.reference, g.reason)
            for g in finding.groups
        )
        rate = finding.rate
    elif finding.measurement is None:
        return None
    else:
        measured = finding.measurement
        overall = _Row("", measured.n, measured.value, measured.interval.low, measured.interval.high)
        ends = ((g.interval.low, g.interval.high) if g.interval else (None, None) for g in measured.groups)
        rows = tuple(
            _Row(g.group, g.n, g.value, low, high, g.compared, g.group == measured.reference, g.reason)
            for g, (low, high) in zip(measured.groups, ends, strict=True)
        )
        rate = measured.rate
    if overall.value is None or not finite(overall.value):
        return None
    if finding.metric == _OF_SIZES:
        rows = tuple(replace(row, value=float(row.n or 0)) for row in rows)
    rated = any(row.value is not None for row in rows)
    return _Drawn(finding.control, finding.metric, finding.require, overall, rows if rated else (), rate)


def _requirement(require: str) -> tuple[str, float] | None:
    found = _REQUIRED.fullmatch(require)
    return (found[1], float(found[2])) if found else None


def _limits(metric: str) -> tuple[float, float] | None:
    spec = METRICS.get(metric)
    return (spec.low, spec.high) if spec else None


def _among_groups(drawn: _Drawn, required: tuple[str, float] | None) -> tuple[str, float] | None:
    """The requirement on the scale of the groups' rates, where it has a place there.

    A gap has one when the widest of the compared rates is the value: then, with the best group as it is, the worst one
    needs so much.
    """
    spec = METRICS.get(drawn.metric)
    rates = [row.value for row in drawn.rows if row.compared and row.value is not None]
    if spec is None or required is None or not rates:
        return None
    op, threshold = required
    low, high = min(rates), max(rates)
    if spec.form is Form.WORST or drawn.metric == _OF_SIZES:
        return required
    if spec.form is Form.RATIO and op in (">=", ">") and high > 0 and _same(low / high, drawn.overall.value):
        return op, threshold * high
    if spec.form is Form.DIFFERENCE and op in ("<=", "<") and _same(high - low, drawn.overall.value):
        return op.replace("<", ">"), high - threshold
    return None


def _same(one: float, other: float | None) -> bool:
    return other is not None and math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)


def _chosen(rows: tuple[_Row, ...]) -> tuple[list[_Row], int]:
    """At most `MOST_GROUPS`, in their order: the reference and the ends of the range first of all."""
    rated = sorted((row for row in rows if row.compared and row.value is not None), key=lambda row: row.value or 0.0)
    first = {id(row) for row in (*rated[:1], *rated[-1:], *(row for row in rows if row.reference))}
    kept = sorted(range(len(rows)), key=lambda place: (id(rows[place]) not in first, place))[:MOST_GROUPS]
    return [rows[place] for place in sorted(kept)], len(rows) - len(kept)


def _panel(
    language: Language,
    rows: Sequence[_Row],
    top: float,
    caption: str,
    required: tuple[str, float] | None,
    limits: tuple[float, float] | None,
    label: str = "required {require}",
) -> Iterator[str]:
    """Rows on one scale, with the allowed part of it shaded and the threshold, with its `label`, dashed."""
    marks = [x for row in rows for x in (row.value, row.low, row.high) if x is not None and finite(x)]
    start, end = scale([*marks, *([required[1]] if required else [])], limits)
    bottom = top + _HEAD + _ROW * len(rows)

    def at(x: float) -> float:
        return round(_LEFT + _PLOT * min(1.0, max(0.0, (x - start) / (end - start))), 1)

    yield text(0, top + 13, cut(caption[:1].upper() + caption[1:], 34), strong=True)
    if required is not None:
        yield from _threshold(language, required, label, at, top, bottom)
    yield f'<path d="M{_LEFT} {bottom}H{_LEFT + _PLOT}" stroke="currentColor" opacity=".5"/>'
    for tick in ticks(start, end):
        yield f'<path d="M{at(tick)} {bottom}v4" stroke="currentColor" opacity=".5"/>'
        yield text(at(tick), bottom + 15, language.number(tick), anchor="middle", small=True)
    for place, row in enumerate(rows):
        yield from _row(language, row, at, top + _HEAD + _ROW * (place + 0.5))


def _threshold(
    language: Language, required: tuple[str, float], label: str, at: _Place, top: float, bottom: float
) -> Iterator[str]:
    op, threshold = required
    x = at(threshold)
    if op in (">=", ">", "<=", "<"):
        left, right = (x, _LEFT + _PLOT) if op[0] == ">" else (_LEFT, x)
        yield f'<rect x="{left}" y="{top + _HEAD}" width="{round(right - left, 1)}" height="{bottom - top - _HEAD}" '
        yield 'opacity=".1"/>'
    yield f'<path d="M{x} {top + _HEAD - 3}V{bottom}" stroke="currentColor" stroke-dasharray="4 3" stroke-width="1.5"/>'
    words = language.text(label, require=f"{_SIGNS.get(op, op)} {_trimmed(threshold, language)}")
    anchor = "end" if x > _LEFT + _PLOT * 0.75 else "start" if x < _LEFT + _PLOT * 0.25 else "middle"
    yield text(x, top + 13, words, anchor=anchor, small=True)


def _row(language: Language, row: _Row, at: _Place, y: float) -> Iterator[str]:
    yield "<g>"
    if row.name and fitted(row.name) != plain(row.name):
        yield f"<title>{escaped(plain(row.name)[:200])}</title>"
    yield text(0, y + 4, fitted(row.name))
    if row.n is not None:
        yield text(_LEFT - 14, y + 4, f"n={row.n}", anchor="end", small=True)
    if row.value is not None and finite(row.value):
        x = at(row.value)
        if row.low is not None and row.high is not None and row.low < row.high:
            low, high = at(row.low), at(row.high)
            caps = "".join(f"M{end} {y - 5}v10" for end, x_end in ((low, row.low), (high, row.high)) if finite(x_end))
            arrows = f"M{high - 5} {y - 4}l5 4l-5 4" if not finite(row.high) else ""
            arrows += f"M{low + 5} {y - 4}l-5 4l5 4" if not finite(row.low) else ""
            yield f'<path d="M{low} {y}H{high}{caps}{arrows}" fill="none" stroke="currentColor" stroke-width="1.5"/>'
        yield _mark(row, x, y)
    yield text(_LEFT + _PLOT + 10, y + 4, _aside(row, language), small=True)
    yield "</g>"


def _mark(row: _Row, x: float, y: float) -> str:
    if not row.compared:
        return f'<circle cx="{x}" cy="{y}" r="4.5" fill="none" stroke="currentColor" stroke-width="1.5"/>'
    if row.reference:
        return f'<rect x="{x - 4.5}" y="{y - 4.5}" width="9" height="9"/>'
    return f'<circle cx="{x}" cy="{y}" r="5"/>'


def _aside(row: _Row, language: Language) -> str:
    if not row.compared:
        return cut(language.text("not compared: {reason}", reason=plain(language.told(row.aside))), 30)
    if row.value is None:
        return ""
    ends = ""
    if row.low is not None and row.high is not None and row.low < row.high:
        ends = f" ({_short(row.low, language)} – {_short(row.high, language)})"
    return _short(row.value, language) + ends


def _short(x: float, language: Language) -> str:
    """Three decimals where they say something."""
    if float(x).is_integer():
        return language.number(int(x))
    return language.number(x, 3 if 0.001 <= abs(x) < 100 or x == 0 else None)


def _trimmed(x: float, language: Language) -> str:
    """A threshold without the digits that only arithmetic gave it."""
    return language.number(float(f"{x:.3g}"))


def _legend(language: Language, rows: Sequence[_Row], required: bool) -> str:
    shown = [f"● {language.text('value')}, ├─┤ {language.text('interval')}"]
    if any(row.reference and row.value is not None for row in rows):
        shown.append(f"■ {language.text('reference group')}")
    if any(not row.compared and row.value is not None for row in rows):
        shown.append(f"○ {language.text('not compared')}")
    if required:
        shown.append(f"┆ {language.text('threshold; the shaded side is what is required')}")
    return " · ".join(shown)


def _titled(drawn: _Drawn, language: Language) -> str:
    spec = METRICS.get(drawn.metric)
    return f"{plain(drawn.control)[:120]}: {language.told(spec.title) if spec else plain(drawn.metric)[:120]}"


def _described(drawn: _Drawn, rows: Sequence[_Row], language: Language) -> str:
    told = [f"{language.text('value')} {_aside(drawn.overall, language)}"]
    if drawn.require:
        told.append(language.text("required {require}", require=language.told(drawn.require)))
    for row in rows:
        reference = f", {language.text('reference group')}" if row.reference else ""
        told.append(f"{fitted(row.name)}: {_aside(row, language)}, n={row.n}{reference}")
    return "; ".join(told) + "."


class _Place(Protocol):
    def __call__(self, x: float, /) -> float: ...


_SIGNS = {">=": "≥", "<=": "≤", "==": "=", "!=": "≠"}
