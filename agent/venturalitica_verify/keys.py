"""Public keys and what they verify."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from venturalitica_verify.outcome import Broken


class PublicKey:
    """An Ed25519 key; `id` is SHA-256 of its DER form in hex, `raw` its 32 bytes."""

    def __init__(self, pem: bytes, what: str) -> None:
        try:
            key = load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise Broken(f"{what} is not a public key ({error})") from error
        if not isinstance(key, Ed25519PublicKey):
            raise Broken(f"{what} is not an Ed25519 key")
        self._key = key
        self.pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.id = sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()

    def verifies(self, signature: bytes, message: bytes) -> bool:
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True


def by_id(pems: Iterable[bytes]) -> Mapping[str, PublicKey]:
    keys = [PublicKey(pem, "the key that was given") for pem in pems]
    return {key.id: key for key in keys}
