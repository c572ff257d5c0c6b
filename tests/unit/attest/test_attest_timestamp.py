"""Evidence that an authority's clock confirms, by OpenSSL's own authority; and what is not such a confirmation."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path

import pytest
from support.attested import attested, inside
from support.time_authority import make_authority, reply, serving

from venturalitica_agent.attest.keys import Keys
from venturalitica_agent.attest.notary import Notary
from venturalitica_agent.attest.timestamp import TimestampAuthority, TimestampRefused
from venturalitica_agent.errors import ConfigError
from venturalitica_agent.state.log import Log
from venturalitica_agent.state.opening import open_state
from venturalitica_verify import Check, Outcome, verify_bundle
from venturalitica_verify.__main__ import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("authority")
    make_authority(found)
    return found


def notary(home: Path, authority: TimestampAuthority | None) -> Notary:
    return Notary(Keys(home / "keys"), Log(open_state(f"sqlite:///{home}/agent.db")), authority=authority)


def stamp_of(checks: list[Check]) -> Check:
    (found,) = [check for check in checks if check.name == "timestamp"]
    return found


def test_stamped_evidence_is_confirmed_and_stays_the_same(folder: Path, tmp_path: Path) -> None:
    ca = (folder / "ca.pem").read_bytes()
    with serving(folder) as url:
        by = notary(tmp_path, TimestampAuthority(url, folder / "ca.pem"))
        files = inside(attested(by))
        assert inside(attested(by)) == files
    away = notary(tmp_path, TimestampAuthority(url, folder / "ca.pem"))
    assert inside(attested(away)) == files  # nobody is asked twice
    key = files["audit.pub"]
    checks = verify_bundle(files, [key], authorities=[ca])
    assert {check.outcome for check in checks if check.name != "model and data"} == {Outcome.OK}
    assert stamp_of(checks).words.startswith("an authority that you trust saw the signature at 20")
    assert stamp_of(verify_bundle(files, [key])).outcome is Outcome.NOT_CHECKABLE
    for name, content in files.items():
        (tmp_path / "evidence" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "evidence" / name).write_bytes(content)
    command = f"openssl ts -verify -in timestamp.tsr -data attestation.dsse.json -CAfile {folder}/ca.pem"
    done = subprocess.run(command.split(), cwd=tmp_path / "evidence", capture_output=True, text=True)
    assert "Verification: OK" in done.stdout + done.stderr
    assert (
        main([str(tmp_path / "evidence"), "--key", str(tmp_path / "evidence/audit.pub"), "--tsa", f"{folder}/ca.pem"])
        == 0
    )


def test_no_changed_exchanged_or_missing_stamp_passes(folder: Path, tmp_path: Path) -> None:
    with serving(folder) as url:
        by = notary(tmp_path, TimestampAuthority(url, folder / "ca.pem"))
        files, other = inside(attested(by)), inside(attested(by, "other"))
    key, stamp = files["audit.pub"], files["timestamp.tsr"]
    dice = random.Random(3)
    flips = [dice.randrange(len(stamp)) for _ in range(64)]
    wrong = [stamp[:at] + bytes([stamp[at] ^ 1]) + stamp[at + 1 :] for at in flips]
    for content in (*wrong, other["timestamp.tsr"], b"", stamp + b"\0"):
        assert stamp_of(verify_bundle(files | {"timestamp.tsr": content}, [key])).outcome is Outcome.FAIL
    without = {name: content for name, content in files.items() if name != "timestamp.tsr"}
    assert stamp_of(verify_bundle(without, [key])).outcome is Outcome.FAIL
    plain = inside(attested(notary(tmp_path / "plain", None)))
    assert stamp_of(verify_bundle(plain | {"timestamp.tsr": stamp}, [plain["audit.pub"]])).outcome is Outcome.FAIL
    another = make_authority(tmp_path / "another").read_bytes()
    assert stamp_of(verify_bundle(files, [key], authorities=[another])).outcome is Outcome.FAIL


def test_an_authority_that_is_away_or_lies_holds_the_evidence_back(folder: Path, tmp_path: Path) -> None:
    def refused(url: str, ca: Path = folder / "ca.pem") -> str:
        by = notary(tmp_path, TimestampAuthority(url, ca))
        with pytest.raises(TimestampRefused) as told:
            attested(by)
        assert not [e for e in by.log.entries() if json.loads(e.content)["kind"] == "verdict"]
        assert "agent.yaml" in told.value.remedy
        return told.value.what

    with serving(folder) as url:
        old = reply(folder, _query(b"another message"))
        assert "doesn't answer" in refused("http://127.0.0.1:1/")
        make_authority(tmp_path / "another")
        assert "not one that was asked for" in refused(url, tmp_path / "another" / "ca.pem")
        with pytest.raises(ConfigError, match="can't be read"):
            TimestampAuthority(url, tmp_path / "nothing.pem").stamp(b"x")
    for spoil, words in ((old, "not one that was asked for"), (b"<html>", "not one"), (b"x" * 70_000, "too long")):
        with serving(folder, spoil=spoil) as url:
            assert words in refused(url)


def _query(message: bytes) -> bytes:
    command = ["openssl", "ts", "-query", "-data", "/dev/stdin", "-sha256", "-cert"]
    return subprocess.run(command, input=message, capture_output=True, check=True).stdout
