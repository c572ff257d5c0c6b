"""The tree behind the log, by RFC 6962: what is needed to grow it and to prove things about it. Pure.

Checking proofs is somebody else's code on purpose: `venturalitica_verify` shares nothing with this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

HASH = 32  # bytes

Frontier = tuple[bytes, ...]
"""Roots of the complete subtrees that a tree consists of, the largest first: one for each 1 in its size in binary."""


def leaf_hash(content: bytes) -> bytes:
    return sha256(b"\x00" + content).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def grown(frontier: Frontier, size: int, leaf: bytes) -> Frontier:
    """The frontier of a tree of `size` leaves after one more was appended."""
    *peaks, last = *frontier, leaf
    while size & 1:
        last = _node(peaks.pop(), last)
        size >>= 1
    return (*peaks, last)


def root(frontier: Frontier) -> bytes:
    """The hash of the whole tree; of the empty one it is SHA-256 of nothing."""
    if not frontier:
        return sha256(b"").digest()
    *peaks, found = frontier
    while peaks:
        found = _node(peaks.pop(), found)
    return found


def path_of_next(frontier: Frontier) -> tuple[bytes, ...]:
    """The inclusion proof, the sibling first, of the leaf that is appended to this tree, in the tree that it makes."""
    return frontier[::-1]


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """The hash of the tree over these leaf hashes: RFC 6962, section 2.1."""
    frontier: Frontier = ()
    for size, leaf in enumerate(leaves):
        frontier = grown(frontier, size, leaf)
    return root(frontier)


def consistency_path(leaves: Sequence[bytes], size: int) -> tuple[bytes, ...]:
    """The proof that the tree of the first `size` leaves is the beginning of the tree of all: RFC 6962, section 2.1.2.

    Raises:
        ValueError: there is no such beginning.
    """
    if not 0 < size <= len(leaves):
        raise ValueError(f"a tree of {len(leaves)} leaves has no beginning of {size}")
    return _proof(leaves, size, whole=True)


def _proof(leaves: Sequence[bytes], size: int, *, whole: bool) -> tuple[bytes, ...]:
    if size == len(leaves):
        return () if whole else (tree_root(leaves),)
    split = 1 << (len(leaves) - 1).bit_length() - 1
    if size <= split:
        return (*_proof(leaves[:split], size, whole=whole), tree_root(leaves[split:]))
    return (*_proof(leaves[split:], size - split, whole=False), tree_root(leaves[:split]))
