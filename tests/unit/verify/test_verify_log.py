"""The published log: C2SP's files, that grow and are never written anew; and a copy of it holds the service to it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import sqlalchemy as sa
from support.attested import attested, inside, notary

from venturalitica_agent.attest import note
from venturalitica_agent.attest.keys import Keys
from venturalitica_agent.attest.notary import Notary
from venturalitica_agent.domain import merkle
from venturalitica_agent.domain.tiles import entry_bundle, tiles
from venturalitica_agent.errors import ConfigError
from venturalitica_agent.log_export import LogRewritten, export_log, publish_head
from venturalitica_agent.settings import Settings, load_settings
from venturalitica_agent.state.log import Log
from venturalitica_agent.state.opening import open_state
from venturalitica_agent.state.tables import log_entries, log_heads
from venturalitica_verify.__main__ import main
from venturalitica_verify.log import read_log
from venturalitica_verify.outcome import Broken


def published(folder: Path, signer: Keys, entries: list[bytes]) -> None:
    leaves = [merkle.leaf_hash(entry) for entry in entries]
    found = dict(tiles(leaves))
    found.update(entry_bundle(n // 256, entries[n : n + 256]) for n in range(0, len(entries), 256))
    for path, content in found.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    head = note.checkpoint("log.example/x", len(entries), merkle.tree_root(leaves), signer.signer())
    (folder / "checkpoint").write_text(head)


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 511, 70_000])
def test_the_files_are_those_of_the_format_and_are_read_back(tmp_path: Path, size: int) -> None:
    keys = Keys(tmp_path / "keys")
    entries = [f"entry {n}".encode() for n in range(size)]
    published(tmp_path / "log", keys, entries)
    files = {path.relative_to(tmp_path / "log").as_posix() for path in (tmp_path / "log").rglob("*") if path.is_file()}
    expected = {
        1: {"tile/0/000.p/1", "tile/entries/000.p/1"},
        256: {"tile/0/000", "tile/1/000.p/1", "tile/entries/000"},
        257: {"tile/0/000", "tile/0/001.p/1", "tile/1/000.p/1", "tile/entries/000", "tile/entries/001.p/1"},
    }
    if size in expected:
        assert files == {"checkpoint"} | expected[size]
    if size == 70_000:
        assert {"tile/0/272", "tile/0/273.p/112", "tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"} <= files
    log = read_log(tmp_path / "log")
    assert (log.entries, log.check_signer([keys.current().encode()])) != ([], "")
    assert list(log.entries) == entries


def test_numbers_of_tiles_are_written_as_the_format_wants() -> None:
    assert entry_bundle(1_234_067, [b"x"] * 256)[0] == "tile/entries/x001/x234/067"
    assert entry_bundle(1_000, [b"x"])[0] == "tile/entries/x001/000.p/1"
    with pytest.raises(ValueError, match="too long"):
        entry_bundle(0, [b"x" * 65_536])


def test_any_changed_file_of_a_published_log_is_told(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys")
    folder = tmp_path / "log"
    published(folder, keys, [f"entry {n}".encode() for n in range(300)])
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        kept = path.read_bytes()
        for changed in (kept[:-1], kept[:5] + bytes([kept[5] ^ 1]) + kept[6:], kept + b"\0"):
            path.write_bytes(changed)
            with pytest.raises(Broken):
                read_log(folder).check_signer([keys.current().encode()])
        path.unlink()
        with pytest.raises(Broken):
            read_log(folder)
        path.write_bytes(kept)
    assert len(read_log(folder).entries) == 300
    with pytest.raises(Broken, match="none of the keys"):
        read_log(folder).check_signer([Keys(tmp_path / "others").current().encode()])


# -- what the service publishes -----------------------------------------------------------------------------------
@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "policies").mkdir()
    (tmp_path / "agent.yaml").write_text("policies: ./policies\nstores: [{folder: ./runs}]\nstate: ./state/agent.db\n")
    return tmp_path


def settings_of(home: Path) -> Settings:
    return load_settings(home / "agent.yaml", env={}, cwd=home)


def notary_of(home: Path) -> Notary:
    from venturalitica_agent.agent import keys_folder

    found = settings_of(home)
    return Notary(Keys(keys_folder(found)), Log(open_state(found.state)))


def test_a_bundle_is_held_to_a_published_copy(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    by = notary_of(home)
    bundle = inside(attested(by))
    attested(by, "later")
    assert export_log(settings_of(home), home / "log") == (0, 3)
    for name, content in bundle.items():
        (home / "bundle" / name).parent.mkdir(parents=True, exist_ok=True)
        (home / "bundle" / name).write_bytes(content)
    (key,) = (home / "log" / "keys").iterdir()
    command = [str(home / "bundle"), "--key", str(key), "--log", str(home / "log")]
    assert main(command) == 0
    assert "entry 1 is in the published log, which grew from 2 to 3 entries" in capsys.readouterr().out
    assert main(["--log", str(home / "log"), "--key", str(key)]) == 0
    assert main(["--log", str(home / "log")]) == 3
    other = notary(home / "other")
    attested(other, "another's")
    published(home / "log", by.keys, [b"one", b"two", b"three"])
    assert main(command) == 1


def test_what_was_published_only_grows(home: Path) -> None:
    with pytest.raises(ConfigError, match="no entry yet"):
        export_log(settings_of(home), home / "log")
    by = notary_of(home)
    attested(by, "first")
    assert export_log(settings_of(home), home / "log") == (0, 2)
    attested(by, "second")
    assert export_log(settings_of(home), home / "log") == (2, 3)
    before = (home / "log" / "checkpoint").read_text()
    with open_state(settings_of(home).state).begin() as db:  # somebody begins anew
        db.execute(sa.delete(log_entries))
        db.execute(sa.delete(log_heads))
    for name in ("first", "other", "third"):
        attested(by, name)
    with pytest.raises(LogRewritten, match="not one of the log here"):
        export_log(settings_of(home), home / "log")
    assert (home / "log" / "checkpoint").read_text() == before


def test_a_git_repository_keeps_each_head(home: Path) -> None:
    by = notary_of(home)
    attested(by, "first")
    with pytest.raises(ConfigError, match="git refused"):
        export_log(settings_of(home), home / "log", commit=True)

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(home / "log"), *words], check=True, capture_output=True, text=True)
        return done.stdout

    git("init", "--quiet")
    git("config", "user.name", "service")
    git("config", "user.email", "service@example.org")
    export_log(settings_of(home), home / "log", commit=True)
    export_log(settings_of(home), home / "log", commit=True)
    attested(by, "second")
    export_log(settings_of(home), home / "log", commit=True)
    assert git("log", "--format=%s").splitlines() == ["Log of 3 entries", "Log of 2 entries"]
    assert git("status", "--porcelain") == ""


def test_an_experiment_keeps_every_head_that_was_published(home: Path, empty_database: Path) -> None:
    from mlflow import MlflowClient

    shutil.copy(empty_database, home / "mlflow.db")
    uri = f"sqlite:///{home}/mlflow.db"
    (home / "agent.yaml").write_text(f"policies: ./policies\nstores: [{{mlflow: '{uri}'}}]\nstate: ./state/agent.db\n")
    by = notary_of(home)
    attested(by, "first")
    assert publish_head(settings_of(home), "the-log") == {uri: 0}
    attested(by, "second")
    assert publish_head(settings_of(home), "the-log") == {uri: 1}
    tags = MlflowClient(uri).get_experiment_by_name("the-log").tags
    assert sorted(name.rpartition(":")[2] for name in tags) == ["2", "3"]
    with open_state(settings_of(home).state).begin() as db:  # somebody begins anew, under the same name
        origin = db.execute(sa.select(log_heads.c.origin)).scalar_one()
        db.execute(sa.delete(log_entries))
        db.execute(log_heads.update().values(size=0, frontier=b""))
    for name in ("first", "other", "third"):
        attested(by, name)
    assert origin == by.log.origin()
    with pytest.raises(LogRewritten, match="not one of the log here"):
        publish_head(settings_of(home), "the-log")
    assert MlflowClient(uri).get_experiment_by_name("the-log").tags == tags
