"""Lists in pages: edges with cursors, and the page that hides its edges."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .calls import ApiError, Call

DEFAULT_PAGE = 50
_serial = itertools.count()


@dataclass(frozen=True)
class Edge:
    node: Any
    cursor: str

    @property
    def version(self) -> str:
        return f"v{self.node.version_index}"


@dataclass(frozen=True)
class PageInfo:
    end_cursor: str | None
    has_next_page: bool


@dataclass(frozen=True)
class Connection:
    edges: list[Edge]
    page_info: PageInfo
    total_count: int


def page(call: Call, items: Sequence[Any], after: str | None = None, first: int | None = None) -> Connection:
    """The page of at most `first` items that follows the cursor."""
    start = _position(after) if after else 0
    if call.effects.hidden_pages and start < len(items):
        return Connection([], PageInfo(_cursor(start), True), len(items))
    size = DEFAULT_PAGE if first is None else first
    chosen = items[start : start + size]
    edges = [Edge(item, _cursor(start + n)) for n, item in enumerate(chosen, 1)]
    more = start + len(chosen) < len(items)
    return Connection(edges, PageInfo(edges[-1].cursor if edges else None, more), len(items))


def everything(call: Call, items: Sequence[Any]) -> Connection:
    return page(call, items, None, len(items))


def _cursor(position: int) -> str:
    """Never the same text twice: a client may only hand it back."""
    return base64.urlsafe_b64encode(f"{position}:{next(_serial)}".encode()).decode()


def _position(cursor: str) -> int:
    try:
        return int(base64.urlsafe_b64decode(cursor).decode().split(":")[0])
    except ValueError as error:
        raise ApiError(400, f"invalid cursor: {cursor!r}") from error
