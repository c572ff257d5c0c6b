"""Evidence of real runs, checked where it lies and as a stranger checks it; and what tampering with either shows."""

from __future__ import annotations

import filecmp
import json
import re
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
import training
from mlflow import MlflowClient
from typer.testing import CliRunner
from workplace import ROOT, Workplace

from venturalitica_agent.agent import keys_folder
from venturalitica_agent.attest.keys import Keys
from venturalitica_agent.attest.notary import Notary
from venturalitica_agent.cli import app
from venturalitica_agent.errors import ConfigError
from venturalitica_agent.settings import load_settings
from venturalitica_agent.state.log import Log
from venturalitica_agent.state.opening import open_state
from venturalitica_agent.verification import known_keys, verify_runs
from venturalitica_verify import Outcome, verify_path

pytestmark = pytest.mark.xdist_group("verify")


def command(*args: str, code: int = 0) -> str:
    """What the command prints, run in this process: starting one takes longer than most of what is tested here."""
    done = CliRunner().invoke(app, args)
    assert done.exit_code == code, (done.output, done.exception)
    return done.stdout


@pytest.fixture(scope="module")
def audited(
    tmp_path_factory: pytest.TempPathFactory, new_database: Callable[[Path], str]
) -> tuple[Workplace, list[str]]:
    """Two runs with verdicts: under a first key, and under the one that took its place."""
    place = Workplace(tmp_path_factory.mktemp("verified"))
    uri = new_database(place.folder)
    place.configure([uri])
    runs = []
    for good in (True, False):
        if runs:
            assert "is replaced by" in command("key", "rotate", "-c", str(place.folder / "agent.yaml"))
        frame = training.table().assign(prediction=1 - training.table().y)
        runs.append(training.train(uri) if good else training.log_table(uri, frame))
        place.here("audit", check=0 if good else 1)
    return place, runs


@pytest.fixture
def place(audited: tuple[Workplace, list[str]], monkeypatch: pytest.MonkeyPatch) -> Iterator[Workplace]:
    """The workplace as it was; whatever a test tampers with is put back."""
    place, _ = audited
    kept = {path: path.read_bytes() for path in place.folder.rglob("*") if path.is_file() and path.suffix != ".log"}
    monkeypatch.chdir(place.folder)
    yield place
    folders = {folder for path in kept for folder in path.parents}
    for path in sorted(place.folder.rglob("*"), reverse=True):
        if path.is_file() and path not in kept:
            path.unlink()
        elif path.is_dir() and path not in folders and not any(path.iterdir()):
            path.rmdir()
    for path, content in kept.items():
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def broken(runs: list[str] | None = None) -> dict[str, str]:
    """What fails when the runs are looked at online: the check's name and its words."""
    settings = load_settings(None, env={}, cwd=Path.cwd())
    found = verify_runs(settings, runs, known_keys(settings))
    return {c.name: c.words for checks in found.values() for c in checks if c.outcome is not Outcome.OK and c.needed}


def evidence_folder(place: Workplace, run: str) -> Path:
    return next(place.folder.glob(f"mlruns/*/{run}/artifacts/venturalitica/tiny/*"))


