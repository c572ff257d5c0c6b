"""Every check of one bundle, from its bytes and the public keys that somebody trusts. Pure: nothing is read here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from typing import Any

from venturalitica_verify.envelope import Envelope, Statement, read_envelope, read_statement, wrapped
from venturalitica_verify.folder import SUBJECTS
from venturalitica_verify.keys import PublicKey, by_id
from venturalitica_verify.merkle import leaf_hash, root_by_inclusion
from venturalitica_verify.notes import InclusionProof, read_proof
from venturalitica_verify.oscal import check_oscal
from venturalitica_verify.outcome import Broken, Check, Outcome
from venturalitica_verify.references import check_references
from venturalitica_verify.strict import number, read_json, read_object
from venturalitica_verify.timestamp import TIMESTAMP, check_timestamp
from venturalitica_verify.verdict import recomputed

ATTESTATION, SIGSTORE = "attestation.dsse.json", "bundle.sigstore.json"
PROOF, PUBLIC_KEY = "inclusion.tlog-proof", "audit.pub"
SIGNATURES = (ATTESTATION, SIGSTORE, PROOF, PUBLIC_KEY)
SUMS, EVIDENCE = "SHA256SUMS", "evidence.json"
SCHEMA = "venturalitica.evidence/1"

_SUM = re.compile(r"([0-9a-f]{64})  (.+)")
_ODD = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError)


def verify_bundle(
    files: Mapping[str, bytes],
    keys: Sequence[bytes] = (),
    subjects: Mapping[str, str] | None = None,
    authorities: Sequence[bytes] = (),
) -> list[Check]:
    """Check one bundle.

    Args:
        files: every file of the audit's folder, by its name in it.
        keys: the public keys (PEM) that are trusted; none: the bundle's own, which then proves less.
        subjects: SHA-256 of files of the model (`model/<name>`) and data (`data/<split>`) that are at hand.
        authorities: certificates (PEM) that are trusted to give the time.
    """
    return Verification(files, keys, subjects or {}, authorities).checks()


class Verification:
    """One bundle under examination. Reading raises Broken, and so does every `_check`."""

    def __init__(
        self,
        files: Mapping[str, bytes],
        keys: Sequence[bytes],
        subjects: Mapping[str, str],
        authorities: Sequence[bytes],
    ) -> None:
        self._files = files
        self._keys = keys
        self._subjects = subjects
        self._authorities = authorities

    def checks(self) -> list[Check]:
        every: Sequence[tuple[str, Callable[[], str | Check]]] = (
            ("files", self._check_files),
            ("signature", self._check_signature),
            ("signer", self._check_signer),
            ("sigstore", self._check_sigstore),
            ("subjects", self._check_subjects),
            ("model and data", self._check_model_and_data),
            ("agreement", self._check_agreement),
            ("policy", self._check_policy),
            ("times", self._check_times),
            ("verdict", self._check_verdict),
            ("references", self._check_references),
            ("oscal", self._check_oscal),
            ("inclusion", self._check_inclusion),
            *((("timestamp", self._check_timestamp),) if self._is_stamped else ()),
        )
        return [attempt(name, check) for name, check in every]

    # -- what is read ---------------------------------------------------------------------------------------
    def _file(self, name: str) -> bytes:
        if name not in self._files:
            raise Broken(f"there is no {name}")
        return self._files[name]

    @cached_property
    def _trusted(self) -> Mapping[str, PublicKey]:
        return by_id(self._keys)

    @cached_property
    def _own_key(self) -> PublicKey:
        key = PublicKey(self._file(PUBLIC_KEY), PUBLIC_KEY)
        if key.pem != self._file(PUBLIC_KEY):
            raise Broken(f"{PUBLIC_KEY} holds a key and something else")
        return key

    @cached_property
    def _envelope(self) -> Envelope:
        return read_envelope(self._file(ATTESTATION))

    @cached_property
    def statement(self) -> Statement:
        return read_statement(self._envelope.payload)

    @cached_property
    def evidence(self) -> Mapping[str, Any]:
        document = read_json(self._file(EVIDENCE), EVIDENCE)
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            raise Broken(f"{EVIDENCE} is not in the format {SCHEMA}")
        return document

    @cached_property
    def proof(self) -> InclusionProof:
        return read_proof(self._file(PROOF))

    @cached_property
    def entry(self) -> Mapping[str, Any]:
        return read_object(self.proof.entry, "the log's entry")

    @property
    def _is_stamped(self) -> bool:
        """Does it hold a time stamp, or say that it should? Whether it can be read at all is told elsewhere."""
        with suppress(Broken, *_ODD):
            return TIMESTAMP in self._files or "timestamp" in self.entry
        return False

    # -- the checks -----------------------------------------------------------------------------------------
    def _check_files(self) -> str:
        listed = {}
        text = self._file(SUMS).decode("utf-8")
        for line in text.splitlines(keepends=True):
            found = _SUM.fullmatch(line.removesuffix("\n"))
            if found is None or not line.endswith("\n") or found[2] in listed:
                raise Broken(f"{SUMS} has the line {line[:100]!r}")
            listed[found[2]] = found[1]
        inside = {name: digest for name, digest in listed.items() if not name.startswith("model/")}
        _same(inside, _digests(self._files, but=(SUMS, *SIGNATURES, TIMESTAMP)), f"listed in {SUMS}")
        if missing := [name for name in SIGNATURES if name not in self._files]:
            raise Broken(f"there is no {' and no '.join(missing)}")
        models = {n: d for n, d in self._subjects.items() if n.startswith("model/")}
        if models:
            _same({n: d for n, d in listed.items() if n.startswith("model/")}, models, f"listed in {SUMS}")
        return (
            f"{len(inside)} files are as {SUMS} lists them; no other is there but it and the {len(SIGNATURES)} of proof"
        )

    def _check_signature(self) -> str:
        own = self._own_key
        if not self._envelope.signed_by(own):
            raise Broken(f"the signature is not one of {PUBLIC_KEY} over this statement")
        meaning = str(self.statement.verdict["meaning"])
        return f"Ed25519 by key {own.id[:16]}… over all of the statement. {meaning}"

    def _check_signer(self) -> str | Check:
        own = self._own_key
        if not self._keys:
            return _not_checkable(
                "signer",
                f"no key was given: the bundle's own key {own.id[:16]}… shows that its files belong together, and "
                "not whose they are. Get the service's public key from its owner",
            )
        if own.id not in self._trusted:
            raise Broken(f"it is signed by key {own.id[:16]}…, which is none of those that were given")
        return f"key {own.id[:16]}… is among the {len(self._trusted)} that were given"

    def _check_sigstore(self) -> str:
        if self._file(SIGSTORE) != wrapped(self._envelope):
            raise Broken(f"{SIGSTORE} is not the attestation in Sigstore's wrapping")
        return f"{SIGSTORE} holds the same envelope"

    def _check_subjects(self) -> str:
        inside = {name: digest for name, digest in self.statement.subjects.items() if not name.startswith(SUBJECTS)}
        _same(inside, _digests(self._files, but=(*SIGNATURES, TIMESTAMP)), "a subject of the statement")
        return f"the {len(inside)} files that the statement is about have the SHA-256 that it names"

    def _check_model_and_data(self) -> str | Check:
        outside = self._outside()
        subject, model = self.evidence["subject"], self.evidence["subject"]["model"]
        told = {f"model/{file['name']}": file["sha256"] for file in (model["files"] if model else ())}
        told |= {f"data/{split}": about["file"]["sha256"] for split, about in subject["data"].items()}
        _same(outside, told, f"in {EVIDENCE}")
        if model:
            lines = "".join(f"{f['sha256']}  {f['name']}\n" for f in sorted(model["files"], key=lambda f: f["name"]))
            if sha256(lines.encode()).hexdigest() != model["digest"]:
                raise Broken(f"the model's digest in {EVIDENCE} is not that of its files")
        for name, digest in self._subjects.items():
            if name not in outside:
                raise Broken(f"{name} is here and the evidence knows nothing of it")
            if outside[name] != digest:
                raise Broken(f"{name} is not the file that was audited")
        if absent := sorted(set(outside) - set(self._subjects)):
            return _not_checkable(
                "model and data",
                f"not here: {', '.join(absent[:5])}{' …' if len(absent) > 5 else ''}; where you have "
                "them, put them below model/ and data/ of this folder, or compare their SHA-256 with the statement's",
                needed=False,
            )
        return f"{len(outside)} files of model and data are the ones that were audited"

    def _check_agreement(self) -> str:
        evidence, verdict, entry = self.evidence, self.statement.verdict, self.entry
        predicate = self.statement.predicate
        run, policy, given = evidence["run"], evidence["policy"], evidence["verdict"]
        ref = f"{policy['id']}@{policy['version']}"
        digest = sha256(self._file(EVIDENCE)).hexdigest()
        _agree("the audit id", evidence["audit_id"], verdict["audit_id"], entry["audit_id"])
        _agree("the run", run["run_id"], verdict["run_id"], entry["run_id"])
        _agree("the store", run["store"], verdict["store"], entry["store"])
        _agree("the run's name", f"urn:venturalitica:run:{run['store']}:{run['run_id']}", predicate["resourceUri"])
        _agree("the policy", ref, verdict["policy"], entry["policy"])
        _agree("the policy's digest", policy["digest"], predicate["policy"]["digest"]["sha256"], entry["policy_digest"])
        _agree("the status", given["status"], verdict["status"], entry["status"])
        _agree("the counts", given["counts"], verdict["counts"])
        _agree("the time", evidence["times"]["decided_at"], predicate["timeVerified"], entry["decided_at"])
        _agree("the digest of the evidence", digest, verdict["evidence"], entry["evidence"])
        _agree("the sandbox", evidence["sandbox"], verdict["sandbox"])
        passed = given["status"] in ("pass", "warn")
        _agree("passed or failed", "PASSED" if passed else "FAILED", predicate["verificationResult"])
        return f"evidence, statement and log agree: run {run['run_id']}, {ref}, {given['status']}"

    def _check_policy(self) -> str:
        policy = self.evidence["policy"]
        name = f"policy_snapshot/{policy['file']}"
        if sha256(self._file(name)).hexdigest() != policy["digest"]:
            raise Broken(f"{name} is not the policy that decided")
        _agree("the policy's place", name, self.statement.predicate["policy"]["uri"])
        return f"{name} has the SHA-256 of {policy['id']}@{policy['version']}, which decided"

    def _check_times(self) -> str | Check:
        """What came first: the policy, by the service's clock, or the run, by the training machine's."""
        since, started = self.statement.verdict["policy_in_force_since"], self.evidence["run"].get("start_time")
        decided = _seconds(self.evidence["times"]["decided_at"])
        if since is not None and _seconds(since) >= decided + 1:
            raise Broken(f"the verdict was given before its policy came into force on {since}")
        if since is None or started is None:
            missing = "when the policy came into force" if since is None else "when the run started"
            return _not_checkable("times", f"the evidence doesn't say {missing}", needed=False)
        if number(started) / 1000 >= _seconds(since):
            return f"the policy was in force since {since}, before the run started"
        for finding in self.evidence["verdict"]["findings"]:
            if finding["metric"] == "policy_predates_run" and finding["status"] == "pass":
                raise Broken(
                    f"{finding['control']} passed, and the policy came into force on {since}, after the run started"
                )
        return (
            f"the policy came into force on {since}, AFTER the run started: its thresholds were not on record here "
            "beforehand, and the evidence doesn't say that they were"
        )

    def _check_verdict(self) -> str:
        again, every = recomputed(self.evidence)
        status = self.evidence["verdict"]["status"]
        rest = f"; {every - again} have no measurement, and say error or skip" if again < every else ""
        return f"{status} follows from the measurements: {again} of {every} findings were decided again{rest}"

    def _check_references(self) -> str:
        followed = check_references(self._files, self._outside())
        return f"{followed} references in OSCAL and HTML files lead to what they name" if followed else "there are none"

    def _check_oscal(self) -> str:
        return f"the OSCAL documents say what {EVIDENCE} says of {check_oscal(self._files, self.evidence)} findings"

    def _check_inclusion(self) -> str:
        proof, checkpoint = self.proof, self.proof.checkpoint
        if self.entry.get("kind") != "verdict":
            raise Broken("the log's entry is not of a verdict")
        if self.entry.get("statement") != sha256(self._envelope.payload).hexdigest():
            raise Broken("the log's entry is of another statement")
        if not checkpoint.signed_by(self._own_key):
            raise Broken(f"the checkpoint is not signed by {PUBLIC_KEY}")
        found = root_by_inclusion(proof.index, checkpoint.size, leaf_hash(proof.entry), proof.path)
        if found != checkpoint.root:
            raise Broken("the inclusion proof doesn't lead to the root of the signed checkpoint")
        return f"entry {proof.index} of {checkpoint.origin}, by its signed checkpoint of {checkpoint.size} entries"

    def _check_timestamp(self) -> str | Check:
        logged = self.entry.get("timestamp")
        return check_timestamp(self._file(TIMESTAMP), self._file(ATTESTATION), logged, self._authorities)

    def _outside(self) -> Mapping[str, str]:
        return {name: digest for name, digest in self.statement.subjects.items() if name.startswith(SUBJECTS)}


def attempt(name: str, check: Callable[[], str | Check]) -> Check:
    """The outcome of a check that says what it saw, or raises."""
    try:
        found = check()
    except Broken as error:
        return Check(name, Outcome.FAIL, str(error))
    except _ODD as error:
        return Check(name, Outcome.FAIL, f"something in it is not in the form that it must have ({error!r})"[:300])
    return found if isinstance(found, Check) else Check(name, Outcome.OK, found)


def _not_checkable(name: str, words: str, *, needed: bool = True) -> Check:
    return Check(name, Outcome.NOT_CHECKABLE, words, needed)


def _digests(files: Mapping[str, bytes], *, but: Iterable[str]) -> Mapping[str, str]:
    left_out = set(but)
    return {name: sha256(content).hexdigest() for name, content in files.items() if name not in left_out}


def _same(named: Mapping[str, str], found: Mapping[str, str], how: str) -> None:
    """Two lists of names and digests are one; the words for the first difference."""
    for name in sorted({*named, *found}):
        if name not in found:
            raise Broken(f"{name} is {how}, and not there")
        if name not in named:
            raise Broken(f"{name} is there, and not {how}")
        if named[name] != found[name]:
            raise Broken(f"{name} is not the one that is {how}")


def _agree(what: str, first: object, *others: object) -> None:
    if any(other != first for other in others):
        raise Broken(f"{what} is not the same in evidence, statement and log: {first!r}, {others!r}"[:300])


def _seconds(rfc3339: str) -> float:
    found = datetime.fromisoformat(rfc3339)
    if found.tzinfo is None:
        raise Broken(f"the time {rfc3339!r} is of no time zone")
    return found.timestamp()
