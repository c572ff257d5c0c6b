"""The texts in which the log speaks: signed notes, checkpoints and proofs, in C2SP's formats that other tools read.

See https://c2sp.org/signed-note, https://c2sp.org/tlog-checkpoint and https://c2sp.org/tlog-proof.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256

from venturalitica_agent.attest.sign import Signer, raw_key

_ED25519 = b"\x01"


def verifier_key(name: str, public_key: str) -> str:
    """A key as tools for signed notes take it: `<name>+<8 hex>+<base64>`."""
    typed = b64encode(_ED25519 + raw_key(public_key)).decode()
    return f"{name}+{_key_hash(name, public_key).hex()}+{typed}"


def checkpoint(origin: str, size: int, root: bytes, signer: Signer) -> str:
    """The signed head of the log `origin` when it had `size` entries."""
    text = f"{origin}\n{size}\n{b64encode(root).decode()}\n"
    signed = _key_hash(origin, signer.public_key) + signer.sign(text.encode())
    return f"{text}\n— {origin} {b64encode(signed).decode()}\n"


def inclusion_proof(content: bytes, number: int, path: Sequence[bytes], signed_checkpoint: str) -> bytes:
    """`inclusion.tlog-proof`: entry `number` with its own bytes as the extra line, so that they need no other file."""
    lines = ["c2sp.org/tlog-proof@v1", f"extra {b64encode(content).decode()}", f"index {number}"]
    lines += [b64encode(node).decode() for node in path]
    return ("\n".join(lines) + "\n\n" + signed_checkpoint).encode()


def _key_hash(name: str, public_key: str) -> bytes:
    return sha256(name.encode() + b"\n" + _ED25519 + raw_key(public_key)).digest()[:4]
