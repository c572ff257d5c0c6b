"""Who signs evidence: a key of the service. It says which service wrote something, never that a person declared it."""

from __future__ import annotations

import subprocess
from base64 import b64decode
from collections.abc import Sequence
from hashlib import sha256
from typing import Protocol

from venturalitica_agent.errors import Away

RAW = 32  # bytes of an Ed25519 public key; they end its DER form
SIGNATURE = 64
_SECONDS = 30.0


class Signer(Protocol):
    """Something that signs with Ed25519: a file here, elsewhere a key manager."""

    @property
    def public_key(self) -> str:
        """SubjectPublicKeyInfo as PEM text."""
        ...

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of the Ed25519 signature; the same for the same message and key."""
        ...


class FileSigner:
    """Signs with a private key that was read from a file; ValueError or TypeError where that is no Ed25519 key."""

    def __init__(self, private_key: bytes, public_key: str) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        key = load_pem_private_key(private_key, None)
        if not isinstance(key, Ed25519PrivateKey):
            raise TypeError("evidence is signed with Ed25519 keys, this is another kind")
        self._private = key
        self.public_key = public_key

    def sign(self, message: bytes) -> bytes:
        return self._private.sign(message)


class CommandSigner:
    """Signs with a key that never leaves its manager (a KMS, an HSM, a vault), by a command of its own.

    Args:
        command: gets the message on its standard input, and writes the 64 bytes of the Ed25519 signature to its
            standard output; raw, or as base64.
        public_key: PEM text of the key that it signs with. Each signature is checked with it at once.
    """

    def __init__(self, command: Sequence[str], public_key: str) -> None:
        self._command = list(command)
        self.public_key = public_key

    def sign(self, message: bytes) -> bytes:
        """Raises SignerAway when the command fails, takes longer than half a minute, or signs with another key."""
        try:
            done = subprocess.run(self._command, input=message, capture_output=True, timeout=_SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise self._away(f"the command that signs evidence could not be run ({type(error).__name__})") from error
        if done.returncode:
            raise self._away(f"the command that signs evidence ended with {done.returncode}")
        signature = _signature(done.stdout)
        if signature is None or not _verifies(self.public_key, signature, message):
            raise self._away("the command that signs evidence wrote no signature by the key of `signing.public_key`")
        return signature

    def _away(self, what: str) -> SignerAway:
        remedy = "verdicts wait for it; run it by hand as the user of the service, and check `signing:` in agent.yaml"
        return SignerAway(what, subject=self._command[0], remedy=remedy)


class SignerAway(Away):
    """What signs evidence doesn't."""


def _signature(answer: bytes) -> bytes | None:
    if len(answer) == SIGNATURE:
        return answer
    try:
        found = b64decode(answer.strip(), validate=True)
    except ValueError:
        return None
    return found if len(found) == SIGNATURE else None


def _verifies(public_key: str, signature: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(public_key.encode())
    except ValueError:
        return False
    if not isinstance(key, Ed25519PublicKey):
        return False
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def new_key() -> tuple[bytes, str]:
    """A fresh key pair: (PKCS 8, unencrypted, as PEM; the public key as PEM)."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate()
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    public = private.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain), public.decode()


def _der(public_key: str) -> bytes:
    return b64decode("".join(line for line in public_key.splitlines() if not line.startswith("-----")))


def key_id(public_key: str) -> str:
    """64 hex: SHA-256 of the public key's DER form, as `openssl pkey -pubin -outform DER | sha256sum` prints it."""
    return sha256(_der(public_key)).hexdigest()


def raw_key(public_key: str) -> bytes:
    """The 32 bytes of an Ed25519 public key."""
    return _der(public_key)[-RAW:]
