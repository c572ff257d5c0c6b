"""Who signs evidence: a key of the service. It says which service wrote something, never that a person declared it."""

from __future__ import annotations

from base64 import b64decode
from hashlib import sha256
from typing import Protocol

RAW = 32  # bytes of an Ed25519 public key; they end its DER form


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