def test_every_run_is_what_was_attested_also_under_a_replaced_key(
    place: Workplace, audited: tuple[Workplace, list[str]]
) -> None:
    document = json.loads(command("verify", "--all", "--json"))
    assert document["exit_code"] == 0
    assert len([name for name in document["checked"] if name.endswith("evidence.json")]) == 2
    keys = json.loads(command("key", "show", "--json"))["keys"]
    assert [row["signs"] for row in keys] == [True, False]
    assert command("key", "export", "--all").count("BEGIN PUBLIC KEY") == 2
    assert keys[0]["verifier_key"].startswith("venturalitica.log/")
    (_, run) = audited[1]
    folder = evidence_folder(place, run)
    offline = command("verify", str(folder), "--key", str(folder / "audit.pub"))
    assert re.search(r"^ +ok +rules: 2 findings were held to the thresholds in tiny.yaml$", offline, re.MULTILINE)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((), "nothing was named"),
        (("policies",), "there is no evidence"),
        (("0" * 32,), "no verdict of this run is on record"),
    ],
)
def test_what_cannot_be_verified_is_refused_with_a_sentence(
    place: Workplace, given: tuple[str, ...], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        CliRunner().invoke(app, ["verify", *given], catch_exceptions=False)


def test_tampering_with_the_run_shows(place: Workplace, audited: tuple[Workplace, list[str]]) -> None:
    uri, (good, bad) = place.uris[0], audited[1]
    client = MlflowClient(uri)
    client.set_tag(bad, "venturalitica.status", "pass")
    assert broken().keys() == {"tags"}
    assert "venturalitica.status" in broken()["tags"]
    client.set_tag(bad, "venturalitica.status", "fail")
    client.set_tag(bad, "venturalitica.other.status", "pass")
    assert "venturalitica.other.status" in broken()["tags"]
    client.delete_tag(bad, "venturalitica.other.status")
    assert broken() == {}

    client.delete_tag(bad, "venturalitica.status")
    assert "no verdict among its tags" in broken([bad])["tags"]
    client.set_tag(bad, "venturalitica.status", "fail")

    # the other run's evidence, genuine as it is, in the place of this one's
    theirs, ours = evidence_folder(place, good), evidence_folder(place, bad)
    for name, value in training.tags(uri, good).items():
        if name.startswith("venturalitica."):
            client.set_tag(bad, name, value)
    shutil.copytree(theirs, ours.parent / theirs.name)
    assert broken([bad]).keys() == {"newest"}


def test_tampering_with_the_artifacts_shows(place: Workplace, audited: tuple[Workplace, list[str]]) -> None:
    bad = audited[1][1]
    folder = evidence_folder(place, bad)
    snapshot = folder.parents[2] / "policy_snapshot" / "tiny.yaml"
    snapshot.write_text(snapshot.read_text().replace("0.6", "0.1"))
    assert broken([bad]).keys() == {"policy snapshot"}
    report = folder / "report.md"
    report.write_text(report.read_text().replace("fail", "pass"))
    assert {"files", "subjects", "policy snapshot"} <= broken([bad]).keys()
    (folder / "attestation.dsse.json").unlink()
    assert {"signature", "files"} <= broken([bad]).keys()


def log_of(place: Workplace) -> sqlite3.Connection:
    return sqlite3.connect(place.folder / ".venturalitica" / "agent.db", isolation_level=None)


@pytest.mark.parametrize(
    ("tampering", "words"),
    [
        ("DELETE FROM log_entries WHERE number = 2", "entry 2 is missing"),
        ("DELETE FROM log_entries WHERE number = (SELECT max(number) FROM log_entries)", "the log says that it has"),
        ("UPDATE log_entries SET content = CAST(replace(content, 'fail', 'pass') AS BLOB)", "is not what it was"),
        (
            "UPDATE log_entries SET number = CASE number WHEN 1 THEN -1 WHEN 2 THEN 1 ELSE number END; "
            "UPDATE log_entries SET number = 2 WHERE number = -1",
            "is not what it was",
        ),
        ("UPDATE log_entries SET checkpoint = replace(checkpoint, '\n3\n', '\n4\n')", "not signed by a key"),
    ],
    ids=["removed", "cut at its end", "changed", "reordered", "checkpoint"],
)
def test_tampering_with_the_log_shows(place: Workplace, tampering: str, words: str) -> None:
    with closing(log_of(place)) as db:
        db.executescript(tampering)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert words in broken()["log"]


def test_a_history_that_was_written_anew_shows_in_old_bundles(
    place: Workplace, audited: tuple[Workplace, list[str]]
) -> None:
    """Whoever holds the key can write another log; the bundles still carry the checkpoints of the first."""
    with closing(log_of(place)) as db:
        db.executescript("DELETE FROM log_entries; DELETE FROM log_heads")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    settings = load_settings(None, env={}, cwd=place.folder)
    state = open_state(settings.state)
    again = Notary(Keys(keys_folder(settings)), Log(state))
    again.note_key()
    for n in range(10):
        again.note_policy("tiny@1.0", f"{n}", float(n))
    state.dispose()  # else its journal outlives the database that the next test gets back
    found = broken([audited[1][1]])
    assert found.keys() == {"log entry"}


def test_an_auditor_s_folder_is_enough(place: Workplace, audited: tuple[Workplace, list[str]], tmp_path: Path) -> None:
    """The run's artifacts and the model, downloaded; nothing else of the service."""
    run = audited[1][0]
    shutil.copytree(evidence_folder(place, run).parents[2], tmp_path / "copy")
    folder = next((tmp_path / "copy" / "venturalitica" / "tiny").iterdir())
    (model,) = place.folder.glob("mlruns/*/models/*/artifacts")
    shutil.copytree(model, folder / "model")
    (folder / "data").mkdir()
    shutil.copy(folder.parents[2] / "data" / "test.csv", folder / "data" / "evaluation")
    key = (folder / "audit.pub").read_bytes()

    def outcomes() -> set[Outcome]:
        return {check.outcome for checks in verify_path(tmp_path / "copy", [key]).values() for check in checks}

    assert outcomes() == {Outcome.OK}
    with (folder / "model" / "MLmodel").open("a") as file:
        file.write("\n")
    assert outcomes() == {Outcome.OK, Outcome.FAIL}


# -- one archive for the auditor ------------------------------------------------------------------------------------
def checks_of(archive: Path, *more: str, code: int = 0) -> dict[str, str]:
    """Of the archive itself and its log: the check's name and its outcome."""
    document = json.loads(command("verify", str(archive), *more, "--json", code=code))
    own = [rows for name, rows in document["checked"].items() if name in (str(archive), f"{archive}: log")]
    return {row["name"]: row["outcome"] for rows in own for row in rows}


def rewritten(archive: Path, target: Path, change: Callable[[dict[str, bytes]], object]) -> Path:
    """A copy of an archive with other content, and sums that fit it."""
    with zipfile.ZipFile(archive) as packed:
        files = {name: packed.read(name) for name in packed.namelist()}
    change(files)
    sums = {name: sha256(content).hexdigest() for name, content in files.items() if name != "SHA256SUMS"}
    files["SHA256SUMS"] = "".join(f"{digest}  {name}\n" for name, digest in sums.items()).encode()
    with zipfile.ZipFile(target, "w") as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return target


def test_everything_is_one_archive_that_a_stranger_checks(
    place: Workplace, audited: tuple[Workplace, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "a.zip", tmp_path / "b.zip"
    assert "2 verdicts about 2 runs" in command("export", str(first), "--all")
    command("export", str(second), "--all")
    assert first.read_bytes() == second.read_bytes()
    key = tmp_path / "trusted.pub"
    key.write_text(command("key", "export", "--all"))
    monkeypatch.chdir(tmp_path)
    assert subprocess.run(["unzip", "-q", first, "-d", "out"], check=False).returncode == 0
    assert subprocess.run(["sha256sum", "--quiet", "--check", "SHA256SUMS"], cwd="out", check=False).returncode == 0
    good, bad = audited[1]
    page = Path("out/index.html").read_text()
    assert all((Path("out") / link).is_file() for link in re.findall(r'href="([^"]+)"', page))
    assert page.count("/report.html") == 2
    for run in (good, bad):
        theirs, ours = evidence_folder(place, run), next(Path("out").glob(f"runs/*/{run}/venturalitica/tiny/*"))
        same = filecmp.cmpfiles(theirs, ours, [p.relative_to(theirs) for p in theirs.rglob("*") if p.is_file()], False)
        assert len(same[0]) > 8
        assert same[1:] == ([], [])
    keys = [part + "-----END PUBLIC KEY-----\n" for part in key.read_text().split("-----END PUBLIC KEY-----\n")[:-1]]
    trusted = [argument for n, text in enumerate(keys) for argument in ("--key", written(tmp_path / f"{n}.pub", text))]
    alone = [sys.executable, "-m", "venturalitica_verify", str(first), *trusted]
    done = subprocess.run(alone, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert checks_of(first, *trusted) == {"files": "ok", "index": "ok", "complete": "ok", "log": "ok"}


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_an_export_has_what_was_asked_for(
    place: Workplace, audited: tuple[Workplace, list[str]], tmp_path: Path
) -> None:
    def runs(*asked: str) -> set[str]:
        command("export", str(tmp_path / "some.zip"), *asked)
        with zipfile.ZipFile(tmp_path / "some.zip") as packed:
            return {run["run_id"] for run in json.loads(packed.read("index.json"))["runs"]}

    today, tomorrow = (f"{datetime.now(UTC) + timedelta(days=n):%Y-%m-%d}" for n in (0, 1))
    assert runs(audited[1][0]) == {audited[1][0]}
    assert runs("--experiment", "*") == set(audited[1])
    assert runs("--from", today, "--to", tomorrow) == set(audited[1])
    for nothing in (("--from", tomorrow), ("--experiment", "other"), ("0" * 32,), (), ("--all", "--from", today)):
        with pytest.raises(ConfigError):
            CliRunner().invoke(app, ["export", str(tmp_path / "no.zip"), *nothing], catch_exceptions=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["some.zip"]


def test_an_export_says_what_it_could_not_have(
    place: Workplace, audited: tuple[Workplace, list[str]], tmp_path: Path
) -> None:
    archive, (good, bad) = tmp_path / "a.zip", audited[1]
    report = evidence_folder(place, good) / "report.md"
    report.write_text("something else")
    (evidence_folder(place, bad) / "evidence.json").unlink()
    told = json.loads(command("export", str(archive), "--all", "--json", code=3))
    assert len(told["problems"]) == 2
    assert any(f"run {good}: " in words and "report.md is not what was written" in words for words in told["problems"])
    assert any(f"run {bad}: " in words and "no such file" in words for words in told["problems"])
    document = json.loads(command("verify", str(archive), "--json", code=3))
    assert [row["outcome"] for row in document["checked"][str(archive)]].count("not checkable") == 2


@pytest.mark.parametrize(
    ("change", "broken_check"),
    [
        (lambda files: files.pop(next(n for n in files if n.endswith("report.md"))), "files"),
        (lambda files: [files.pop(n) for n in list(files) if n.startswith("runs/")], "index"),
        (lambda files: files.update({"runs/x/evidence.json": b"{}"}), "index"),
        (lambda files: files.update({"index.json": files["index.json"].replace(b'"fail"', b'"pass"')}), "index"),
        (lambda files: files.update({"index.json": b"[]"}), "index"),
        (lambda files: files.pop("log/checkpoint"), "complete"),
        (
            lambda files: (
                [files.pop(n) for n in list(files) if n.startswith("runs/")],
                files.update({"index.json": json.dumps(json.loads(files["index.json"]) | {"runs": []}).encode()}),
            ),
            "complete",
        ),
    ],
)
def test_a_changed_archive_shows_even_with_sums_that_fit(
    place: Workplace, tmp_path: Path, change: Callable[[dict[str, bytes]], object], broken_check: str
) -> None:
    command("export", str(tmp_path / "a.zip"), "--all")
    with_key = [a for p in (place.folder / ".venturalitica" / "keys").glob("*.pub") for a in ("--key", str(p))]
    changed = rewritten(tmp_path / "a.zip", tmp_path / "b.zip", change)
    document = json.loads(command("verify", str(changed), *with_key, "--json", code=1))
    wrong = {row["name"] for rows in document["checked"].values() for row in rows if row["outcome"] == "FAIL"}
    assert broken_check in wrong or broken_check == "files", document


# -- the page for auditors ----------------------------------------------------------------------------------------
def test_the_commands_of_the_auditor_s_page_do_what_it_says(
    place: Workplace, audited: tuple[Workplace, list[str]], tmp_path: Path
) -> None:
    page = (ROOT / "docs" / "checking-evidence.md").read_text(encoding="utf-8")
    blocks = re.findall(r"<!-- run -->\n```sh\n(.*?)```", page, re.DOTALL)
    assert len(blocks) >= 5
    folder = tmp_path / "evidence"
    shutil.copytree(evidence_folder(place, audited[1][1]), folder)
    shutil.copy(folder / "audit.pub", tmp_path / "trusted.pub")
    script = "set -euo pipefail\n" + "\n".join(blocks)

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True)

    done = run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Signature Verified Successfully" in done.stdout
    for name in ("evidence.json", "attestation.dsse.json", "inclusion.tlog-proof", "policy_snapshot/tiny.yaml"):
        kept = (folder / name).read_bytes()
        (folder / name).write_bytes(kept.replace(b"e", b"f", 1) if b"e" in kept else kept[:-1])
        assert run().returncode != 0, name
        (folder / name).write_bytes(kept)
