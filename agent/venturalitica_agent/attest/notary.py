"""Signs evidence and keeps the log of what was decided, by which policies, waivers and keys.

Everything here may be done again at any time: what is in the log already stays as it is, and evidence that is built
again gets the signature and the proof of the first time.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from venturalitica_agent.attest import dsse, note
from venturalitica_agent.attest.keys import Keys
from venturalitica_agent.attest.sign import Signer, key_id
from venturalitica_agent.attest.statement import statement
from venturalitica_agent.attest.timestamp import TIMESTAMP, TimestampAuthority
from venturalitica_agent.domain.evidence import Decision, EvidenceBundle, canonical
from venturalitica_agent.domain.history import moment
from venturalitica_agent.domain.policy import Policy
from venturalitica_agent.errors import ConfigError
from venturalitica_agent.state.log import Log, LogEntry

ATTESTATION, SIGSTORE = "attestation.dsse.json", "bundle.sigstore.json"
PROOF, PUBLIC_KEY = "inclusion.tlog-proof", "audit.pub"


class _Head:
    """Signs checkpoints; a log that begins gets a name that no other one has."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self.public_key = signer.public_key
        self.origin = f"venturalitica.log/{secrets.token_hex(8)}"

    def checkpoint(self, origin: str, size: int, root: bytes) -> str:
        return note.checkpoint(origin, size, root, self._signer)


