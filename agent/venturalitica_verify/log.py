"""A published copy of the log: whole, signed, and the one that a bundle's proof is from. Files as C2SP's tlog-tiles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from venturalitica_verify.keys import by_id
from venturalitica_verify.merkle import leaf_hash, parent
from venturalitica_verify.notes import Checkpoint, InclusionProof, read_checkpoint
from venturalitica_verify.outcome import Broken

_WIDTH, _HASH = 256, 32
_MOST = 1 << 25  # bytes of one file: a full bundle of the longest entries is half of it


@dataclass(frozen=True, slots=True)
class PublishedLog:
    """Entries that lead to the root of a checkpoint, which may not be signed by anybody whom one trusts."""

    checkpoint: Checkpoint
    entries: Sequence[bytes]

    def check_signer(self, keys: Sequence[bytes]) -> str:
        """Who signed its head; raises Broken when none of these keys did."""
        for name, key in by_id(keys).items():
            if self.checkpoint.signed_by(key):
                return name
        raise Broken("the head of the published log is signed by none of the keys that were given")

    def root_of(self, size: int) -> bytes:
        """The root of the tree of its first `size` entries."""
        if not 0 < size <= len(self.entries):
            raise Broken(f"the published log has {len(self.entries)} entries, and {size} were signed elsewhere")
        return _root([leaf_hash(entry) for entry in self.entries[:size]])

    def check_proof(self, proof: InclusionProof) -> str:
        """The proof's entry is in it, and it grew from the proof's checkpoint; raises Broken where not."""
        before = proof.checkpoint
        if before.origin != self.checkpoint.origin:
            raise Broken(f"the bundle is of the log {before.origin}, and this one is {self.checkpoint.origin}")
        if self.root_of(before.size) != before.root:
            raise Broken(f"the published log did not grow from the bundle's checkpoint of {before.size} entries")
        if self.entries[proof.index] != proof.entry:
            raise Broken(f"entry {proof.index} of the published log is another one")
        return (
            f"entry {proof.index} is in the published log, which grew from {before.size} to {len(self.entries)} entries"
        )


def read_log(folder: Path) -> PublishedLog:
    """Read a published log; raises Broken where a file is missing, or is not what the checkpoint is of."""
    checkpoint = read_checkpoint(_read(folder, "checkpoint").decode("utf-8", "replace"))
    entries = [entry for path, width in _paths("entries", checkpoint.size) for entry in _split(folder, path, width)]
    level, hashes = 0, [leaf_hash(entry) for entry in entries]
    if _root(hashes) != checkpoint.root:
        raise Broken("the entries of the published log don't lead to the root of its checkpoint")
    while hashes:
        for number, (path, width) in enumerate(_paths(str(level), len(hashes))):
            if _read(folder, path) != b"".join(hashes[number * _WIDTH : number * _WIDTH + width]):
                raise Broken(f"{path} does not hold the hashes of the entries")
        full = len(hashes) // _WIDTH * _WIDTH
        hashes = [_root(hashes[start : start + _WIDTH]) for start in range(0, full, _WIDTH)]
        level += 1
    return PublishedLog(checkpoint, entries)


def _paths(kind: str, count: int) -> Iterator[tuple[str, int]]:
    for number in range(-(-count // _WIDTH)):
        digits, width = f"{number:03d}", min(_WIDTH, count - number * _WIDTH)
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        parts = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        place = "/".join([*("x" + part for part in parts[:-1]), parts[-1]])
        yield f"tile/{kind}/{place}" + (f".p/{width}" if width < _WIDTH else ""), width


def _split(folder: Path, path: str, count: int) -> Iterator[bytes]:
    content, at = _read(folder, path), 0
    for _ in range(count):
        end = at + 2 + int.from_bytes(content[at : at + 2], "big")
        if at + 2 > len(content) or end > len(content):
            raise Broken(f"{path} ends before its last entry")
        yield content[at + 2 : end]
        at = end
    if at != len(content):
        raise Broken(f"{path} holds more than {count} entries")


def _read(folder: Path, name: str) -> bytes:
    path = folder / name
    if not path.is_file():
        raise Broken(f"the published log has no {name}")
    if path.stat().st_size > _MOST:
        raise Broken(f"{name} is too large to be part of a log")
    return path.read_bytes()


def _root(hashes: Sequence[bytes]) -> bytes:
    """RFC 6962, section 2.1, level by level: a node without a sibling goes up as it is."""
    level = list(hashes) or [sha256(b"").digest()]
    while len(level) > 1:
        odd = level[-1:] if len(level) % 2 else []
        level = [parent(*level[at : at + 2]) for at in range(0, len(level) - 1, 2)] + odd
    return level[0]
