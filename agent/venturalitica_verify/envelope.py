"""The signed statement: its DSSE envelope, the same in Sigstore's wrapping, and what it says."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from venturalitica_verify.keys import PublicKey
from venturalitica_verify.outcome import Broken
from venturalitica_verify.strict import read_base64, read_json, read_object

_TYPE = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://slsa.dev/verification_summary/v1"
_VERDICT = "urn:venturalitica:verdict:1"
_SIGSTORE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Envelope:
    """What `attestation.dsse.json` holds, not yet known to be genuine."""

    payload: bytes
    signature: bytes
    key_id: str
    document: Mapping[str, Any]

    def signed_by(self, key: PublicKey) -> bool:
        encoded = b"DSSEv1 %d %s %d %s" % (len(_TYPE), _TYPE.encode(), len(self.payload), self.payload)
        return self.key_id == key.id and key.verifies(self.signature, encoded)


@dataclass(frozen=True, slots=True)
class Statement:
    """What was signed.

    Attributes:
        subjects: SHA-256 by name. predicate: the verification summary. verdict: our own part of it.
    """

    subjects: Mapping[str, str]
    predicate: Mapping[str, Any]
    verdict: Mapping[str, Any]


def read_envelope(content: bytes) -> Envelope:
    document = read_json(content, "the attestation")
    if (
        not isinstance(document, dict)
        or set(document) != {"payload", "payloadType", "signatures"}
        or document["payloadType"] != _TYPE
        or not isinstance(document["signatures"], list)
        or len(document["signatures"]) != 1
        or set(document["signatures"][0]) != {"keyid", "sig"}
        or _spelled(document) != content
    ):
        raise Broken("the attestation is not a DSSE envelope with one signature, as the agent writes it")
    (signed,) = document["signatures"]
    payload = read_base64(document["payload"], "the attestation's payload")
    return Envelope(payload, read_base64(signed["sig"], "the attestation's signature"), str(signed["keyid"]), document)


def wrapped(envelope: Envelope) -> bytes:
    """The Sigstore bundle of an envelope, as the agent writes it."""
    material = {"publicKey": {"hint": envelope.key_id}}
    return _spelled({"mediaType": _SIGSTORE, "verificationMaterial": material, "dsseEnvelope": envelope.document})


def read_statement(payload: bytes) -> Statement:
    document = read_object(payload, "the statement")
    if document.get("_type") != _STATEMENT or document.get("predicateType") != _PREDICATE:
        raise Broken("what is signed is not an in-toto statement with a verification summary")
    predicate = document["predicate"]
    verdict = predicate.get(_VERDICT)
    if not isinstance(verdict, dict):
        raise Broken(f"the statement has no {_VERDICT}")
    subjects = {str(subject["name"]): str(subject["digest"]["sha256"]) for subject in document["subject"]}
    if len(subjects) < len(document["subject"]):
        raise Broken("the statement names one subject twice")
    if any(not _DIGEST.fullmatch(digest) for digest in subjects.values()):
        raise Broken("the statement has a subject without a SHA-256")
    return Statement(subjects, predicate, verdict)


def _spelled(document: Any) -> bytes:
    return (json.dumps(document, indent=1) + "\n").encode()
