"""What is signed, and that tools which know nothing of us agree that it is."""

from __future__ import annotations

import base64
import json
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey
from support.attested import attested, inside, notary
from support.verdicts import MODEL_FILES

from venturalitica_agent.attest import dsse


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return inside(attested(notary(tmp_path_factory.mktemp("signed"))))


def statement(files: dict[str, bytes]) -> dict[str, object]:
    payload: dict[str, object] = json.loads(
        base64.b64decode(json.loads(files["attestation.dsse.json"])["payload"], validate=True)
    )
    return payload


def test_every_file_of_the_evidence_the_model_the_data_and_the_policy_are_subjects(files: dict[str, bytes]) -> None:
    found = {s["name"]: s["digest"]["sha256"] for s in statement(files)["subject"]}  # type: ignore[attr-defined]
    own = {n: sha256(c).hexdigest() for n, c in files.items()}
    for name in ("attestation.dsse.json", "bundle.sigstore.json", "inclusion.tlog-proof", "audit.pub"):
        del own[name]
    own |= {f"model/{name}": sha256(content).hexdigest() for name, content in MODEL_FILES.items()}
    assert found == own | {"data/evaluation": sha256(b"d").hexdigest()}


def test_the_statement_says_whose_signature_it_is(files: dict[str, bytes]) -> None:
    predicate = statement(files)["predicate"]
    assert isinstance(predicate, dict)
    assert predicate["verificationResult"] == "FAILED"
    assert predicate["verifiedLevels"] == ["FAILED"]
    ours = predicate["urn:venturalitica:verdict:1"]
    assert ours["status"] == "error"
    assert ours["policy_in_force_since"] == "2026-01-02T02:46:40.250Z"
    assert "automated service" in ours["meaning"]
    assert "not a declaration" in ours["meaning"]


def test_securesystemslib_verifies_the_envelope_and_refuses_a_changed_one(files: dict[str, bytes]) -> None:
    document, again = (json.loads(files["attestation.dsse.json"]) for _ in range(2))  # reading one empties it
    key_id = document["signatures"][0]["keyid"]
    key = SSlibKey.from_crypto(load_pem_public_key(files["audit.pub"]), keyid=key_id)
    assert key_id in Envelope.from_dict(document).verify([key], 1)
    payload = base64.b64decode(again["payload"]).replace(b'"status":"error"', b'"status":"pass"')
    with pytest.raises(VerificationError):
        Envelope.from_dict({**again, "payload": base64.b64encode(payload).decode()}).verify([key], 1)


def test_openssl_verifies_the_signature_over_the_encoding_built_by_hand(
    files: dict[str, bytes], tmp_path: Path
) -> None:
    document = json.loads(files["attestation.dsse.json"])
    payload = base64.b64decode(document["payload"])
    (tmp_path / "pae").write_bytes(b"DSSEv1 28 application/vnd.in-toto+json %d " % len(payload) + payload)
    (tmp_path / "sig").write_bytes(base64.b64decode(document["signatures"][0]["sig"]))
    (tmp_path / "pub").write_bytes(files["audit.pub"])
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "pub", "-rawin", "-in", "pae", "-sigfile", "sig"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0
    (tmp_path / "pae").write_bytes((tmp_path / "pae").read_bytes() + b" ")
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 1


def test_the_sigstore_bundle_wraps_the_same_envelope(files: dict[str, bytes]) -> None:
    wrapped = json.loads(files["bundle.sigstore.json"])
    assert wrapped["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert wrapped["dsseEnvelope"] == json.loads(files["attestation.dsse.json"])
    (signature,) = wrapped["dsseEnvelope"]["signatures"]
    assert wrapped["verificationMaterial"] == {"publicKey": {"hint": signature["keyid"]}}


def test_the_same_audit_and_key_make_the_same_bytes(tmp_path: Path) -> None:
    by = notary(tmp_path)
    assert attested(by) == attested(by) == attested(notary(tmp_path))


def test_evidence_keeps_its_signature_when_the_key_was_replaced_meanwhile(tmp_path: Path) -> None:
    by = notary(tmp_path)
    before = attested(by)
    old, new = by.rotate()
    assert attested(by) == before
    other = inside(attested(by, "another"))
    assert json.loads(other["attestation.dsse.json"])["signatures"][0]["keyid"] == new != old


def test_what_proves_evidence_is_small(files: dict[str, bytes]) -> None:
    names = ("attestation.dsse.json", "bundle.sigstore.json", "inclusion.tlog-proof", "audit.pub")
    assert sum(len(files[name]) for name in names) < 20_000


def test_what_is_signed_names_its_type_and_length() -> None:
    assert dsse.signed_bytes(b"{}") == b"DSSEv1 28 application/vnd.in-toto+json 2 {}"
