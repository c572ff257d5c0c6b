"""The key that signs: made once whoever asks, nobody else's to read, and replaced without losing the old ones."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest
from support.attested import attested, inside

from venturalitica_agent.agent import keys_of
from venturalitica_agent.attest.keys import Keys
from venturalitica_agent.attest.notary import Notary
from venturalitica_agent.attest.sign import CommandSigner, SignerAway, key_id, new_key
from venturalitica_agent.errors import ConfigError
from venturalitica_agent.settings import load_settings
from venturalitica_agent.state.log import Log
from venturalitica_agent.state.opening import open_state
from venturalitica_verify import Outcome, verify_bundle


def test_many_that_start_at_once_sign_with_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: Keys(tmp_path / "keys").current(), range(16)))
    assert len(found) == 1
    assert {path.name for path in (tmp_path / "keys").iterdir()} == {"signing.pem", "public"}


def test_nobody_else_can_read_the_private_key(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        keys = Keys(tmp_path / "keys")
        keys.current()
        keys.next()
    finally:
        os.umask(before)
    for name in ("signing.pem", "next.pem"):
        assert (keys.folder / name).stat().st_mode & 0o777 == 0o600
    assert keys.folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_that_others_may_read_is_not_used(tmp_path: Path, mode: int) -> None:
    keys = Keys(tmp_path)
    keys.current()
    (tmp_path / "signing.pem").chmod(mode)
    with pytest.raises(ConfigError, match="other users") as refused:
        keys.signer()
    assert "chmod 600" in refused.value.remedy


@pytest.mark.parametrize("content", [b"", b"nothing of ours", b"\xff\xfe", b"-----BEGIN PUBLIC KEY-----\n!!\n"])
def test_a_broken_key_file_is_told_and_not_replaced(tmp_path: Path, content: bytes) -> None:
    keys = Keys(tmp_path)
    keys.current()
    (tmp_path / "signing.pem").write_bytes(content)
    with pytest.raises(ConfigError, match="not a key pair"):
        keys.signer()
    assert (tmp_path / "signing.pem").read_bytes() == content


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    public = keys.current()
    made = subprocess.run(["openssl", "genpkey", "-algorithm", "X25519"], capture_output=True, check=True).stdout
    (tmp_path / "signing.pem").write_bytes(made + public.encode())
    with pytest.raises(ConfigError, match="not a key pair"):
        keys.signer()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="can't be read or made"):
        Keys(tmp_path / "file" / "keys").current()


def test_the_public_key_survives_a_crash_between_the_two_files(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    public = keys.current()
    for path in (tmp_path / "public").iterdir():
        path.unlink()
    keys.current()
    assert keys.public() == {key_id(public): public}


def test_the_key_s_id_is_what_openssl_and_sha256sum_say() -> None:
    _, public = new_key()
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-outform", "DER"], input=public.encode(), capture_output=True, check=True
    )
    assert key_id(public) == sha256(der.stdout).hexdigest()


def test_the_next_key_takes_over_and_the_old_public_one_stays(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    old, new = keys.current(), keys.next()
    assert keys.next() == new  # an interrupted rotation goes on with the same
    assert keys.current() == old
    keys.take_next()
    assert keys.current() == keys.signer().public_key == new
    assert keys.public() == {key_id(old): old, key_id(new): new}


# -- a key that is kept elsewhere ---------------------------------------------------------------------------------
@pytest.fixture
def vault(tmp_path: Path) -> Path:
    """A command that signs with a key of OpenSSL's, and `key.pub` beside it."""
    make = f"openssl genpkey -algorithm ed25519 -out {tmp_path}/key.pem"
    subprocess.run(make.split(), check=True, capture_output=True)
    subprocess.run(f"openssl pkey -in {tmp_path}/key.pem -pubout -out {tmp_path}/key.pub".split(), check=True)
    script = tmp_path / "vault-sign"
    script.write_text(
        f'#!/bin/sh\nset -e\nm=$(mktemp)\ncat > "$m"\n'
        f'openssl pkeyutl -sign -rawin -inkey {tmp_path}/key.pem -in "$m" | base64 -w0\nrm "$m"\n'
    )
    script.chmod(0o755)
    return script


def test_a_command_signs_with_a_key_that_is_kept_elsewhere(vault: Path, tmp_path: Path) -> None:
    public = (tmp_path / "key.pub").read_text()
    keys = Keys(tmp_path / "keys", CommandSigner([str(vault)], public))
    by = Notary(keys, Log(open_state(f"sqlite:///{tmp_path}/agent.db")))
    by.note_key()
    files = inside(attested(by))
    checks = verify_bundle(files, [public.encode()])
    assert {check.outcome for check in checks if check.name != "model and data"} == {Outcome.OK}
    assert not (tmp_path / "keys" / "signing.pem").exists()
    assert list(keys.public()) == [key_id(public)]
    with pytest.raises(ConfigError, match="not kept here"):
        by.rotate()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["/no/such/command"], "could not be run"),
        (["false"], "ended with 1"),
        (["echo", "signed"], "wrote no signature"),
        (["head", "-c", "64", "/dev/zero"], "wrote no signature"),
    ],
)
def test_a_command_that_does_not_sign_holds_the_evidence_back(tmp_path: Path, command: list[str], words: str) -> None:
    _, public = new_key()
    by = Notary(Keys(tmp_path / "keys", CommandSigner(command, public)), Log(open_state(f"sqlite:///{tmp_path}/a.db")))
    with pytest.raises(SignerAway, match=words):
        attested(by)
    assert list(by.log.entries()) == []


def test_another_key_than_was_said_is_noticed(vault: Path) -> None:
    with pytest.raises(SignerAway, match="wrote no signature by the key"):
        CommandSigner([str(vault)], new_key()[1]).sign(b"message")


def test_what_is_configured_is_checked_before_anything_starts(vault: Path, tmp_path: Path) -> None:
    def keys(signing: str) -> Keys:
        (tmp_path / "agent.yaml").write_text(f"policies: p\nstores: [{{folder: r}}]\nsigning: {signing}\n")
        return keys_of(load_settings(tmp_path / "agent.yaml", env={}, cwd=tmp_path))

    assert keys(f"{{command: {vault}, public_key: key.pub}}").current() == (tmp_path / "key.pub").read_text()
    for wrong in (f"{{command: {vault}}}", f"{{command: {vault}, public_key: nothing.pub}}", "{command: '\"'}"):
        with pytest.raises(ConfigError, match="sign"):
            keys(wrong)
