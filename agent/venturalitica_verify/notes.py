"""Reading what a log says: signed checkpoints and inclusion proofs, in the formats of C2SP."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256

from venturalitica_verify.keys import PublicKey
from venturalitica_verify.outcome import Broken
from venturalitica_verify.strict import read_base64

_CHECKPOINT = re.compile(r"([^\s+]+)\n(0|[1-9]\d{0,18})\n(\S+)\n\n— ([^\s+]+) (\S+)\n")
_PROOF = re.compile(
    r"c2sp\.org/tlog-proof@v1\nextra (\S+)\nindex (0|[1-9]\d{0,18})\n((?:\S+\n){0,64}?)\n(.*)", re.DOTALL
)
_HASH = 32


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of the log `origin` when it had `size` entries, not yet known to be genuine."""

    origin: str
    size: int
    root: bytes
    signer: str
    signature: bytes

    def signed_by(self, key: PublicKey) -> bool:
        text = f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n"
        hint, signature = self.signature[:4], self.signature[4:]
        expected = sha256(self.signer.encode() + b"\n\x01" + key.raw).digest()[:4]
        return self.signer == self.origin and hint == expected and key.verifies(signature, text.encode())


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """Entry number `index` with its bytes, its path, and the checkpoint that the path leads to."""

    entry: bytes
    index: int
    path: tuple[bytes, ...]
    checkpoint: Checkpoint


def read_checkpoint(text: str) -> Checkpoint:
    found = re.fullmatch(_CHECKPOINT, text)
    if found is None:
        raise Broken("the checkpoint is not a signed note with one signature")
    origin, size, root, signer, signature = found.groups()
    return Checkpoint(origin, int(size), _hash(root), signer, read_base64(signature, "the checkpoint's signature"))


def read_proof(content: bytes) -> InclusionProof:
    try:
        found = re.fullmatch(_PROOF, content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Broken("the proof is not text") from error
    if found is None:
        raise Broken("the proof is not in the format c2sp.org/tlog-proof@v1, with the entry in its extra line")
    entry, index, path, checkpoint = found.groups()
    hashes = tuple(_hash(line) for line in path.splitlines())
    return InclusionProof(read_base64(entry, "the entry"), int(index), hashes, read_checkpoint(checkpoint))


def _hash(text: str) -> bytes:
    found = read_base64(text, "a hash of the log")
    if len(found) != _HASH:
        raise Broken("a hash of the log is not of 32 bytes")
    return found
