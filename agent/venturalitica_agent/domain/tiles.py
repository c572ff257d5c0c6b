"""The log as files that anybody can serve and keep: C2SP's tlog-tiles. Pure.

See https://c2sp.org/tlog-tiles: a tile holds up to 256 hashes of one level of the tree, a bundle up to 256 entries, and
one that is full never changes again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from venturalitica_agent.domain.merkle import tree_root

WIDTH = 256
LONGEST = 0xFFFF
"""Bytes of one entry, at most."""


def tiles(leaves: Sequence[bytes]) -> Iterator[tuple[str, bytes]]:
    """Every tile of the tree over these leaf hashes, by its path; the last one of a level may be partial."""
    level, hashes = 0, leaves
    while hashes:
        for start in range(0, len(hashes), WIDTH):
            chunk = hashes[start : start + WIDTH]
            yield _path(str(level), start // WIDTH, len(chunk)), b"".join(chunk)
        full = len(hashes) // WIDTH * WIDTH
        hashes = [tree_root(hashes[start : start + WIDTH]) for start in range(0, full, WIDTH)]
        level += 1


def entry_bundle(number: int, entries: Sequence[bytes]) -> tuple[str, bytes]:
    """Bundle `number`: each entry after its length as a big-endian uint16.

    Raises:
        ValueError: an entry is longer than 65,535 bytes.
    """
    if any(len(entry) > LONGEST for entry in entries):
        raise ValueError("an entry is too long for a bundle")
    content = b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)
    return _path("entries", number, len(entries)), content


def _path(kind: str, number: int, width: int) -> str:
    """Of tile 1,234,067: `x001/x234/067`."""
    *before, last = f"{number:,}".split(",")
    place = "/".join([*(f"x{part.zfill(3)}" for part in before), last.zfill(3)])
    return f"tile/{kind}/{place}" + ("" if width == WIDTH else f".p/{width}")
