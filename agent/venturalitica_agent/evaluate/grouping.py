"""A group role as codes: declared groups of values, bands of a number, or each value for itself. No row vanishes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from venturalitica_agent.domain.subject import ColumnBinding, Problem
from venturalitica_agent.evaluate.coding import MISSING, Coded, encode, find, label, listing

MISSING_GROUP = "(missing)"
OTHER_GROUP = "(other)"
MAX_GROUPS = 200


@dataclass(frozen=True, slots=True, eq=False)
class Grouping:
    """Which group each row belongs to, under one role.

    Attributes:
        codes: (n,) int64, index into `names`; every row has one.
        names: declared groups in their order (also those without a row), bands from low to high, or the distinct
            values ascending; then "(other)" and "(missing)" where there are such rows.
        notes: what a person should know about how the groups came about.
    """

    role: str
    column: str
    codes: NDArray[np.int64]
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()


def group(series: pd.Series[Any], binding: ColumnBinding) -> Grouping | Problem:
    """The groups of a column, or why there are none."""
    try:
        coded = encode(series)
    except TypeError:
        return Problem(f"column {binding.column!r} holds values that can't be grouped, such as lists")
    if binding.groups:
        return _declared(coded, binding)
    if binding.bins:
        return _banded(coded, binding)
    if len(coded.values) > MAX_GROUPS:
        return Problem(
            f"column {binding.column!r} has {len(coded.values)} distinct values, too many to be groups",
            f"declare `groups:` or `bins:` for columns.{binding.role}",
        )
    return _finish(binding, coded, list(range(len(coded.values))), _unique_names(coded.values))


def cross(groupings: Sequence[Grouping]) -> Grouping | Problem:
    """The intersections of several roles: every combination of their groups, also those without a row.

    A row that is "(missing)" in one of them is so in the intersection, and else likewise for "(other)".
    """
    if len(groupings) == 1:
        return groupings[0]
    unknown = (OTHER_GROUP, MISSING_GROUP)
    named = [[i for i, name in enumerate(g.names) if name not in unknown] for g in groupings]
    n = math.prod(len(own) for own in named)
    role = " × ".join(g.role for g in groupings)
    if n > MAX_GROUPS:
        return Problem(
            f"{role} makes {n} groups; at most {MAX_GROUPS} can be compared",
            "declare wider `groups:` or `bins:`, or cross fewer roles",
        )
    codes = np.zeros(len(groupings[0].codes), dtype=np.int64)
    rest = np.zeros(len(codes), dtype=np.int64)  # 1 = other, 2 = missing
    for grouping, own in zip(groupings, named, strict=True):
        place = np.zeros(len(grouping.names), dtype=np.int64)
        place[own] = np.arange(len(own))
        codes = codes * len(own) + place[grouping.codes]
        state = np.array([unknown.index(name) + 1 if name in unknown else 0 for name in grouping.names])
        rest = np.maximum(rest, state[grouping.codes])
    names = [
        " × ".join(parts)
        for parts in product(*([g.names[i] for i in o] for g, o in zip(groupings, named, strict=True)))
    ]
    for kind, name in enumerate(unknown, start=1):
        if (rest == kind).any():
            codes[rest == kind] = len(names)
            names.append(name)
    notes = tuple(dict.fromkeys(note for g in groupings for note in g.notes))
    return Grouping(role, " × ".join(g.column for g in groupings), codes, tuple(names), notes)


def _declared(coded: Coded, binding: ColumnBinding) -> Grouping | Problem:
    if reserved := {MISSING_GROUP, OTHER_GROUP} & set(binding.groups):
        return Problem(f"group name {listing(sorted(reserved))} is reserved", f"rename it in columns.{binding.role}")
    members: dict[int, int] = {}
    notes = []
    for g, (name, declared) in enumerate(binding.groups.items()):
        for value in declared:
            index, as_text = find(value, coded.values)
            if index is None:
                notes.append(f"value {listing([value])} of group {name} occurs nowhere in column {binding.column}")
            elif members.setdefault(index, g) != g:
                return Problem(
                    f"value {listing([value])} is declared in two groups of columns.{binding.role}",
                    "leave each value in one group",
                )
            elif as_text:
                notes.append(f"value {listing([value])} of group {name} was read as {listing([coded.values[index]])}")
    if not members:
        return Problem(
            f"no row of column {binding.column!r} belongs to a declared group of columns.{binding.role}",
            f"the values that exist are {listing(coded.values)}; correct `groups:`",
        )
    names = list(binding.groups)
    others = [v for i, v in enumerate(coded.values) if i not in members]
    if others:
        notes.append(f"in no declared group: {listing(others)}; counted as {OTHER_GROUP}")
    index_of = [members.get(i, len(names)) for i in range(len(coded.values))]
    return _finish(binding, coded, index_of, [*names, OTHER_GROUP] if others else names, notes)


def _banded(coded: Coded, binding: ColumnBinding) -> Grouping | Problem:
    edges = list(binding.bins)
    if edges != sorted(set(edges)):
        return Problem(f"bins of columns.{binding.role} are not ascending", "write the upper edges from low to high")
    numbers = pd.to_numeric(pd.Series(list(coded.values), dtype=object), errors="coerce")
    unread = [
        v for v, bad in zip(coded.values, numbers.isna(), strict=True) if bad or not isinstance(v, (int, float, str))
    ]
    if unread:
        return Problem(
            f"column {binding.column!r} holds values that are not numbers: {listing(unread)}",
            f"bind columns.{binding.role} to a numeric column, or declare `groups:` in place of `bins:`",
        )
    notes = []
    if any(isinstance(v, str) for v in coded.values):
        notes.append(f"the text of column {binding.column} was read as numbers")
    bands = np.searchsorted(np.asarray(edges, dtype=float), numbers.to_numpy(dtype=float), side="left")
    return _finish(binding, coded, [int(b) for b in bands], band_names(edges), notes)


def band_names(edges: Sequence[float]) -> list[str]:
    """An edge belongs to the band below it: `[25]` makes "≤ 25" and "> 25"; a middle band runs over its lower edge."""
    between = [f"{label(a)}–{label(b)}" for a, b in pairwise(edges)]
    return [f"≤ {label(edges[0])}", *between, f"> {label(edges[-1])}"]


def _finish(
    binding: ColumnBinding, coded: Coded, index_of: list[int], names: list[str], notes: Sequence[str] = ()
) -> Grouping:
    table = np.array([*index_of, len(names)], dtype=np.int64)
    codes = table[coded.codes]
    if (coded.codes == MISSING).any():
        names = [*names, MISSING_GROUP]
    return Grouping(binding.role, binding.column, codes, tuple(names), tuple(notes))


def _unique_names(values: Sequence[object]) -> list[str]:
    """Names of values; those that would read alike (1 and "1", or text that poses as "(missing)") get quotes."""
    names = [label(v) for v in values]
    seen: Mapping[str, int] = Counter([*names, MISSING_GROUP, OTHER_GROUP])
    names = [repr(v) if seen[name] > 1 else name for name, v in zip(names, values, strict=True)]
    return names if len(set(names)) == len(names) else [f"{name} [{i}]" for i, name in enumerate(names)]
