"""Checking the answer of a time-stamp authority (RFC 3161). The only part that wants a library of its own; without it,
it says how to check with OpenSSL."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from cryptography.x509 import load_pem_x509_certificates

from venturalitica_verify.outcome import Broken, Check, Outcome

TIMESTAMP = "timestamp.tsr"
_BY_HAND = f"openssl ts -verify -in {TIMESTAMP} -data attestation.dsse.json -CAfile FILE"


def check_timestamp(answer: bytes, stamped: bytes, logged: object, authorities: Sequence[bytes]) -> str | Check:
    """What an authority confirms, in words; raises Broken where it doesn't.

    Args:
        answer: DER of the TimeStampResp. stamped: what it must be about. logged: its SHA-256 by the log's entry.
        authorities: PEM files of certificates that one trusts to give the time.
    """
    if sha256(answer).hexdigest() != logged:
        raise Broken(f"{TIMESTAMP} is not the one that the log's entry names")
    if not authorities:
        return _open(
            "it is the one that the log's entry names; no certificate of an authority was given to check it by"
        )
    try:
        from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response
    except ImportError:
        return _open(f"the package rfc3161-client is not installed here; by hand: {_BY_HAND}")
    roots = [certificate for pem in authorities for certificate in load_pem_x509_certificates(pem)]
    try:
        found = decode_timestamp_response(answer)
        VerifierBuilder(roots=roots).build().verify_message(found, stamped)
    except (VerificationError, ValueError) as error:
        raise Broken(f"{TIMESTAMP} doesn't lead to the certificates that were given: {error}"[:300]) from error
    return f"an authority that you trust saw the signature at {found.tst_info.gen_time.isoformat()}"


def _open(words: str) -> Check:
    return Check("timestamp", Outcome.NOT_CHECKABLE, words, needed=False)
