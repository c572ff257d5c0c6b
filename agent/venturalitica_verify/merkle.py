"""Checking proofs about a Merkle tree, by the algorithms of RFC 9162 (sections 2.1.3.2 and 2.1.4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from venturalitica_verify.outcome import Broken


def leaf_hash(content: bytes) -> bytes:
    return sha256(b"\x00" + content).digest()


def parent(left: bytes, right: bytes) -> bytes:
    """The hash of a node over its two."""
    return sha256(b"\x01" + left + right).digest()


def root_by_inclusion(index: int, size: int, leaf: bytes, path: Sequence[bytes]) -> bytes:
    """The root of a tree of `size` leaves in which `leaf` is number `index`, by its inclusion proof."""
    if not 0 <= index < size:
        raise Broken(f"a log of {size} entries has no entry number {index}")
    position, last, found = index, size - 1, leaf
    for node in path:
        if last == 0:
            raise Broken("the inclusion proof is too long")
        if position & 1 or position == last:
            found = parent(node, found)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            found = parent(found, node)
        position, last = position >> 1, last >> 1
    if last:
        raise Broken("the inclusion proof is too short")
    return found


def is_beginning(old_size: int, old_root: bytes, size: int, root: bytes, path: Sequence[bytes]) -> bool:
    """Whether the tree with `old_root` is the beginning of the tree with `root`, by their consistency proof."""
    if not 0 < old_size <= size:
        return False
    if old_size == size:
        return not path and old_root == root
    nodes = list(path) if old_size & (old_size - 1) else [old_root, *path]
    if not nodes:
        return False
    position, last = old_size - 1, size - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old = new = nodes[0]
    for node in nodes[1:]:
        if last == 0:
            return False
        if position & 1 or position == last:
            old, new = parent(node, old), parent(node, new)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            new = parent(new, node)
        position, last = position >> 1, last >> 1
    return last == 0 and old == old_root and new == root
