"""A walk over OSCAL documents, for what schemas don't look at: where references lead, and that no list is empty."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Each value that is neither an object nor a list, with the key that it is under."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from leaves(value, name)
    elif isinstance(node, list):
        assert node, f"OSCAL allows no empty list: {key}"
        for value in node:
            yield from leaves(value, key)
    else:
        yield key, node
