"""The envelope that carries a signed statement: DSSE, and the same in Sigstore's wrapping for its verifiers."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

from venturalitica_agent.attest.sign import key_id

PAYLOAD_TYPE = "application/vnd.in-toto+json"
_SIGSTORE = "application/vnd.dev.sigstore.bundle.v0.3+json"


def signed_bytes(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what the signature is of."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def envelope(payload: bytes, signature: bytes, public_key: str) -> bytes:
    """`attestation.dsse.json`."""
    return _json(_envelope(payload, signature, public_key))


def sigstore_bundle(payload: bytes, signature: bytes, public_key: str) -> bytes:
    """`bundle.sigstore.json`, version 0.3, with the key only named: whoever verifies must have it."""
    material = {"publicKey": {"hint": key_id(public_key)}}
    content = _envelope(payload, signature, public_key)
    return _json({"mediaType": _SIGSTORE, "verificationMaterial": material, "dsseEnvelope": content})


def _envelope(payload: bytes, signature: bytes, public_key: str) -> dict[str, Any]:
    signed = {"keyid": key_id(public_key), "sig": b64encode(signature).decode()}
    return {"payload": b64encode(payload).decode(), "payloadType": PAYLOAD_TYPE, "signatures": [signed]}


def _json(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=1) + "\n").encode()
