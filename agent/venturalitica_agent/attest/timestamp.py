"""Asks a time-stamp authority (RFC 3161) to confirm that a signature was there at a time: somebody else's clock.

The adapter to `rfc3161_client`, which makes the request and reads the answer.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.x509 import Certificate, load_pem_x509_certificates
from urllib3.exceptions import HTTPError

from venturalitica_agent.errors import Away, ConfigError
from venturalitica_agent.logging import clean

TIMESTAMP = "timestamp.tsr"
_SECONDS = 20.0
_MOST = 64 << 10  # bytes of an answer: the token and the certificates of its signer


class TimestampRefused(Away):
    """The authority is away, or its answer is not a time stamp of what was asked."""


class TimestampAuthority:
    """One authority.

    Args:
        url: http(s).
        ca: PEM file of the certificates that its answers must lead to.
    """

    def __init__(self, url: str, ca: Path) -> None:
        self.url = url
        self._ca = ca

    def stamp(self, message: bytes) -> bytes:
        """The authority's answer (TimeStampResp, DER) on the SHA-256 of a message.

        Raises:
            TimestampRefused: it can't be had now; the same may succeed later.
            ConfigError: the CA's file holds no certificates.
        """
        import requests
        from rfc3161_client import HashAlgorithm, TimestampRequestBuilder, VerificationError, decode_timestamp_response
        from rfc3161_client.verify import VerifierBuilder

        roots = self._roots()
        request = TimestampRequestBuilder().data(message).hash_algorithm(HashAlgorithm.SHA256).build()
        try:
            with requests.post(
                self.url,
                data=request.as_bytes(),
                headers={"content-type": "application/timestamp-query", "accept": "application/timestamp-reply"},
                timeout=_SECONDS,
                stream=True,
                allow_redirects=False,
            ) as answer:
                answer.raise_for_status()
                content: bytes = answer.raw.read(_MOST + 1)
        except (requests.RequestException, HTTPError) as error:
            raise self._refused(f"the time-stamp authority doesn't answer ({type(error).__name__})") from error
        if len(content) > _MOST:
            raise self._refused("the time-stamp authority's answer is too long")
        try:
            found = decode_timestamp_response(content)
            VerifierBuilder(roots=roots, nonce=request.nonce).build().verify_message(found, message)
        except (ValueError, VerificationError) as error:
            words = f"the time-stamp authority's answer is not one that was asked for: {clean(str(error))}"
            raise self._refused(words[:300]) from error
        return content

    def _roots(self) -> list[Certificate]:
        try:
            return load_pem_x509_certificates(self._ca.read_bytes())
        except (OSError, ValueError) as error:
            raise ConfigError(
                "the certificates of the time-stamp authority can't be read",
                subject=str(self._ca),
                remedy="name a PEM file of them as `signing.timestamp_ca` in agent.yaml",
            ) from error

    def _refused(self, what: str) -> TimestampRefused:
        return TimestampRefused(
            what,
            subject=self.url,
            remedy="audits wait until it answers; check `signing.timestamp` in agent.yaml, or leave it out",
        )