class Notary:
    """What signs and logs. Safe from several threads and processes."""

    def __init__(
        self,
        keys: Keys,
        log: Log,
        *,
        authority: TimestampAuthority | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.keys = keys
        self.log = log
        self._authority = authority
        self._clock = clock

    def attest(
        self, decision: Decision, policy: Policy, bundle: EvidenceBundle, *, since: float | None
    ) -> EvidenceBundle:
        """Log the verdict and return its evidence with attestation, proof and public key among its files.

        Args:
            since: when this version of the policy first came into force, by our clock; None when that isn't known.
        """
        if since is not None:
            self.note_policy(policy.ref, policy.digest, since)
        payload = statement(decision, policy, bundle, since=None if since is None else _instant(since))
        digest = sha256(payload).hexdigest()
        entry = self.log.entry(f"verdict:{digest}")
        if entry is None:
            signer = self.keys.signer()
            facts = {
                "audit_id": decision.audit_id,
                "decided_at": decision.decided_at,
                "evidence": bundle.digest,
                "policy": policy.ref,
                "policy_digest": policy.digest,
                "run_id": decision.run_facts.get("run_id"),
                "statement": digest,
                "status": decision.verdict.status.value,
                "store": decision.store,
            }
            signature = signer.sign(dsse.signed_bytes(payload))
            if self._authority is not None:
                envelope = dsse.envelope(payload, signature, signer.public_key)
                facts["timestamp"] = self._stamped(self._authority, envelope)
            entry = self._append("verdict", digest, facts, signer, signature)
        signed = (payload, entry.signature, entry.public_key)
        envelope = dsse.envelope(*signed)
        added = {
            ATTESTATION: envelope,
            SIGSTORE: dsse.sigstore_bundle(*signed),
            PROOF: note.inclusion_proof(entry.content, entry.number, entry.path, entry.checkpoint),
            PUBLIC_KEY: entry.public_key.encode(),
        }
        stamp = self.log.timestamp(sha256(envelope).hexdigest())
        if stamp is not None and "timestamp" in json.loads(entry.content):
            added[TIMESTAMP] = stamp
        inside = {f"{bundle.folder}/{name}": content for name, content in added.items()}
        return replace(bundle, files={**bundle.files, **inside})

    def times_of(self, decision: Decision) -> dict[str, str]:
        """When the same audit of the run was decided before: digest of its evidence -> `decided_at`, as logged."""
        found = [json.loads(content) for content in self.log.containing(decision.audit_id)]
        mine = decision.audit_id, decision.store, decision.run_facts.get("run_id")
        return {
            entry["evidence"]: entry["decided_at"]
            for entry in found
            if (entry.get("audit_id"), entry.get("store"), entry.get("run_id")) == mine
        }

    def _stamped(self, authority: TimestampAuthority, envelope: bytes) -> str:
        """The SHA-256 of the authority's answer on an envelope; the answer is kept before anything refers to it."""
        message = sha256(envelope).hexdigest()
        answer = self.log.timestamp(message) or self.log.keep_timestamp(message, authority.stamp(envelope))
        return sha256(answer).hexdigest()

    def note_key(self) -> None:
        """Log the key that signs now."""
        public_key = self.keys.current()
        if self.log.entry(f"key:{key_id(public_key)}") is None:
            facts = {"key": key_id(public_key), "public_key": public_key}
            self._append("key", facts["key"], facts, self.keys.signer())

    def must_agree(self) -> None:
        """Raises ConfigError unless what signs here is the key that the log is signed with now, if there is a log."""
        last = self.log.last("key")
        if last is None:
            return
        theirs = json.loads(last.content)["key"]
        ours = key_id(self.keys.current()) if self.keys.exist else "no key"
        if ours != theirs:
            raise ConfigError(
                f"the log of this state is signed with key {theirs}, and this machine has {ours}",
                subject=str(self.keys.folder),
                remedy="copy `signing.pem` from the keys folder of a machine that has that key into this one, or let a"
                " `signing.command` sign on all machines",
            )

    def note_policy(self, ref: str, digest: str, since: float) -> None:
        """Log that a version of a policy was put in force."""
        about = f"{digest}@{_instant(since)}"
        if self.log.entry(f"policy:{about}") is None:
            facts = {"policy": ref, "policy_digest": digest, "since": _instant(since)}
            self._append("policy", about, facts, self.keys.signer())

    def note_drift(self, store: str, run_id: str, words: str) -> None:
        """Log that a run no longer carried what was published on it."""
        facts = {"store": store, "run_id": run_id, "found": words}
        about = sha256(canonical({**facts, "at": self._clock()})).hexdigest()
        self._append("drift", about, facts, self.keys.signer())

    def note_stale(self, store: str, run_id: str, words: str) -> None:
        """Log that the model or the data of a run are no longer those that were audited."""
        facts = {"store": store, "run_id": run_id, "found": words}
        about = sha256(canonical({**facts, "at": self._clock()})).hexdigest()
        self._append("stale", about, facts, self.keys.signer())

    def note_promotion(self, store: str, facts: Mapping[str, str]) -> None:
        """Log that an alias of a registry was withheld from a version, or given to one."""
        told = {"store": store, **facts}
        about = sha256(canonical({**told, "at": self._clock()})).hexdigest()
        self._append("promotion", about, told, self.keys.signer())

    def note_waivers(self, digest: str) -> None:
        """Log the digest of a file of waivers; empty where there is none."""
        if digest and self.log.entry(f"waivers:{digest}") is None:
            self._append("waivers", digest, {"waivers_digest": digest}, self.keys.signer())

    def rotate(self) -> tuple[str, str]:
        """Sign with a new key from now on; returns the ids of the old one and of the new one.

        The old key signs the log's entry that names the new one, so who trusts the old one can trust the new one. A
        rotation that was interrupted is finished by the next.
        """
        self.note_key()
        signer, public_key = self.keys.signer(), self.keys.next()
        old, new = key_id(signer.public_key), key_id(public_key)
        self._append("key", new, {"key": new, "public_key": public_key, "replaces": old}, signer)
        self.keys.take_next()
        return old, new

    def _append(
        self, kind: str, about: str, facts: Mapping[str, Any], signer: Signer, signature: bytes = b""
    ) -> LogEntry:
        now = self._clock()
        content = canonical({"kind": kind, "logged_at": moment(now), **facts})
        return self.log.append(f"{kind}:{about}", content, _Head(signer), signature=signature, now=now)


def _instant(seconds: float) -> str:
    """A time of our clock as RFC 3339 UTC, to the millisecond as trackers know the start of a run."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
