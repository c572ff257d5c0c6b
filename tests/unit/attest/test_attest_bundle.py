"""The evidence: the same bytes every time, checkable with standard tools, nothing of ours or of the rows in it."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
from support.verdicts import CACHE, MODEL_FILES, decision, digest, finding, policy, renamed, subject

from venturalitica_agent.attest.bundle import build_bundle
from venturalitica_agent.domain.codec import from_plain, to_json, to_plain
from venturalitica_agent.domain.evidence import Decision, audit_id
from venturalitica_agent.domain.subject import FileDigest, Subject
from venturalitica_agent.domain.verdict import Status


def test_the_same_decision_makes_the_same_bytes_also_after_a_crash() -> None:
    """A step's kept result is JSON: what comes back from it must build the same evidence."""
    given = decision(policy(), Status.FAIL, Status.PASS)
    kept = from_plain(Decision, json.loads(to_json(Decision, given)))
    first = build_bundle(given, policy(), link="http://ui/#/x")
    assert build_bundle(kept, policy(), link="http://ui/#/x") == first
    assert build_bundle(given, policy(), link="http://ui/#/x") == first


def test_every_file_is_where_it_belongs() -> None:
    given = decision(policy(), Status.PASS)
    bundle = build_bundle(given, policy())
    folder = f"venturalitica/credit/{given.audit_id}"
    assert set(bundle.files) == {
        "policy_snapshot/credit.yaml",
        f"{folder}/policy_snapshot/credit.yaml",
        f"{folder}/evidence.json",
        f"{folder}/report.html",
        f"{folder}/report.md",
        f"{folder}/assessment-results.oscal.json",
        f"{folder}/SHA256SUMS",
    }
    assert bundle.files["policy_snapshot/credit.yaml"] == policy().content
    assert bundle.evidence == f"{folder}/evidence.json"
    assert bundle.digest == digest(bundle.files[bundle.evidence])
    shared = build_bundle(given, policy(), snapshot_name="credit.credit.yaml")
    assert shared.files["policy_snapshot/credit.credit.yaml"] == policy().content


def write(bundle_files: dict[str, bytes], folder: Path) -> None:
    for path, content in bundle_files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


def sha256sum(folder: Path, *options: str) -> int:
    return subprocess.run(
        ["sha256sum", "-c", "--strict", *options, "SHA256SUMS"], cwd=folder, capture_output=True
    ).returncode


def test_sha256sum_itself_checks_the_evidence_and_the_model(tmp_path: Path) -> None:
    bundle = build_bundle(decision(policy(), Status.FAIL), policy())
    write(dict(bundle.files), tmp_path)
    folder = tmp_path / bundle.folder
    assert sha256sum(folder, "--ignore-missing") == 0
    assert sha256sum(folder) == 1  # the model's files are not part of the evidence
    write({f"model/{n}": c for n, c in MODEL_FILES.items()}, folder)
    assert sha256sum(folder) == 0
    (folder / "evidence.json").write_bytes(b"{}")
    assert sha256sum(folder) == 1


def test_odd_file_names_are_still_checkable(tmp_path: Path) -> None:
    files = {" leading": b"1", "*star": b"2", "é ☃": b"3", "a  b": b"4"}
    model = subject().model
    assert model is not None
    model = replace(model, files=tuple(FileDigest(n, len(c), digest(c)) for n, c in files.items()))
    about = replace(subject(), model=model)
    bundle = build_bundle(decision(policy(), Status.PASS, about=about), policy())
    write(dict(bundle.files), tmp_path)
    write({f"model/{n}": c for n, c in files.items()}, tmp_path / bundle.folder)
    assert sha256sum(tmp_path / bundle.folder) == 0


def strict(content: bytes) -> Any:
    def refuse(word: str) -> NoReturn:
        raise ValueError(f"{word} is not JSON")

    return json.loads(content, parse_constant=refuse)


def test_evidence_is_strict_json_that_says_what_is_not_finite_in_words() -> None:
    bundle = build_bundle(decision(policy(), Status.INCONCLUSIVE), policy())
    document = strict(bundle.files[bundle.evidence])
    measured = document["verdict"]["findings"][0]["measurement"]
    assert measured["interval"]["high"] == "Infinity"
    assert measured["groups"][1]["value"] == "NaN"
    assert document["verdict"]["counts"]["inconclusive"] == 1


def test_no_path_of_our_cache_is_in_any_file() -> None:
    bundle = build_bundle(decision(policy(), Status.FAIL), policy(), link="http://ui/")
    assert not [path for path, content in bundle.files.items() if CACHE.encode() in content]


def test_evidence_of_a_subject_without_model_and_data() -> None:
    bundle = build_bundle(decision(policy(), Status.ERROR, about=Subject()), policy())
    document = strict(bundle.files[bundle.evidence])
    assert document["subject"] == {"model": None, "data": {}, "binding": {}, "missing": {}}


def test_hostile_text_reaches_evidence_as_data() -> None:
    name = '<img onerror=1>"\\\n\x1b[31m\u202e☃'
    bundle = build_bundle(renamed(decision(policy(), Status.PASS), name=name), policy())
    assert strict(bundle.files[bundle.evidence])["run"]["name"] == name


@pytest.mark.parametrize(
    "change",
    [
        lambda s: replace(s, model=replace(s.model, digest=digest(b"other"))),
        lambda s: replace(s, model=None),
        lambda s: replace(s, data={"evaluation": replace(s.data["evaluation"], file=FileDigest("t", 1, digest(b"o")))}),
        lambda s: replace(s, binding={}),
        lambda s: replace(s, problems={}),
    ],
)
def test_anything_that_changes_the_audit_changes_its_place(change: Any) -> None:
    assert audit_id("s", "r", change(subject()), "p") != audit_id("s", "r", subject(), "p")


def test_where_a_copy_lies_does_not_change_the_place() -> None:
    about = subject()
    assert about.model is not None
    moved = replace(about, model=replace(about.model, path="/elsewhere"))
    assert audit_id("s", "r", moved, "p") == audit_id("s", "r", about, "p")
    assert len({audit_id(s, r, about, p) for s in "ab" for r in "ab" for p in "ab"}) == 8


def test_findings_survive_the_codec_with_their_types() -> None:
    given = decision(policy(), Status.FAIL)
    back = from_plain(Decision, to_plain(Decision, given))
    assert back.subject == given.subject
    assert back.verdict.findings[0].measurement is not None
    assert str(back.verdict.findings[0]) == str(finding(Status.FAIL, "control-0"))
