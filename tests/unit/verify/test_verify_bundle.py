"""Whoever changes evidence is found out, whatever they change; and what is whole is said to be whole."""

from __future__ import annotations

import base64
import json
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.attested import attested, inside, notary
from support.verdicts import MODEL_FILES

import venturalitica_verify
from venturalitica_agent.attest import dsse
from venturalitica_agent.attest.keys import Keys
from venturalitica_verify import Check, Outcome, exit_code, verify_bundle, verify_path
from venturalitica_verify.__main__ import main
from venturalitica_verify.strict import canonical

Files = dict[str, bytes]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("attested")


@pytest.fixture(scope="module")
def files(home: Path) -> Files:
    by = notary(home)
    for n in range(5):
        attested(by, f"earlier {n}")
    return inside(attested(by))


@pytest.fixture(scope="module")
def key(files: Files) -> bytes:
    return files["audit.pub"]


def failing(checks: list[Check]) -> dict[str, str]:
    return {check.name: check.words for check in checks if check.outcome is Outcome.FAIL}


def test_whole_evidence_passes_every_check(files: Files, key: bytes) -> None:
    checks = verify_bundle(files, [key])
    assert failing(checks) == {}
    assert [c.name for c in checks if c.outcome is Outcome.NOT_CHECKABLE] == ["model and data"]
    assert exit_code(checks) == 0
    words = {check.name: check.words for check in checks}
    assert "not a declaration" in words["signature"]
    assert words["inclusion"].startswith("entry 6 of venturalitica.log/")
    assert words["verdict"] == (
        "error follows from the measurements: 10 of 11 findings were decided again; 1 have no measurement, and say "
        "error or skip"
    )


def test_without_a_key_it_is_not_said_to_be_whole(files: Files) -> None:
    checks = verify_bundle(files)
    assert failing(checks) == {}
    assert exit_code(checks) == 3
    assert exit_code([]) == 3


def test_the_model_and_the_data_are_compared_where_they_are_at_hand(files: Files, key: bytes) -> None:
    at_hand = {f"model/{n}": sha256(c).hexdigest() for n, c in MODEL_FILES.items()}
    at_hand["data/evaluation"] = sha256(b"d").hexdigest()
    checks = verify_bundle(files, [key], at_hand)
    assert {check.outcome for check in checks} == {Outcome.OK}
    for name in at_hand:
        changed = verify_bundle(files, [key], {**at_hand, name: "0" * 64})
        assert "model and data" in failing(changed)
    assert "model and data" in failing(verify_bundle(files, [key], {**at_hand, "model/more": "0" * 64}))


# -- what is changed is found -------------------------------------------------------------------------------------
def test_any_changed_byte_of_any_file_is_caught(files: Files, key: bytes) -> None:
    dice = random.Random(7)
    for name, content in files.items():
        for turn in range(16):
            at, bit = dice.randrange(len(content)), 1 << dice.randrange(8)
            changed = content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :]
            assert failing(verify_bundle({**files, name: changed}, [key])), f"{name}, byte {at}, bit {bit}"
            if turn == 0:
                assert failing(verify_bundle({**files, name: changed})), f"{name}, byte {at}, bit {bit}, without a key"


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_bytes_added_removed_or_replaced_are_caught(files: Files, key: bytes, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(files)))
    content = files[name]
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(len(content), start + 20)))
    changed = content[:start] + data.draw(st.binary(max_size=20)) + content[end:]
    if changed != content:
        assert failing(verify_bundle({**files, name: changed}, [key]))


def test_a_missing_or_added_file_is_caught(files: Files, key: bytes) -> None:
    for name in files:
        assert failing(verify_bundle({n: c for n, c in files.items() if n != name}, [key])), name
    assert "files" in failing(verify_bundle({**files, "more.html": b"<p>pass</p>"}, [key]))
    assert failing(verify_bundle({}, [key]))


@settings(max_examples=50, deadline=None)
@given(
    data=st.data(),
    content=st.binary(max_size=200) | st.sampled_from([b"{}", b"[]", b"null", b'{"a":1,"a":2}', b"[" * 9999, b"NaN"]),
)
def test_garbage_fails_and_never_raises(files: Files, key: bytes, content: bytes, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(files)))
    assert failing(verify_bundle({**files, name: content}, [key]))


def forged(files: Files, by: Keys, change: Callable[[dict[str, Any]], None]) -> Files:
    """Evidence that somebody changed and signed anew with a key of theirs, with everything consistent but the log."""
    evidence = json.loads(files["evidence.json"])
    change(evidence)
    found = {**files, "evidence.json": (json.dumps(evidence, indent=1, ensure_ascii=False) + "\n").encode()}
    lines = found["SHA256SUMS"].decode().splitlines()
    old, new = (sha256(of["evidence.json"]).hexdigest() for of in (files, found))
    found["SHA256SUMS"] = "".join(f"{line.replace(old, new)}\n" for line in lines).encode()
    statement = json.loads(base64.b64decode(json.loads(files["attestation.dsse.json"])["payload"]))
    for subject in statement["subject"]:
        if subject["name"] in found:
            subject["digest"]["sha256"] = sha256(found[subject["name"]]).hexdigest()
    ours = statement["predicate"]["urn:venturalitica:verdict:1"]
    ours |= {"evidence": new, "status": evidence["verdict"]["status"], "counts": evidence["verdict"]["counts"]}
    payload, signer = canonical(statement), by.signer()
    signed = (payload, signer.sign(dsse.signed_bytes(payload)), signer.public_key)
    found["attestation.dsse.json"], found["bundle.sigstore.json"] = (
        dsse.envelope(*signed),
        dsse.sigstore_bundle(*signed),
    )
    return found | {"audit.pub": signer.public_key.encode()}


def test_evidence_signed_anew_by_somebody_else_is_caught(files: Files, key: bytes, tmp_path: Path) -> None:
    found = forged(files, Keys(tmp_path), lambda evidence: None)
    assert {"signer", "inclusion"} == set(failing(verify_bundle(found, [key])))


def test_the_service_itself_cannot_change_a_verdict_after_logging_it(files: Files, key: bytes, home: Path) -> None:
    def better(evidence: dict[str, Any]) -> None:
        evidence["verdict"]["status"] = "pass"

    found = verify_bundle(forged(files, Keys(home / "keys"), better), [key])
    assert {"agreement", "verdict", "inclusion"} <= set(failing(found))


def test_a_proof_of_another_entry_is_caught(files: Files, key: bytes, home: Path) -> None:
    other = inside(attested(notary(home), "earlier 2"))
    found = failing(verify_bundle({**files, "inclusion.tlog-proof": other["inclusion.tlog-proof"]}, [key]))
    assert found.keys() == {"inclusion", "agreement"}


# -- the verdict is decided again ---------------------------------------------------------------------------------
def finding(evidence: dict[str, Any], control: str) -> dict[str, Any]:
    found: dict[str, Any] = next(f for f in evidence["verdict"]["findings"] if f["control"] == control)
    return found


LIES: Mapping[str, Callable[[dict[str, Any]], Any]] = {
    "a failure that passes": lambda e: finding(e, "fails").update(status="pass"),
    "a warning that passes": lambda e: finding(e, "warns").update(status="pass"),
    "an open one that passes": lambda e: finding(e, "open").update(status="pass"),
    "a small group that passes": lambda e: finding(e, "small").update(status="pass"),
    "a lower threshold": lambda e: finding(e, "fails")["rule"].update(threshold=0.1),
    "a better value": lambda e: finding(e, "by-point")["measurement"].update(value=0.1),
    "a better interval": lambda e: finding(e, "fails")["measurement"]["interval"].update(low=0.9, high=0.95),
    "infinity as a pass": lambda e: finding(e, "infinite").update(status="pass"),
    "a pass without a measurement": lambda e: finding(e, "unmeasured").update(status="pass"),
    "a lost measurement": lambda e: finding(e, "fails").update(measurement=None),
    "a lost rule": lambda e: finding(e, "fails").pop("rule"),
    "blocking made a report": lambda e: finding(e, "infinite").update(enforcement="report"),
    "a waiver of nothing": lambda e: finding(e, "fails").update(status="waived"),
    "a waiver that was over": lambda e: finding(e, "waived")["waived"].update(expires="2026-01-01"),
    "what would be": lambda e: finding(e, "waived").update(would_be="warn"),
    "a group's rate": lambda e: finding(e, "fails")["measurement"]["groups"][0].update(value=0.9),
    "a small group compared": lambda e: finding(e, "fails")["measurement"]["groups"][0].update(n=3),
    "counts": lambda e: e["verdict"]["counts"].update({"pass": 9}),
    "status": lambda e: e["verdict"].update(status="fail"),
    "a control twice": lambda e: e["verdict"]["findings"].append(finding(e, "shown")),
    "other data unmentioned": lambda e: e["verdict"]["findings"].pop(),
    "an unknown status": lambda e: finding(e, "shown").update(status="fine"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_verdict_that_does_not_follow_is_told(files: Files, key: bytes, home: Path, lie: str) -> None:
    """Also where the service's own key signed it."""
    found = forged(files, Keys(home / "keys"), lambda evidence: LIES[lie](evidence) and None)
    assert "verdict" in failing(verify_bundle(found, [key]))


def test_a_policy_that_came_after_the_run_is_said_to(files: Files, key: bytes, home: Path) -> None:
    def words(start: int | None) -> str:
        found = forged(files, Keys(home / "keys"), lambda evidence: evidence["run"].update(start_time=start))
        return next(check.words for check in verify_bundle(found, [key]) if check.name == "times")

    assert words(1_767_322_000_250).endswith("before the run started")
    assert "AFTER the run started" in words(1_767_322_000_249)
    assert "doesn't say when the run started" in words(None)


# -- references ---------------------------------------------------------------------------------------------------
def with_files(files: Files, more: Files) -> dict[str, str]:
    plain = {name: content for name, content in files.items() if not name.endswith((".html", ".oscal.json"))}
    return failing([c for c in verify_bundle({**plain, **more}) if c.name == "references"])


OSCAL = {
    "assessment-results": {
        "uuid": "1",
        "results": [{"uuid": "2", "related-observations": [{"observation-uuid": "3"}]}],
        "observations": [{"uuid": "3", "relevant-evidence": [{"href": "#4"}]}],
        "back-matter": {
            "resources": [
                {"uuid": "4", "rlinks": [{"href": "report.md", "hashes": [{"algorithm": "SHA-256", "value": ""}]}]}
            ]
        },
    }
}


def test_references_that_lead_nowhere_or_to_other_bytes_are_told(files: Files) -> None:
    right = json.dumps(OSCAL).replace('"value": ""', f'"value": "{sha256(files["report.md"]).hexdigest()}"')
    assert with_files(files, {"a.oscal.json": right.encode()}) == {}
    for wrong in (
        json.dumps(OSCAL),
        right.replace('"observation-uuid": "3"', '"observation-uuid": "9"'),
        right.replace('"#4"', '"#9"'),
        right.replace("report.md", "report.txt"),
        right.replace('"uuid": "2"', '"uuid": "3"'),
    ):
        assert with_files(files, {"a.oscal.json": wrong.encode()})


@pytest.mark.parametrize(
    "page",
    [
        '<img src="http://elsewhere/x.png">',
        '<link rel="stylesheet" href="style.css">',
        '<script src="//elsewhere/x.js"></script>',
        "<style>p {background: url(http://elsewhere/)}</style>",
        '<p style="background: url(http://elsewhere/)">',
        '<a href="#nowhere">x</a>',
        '<a href="missing.json">x</a>',
    ],
)
def test_a_page_that_loads_something_or_leads_nowhere_is_told(files: Files, page: str) -> None:
    assert with_files(files, {"report.html": page.encode()})


def test_a_page_that_stands_alone_is_fine(files: Files) -> None:
    page = (
        '<style>p {background: url("data:image/png;base64,AA")}</style><h1 id="top">x</h1><img src="data:image/png,">'
        '<a href="#top">up</a><a href="evidence.json">all</a><a href="https://elsewhere/">law</a>'
    )
    assert with_files(files, {"report.html": page.encode()}) == {}


# -- folders and the command --------------------------------------------------------------------------------------
@pytest.fixture
def folder(files: Files, tmp_path: Path) -> Path:
    """What a run's artifacts are when they are downloaded."""
    for name, content in files.items():
        path = tmp_path / "venturalitica" / "credit" / "1" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "policy_snapshot").mkdir()
    (tmp_path / "policy_snapshot" / "credit.yaml").write_bytes(files["policy_snapshot/credit.yaml"])
    (tmp_path / "audit.pub").write_bytes(files["audit.pub"])
    return tmp_path


def test_the_command_checks_every_bundle_below_a_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [str(folder), "--key", str(folder / "audit.pub")]
    assert main(given) == 0
    assert "  ok             inclusion: entry 6 of" in capsys.readouterr().out
    assert main([str(folder)]) == 3
    (folder / "policy_snapshot" / "credit.yaml").write_bytes(b"policy: credit")
    assert main([*given, "--json"]) == 1
    document = json.loads(capsys.readouterr().out.partition("\n{")[2].join(["{", ""]))
    assert document["exit_code"] == 1
    assert document["checked"][str(folder)][0]["outcome"] == "FAIL"


def test_links_in_a_folder_are_refused(folder: Path, key: bytes) -> None:
    evidence = folder / "venturalitica" / "credit" / "1" / "evidence.json"
    evidence.rename(folder / "moved")
    evidence.symlink_to(folder / "moved")
    (checks,) = verify_path(folder, [key]).values()
    assert failing(checks) == {"files": "evidence.json is no plain file"}


def test_a_bundle_without_its_proofs_is_found_and_fails(folder: Path, key: bytes) -> None:
    (folder / "venturalitica" / "credit" / "1" / "attestation.dsse.json").unlink()
    (checks,) = verify_path(folder, [key]).values()
    assert "signature" in failing(checks)


@pytest.mark.parametrize("wrong", [["/nowhere"], ["{here}"], ["{here}", "--key", "/nowhere"]])
def test_wrong_usage_is_told(tmp_path: Path, wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([part.format(here=tmp_path) for part in wrong])
    assert stopped.value.code == 2


def test_hostile_names_reach_the_terminal_as_text(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "venturalitica" / "credit" / "1" / "\x1b[31mred").write_text("")
    assert main([str(folder)]) == 1
    assert "\x1b" not in capsys.readouterr().out


def test_it_runs_with_nothing_but_python_and_cryptography(folder: Path) -> None:
    """On a laptop that has the package's folder and `cryptography`: no other module of anybody is imported."""
    package = Path(venturalitica_verify.__file__).parent
    script = (
        "import sys; sys.path.append(sys.argv.pop(1))\n"
        "from venturalitica_verify.__main__ import main\n"
        "code = main(sys.argv[1:])\n"
        "others = {m.partition('.')[0] for m in sys.modules} - {*sys.stdlib_module_names, '__main__'}\n"
        "print(sorted(m for m in others if not m.startswith(('_', 'site', 'apport', 'sitecustomize'))))\n"
        "sys.exit(code)"
    )
    command = [sys.executable, "-I", "-c", script, str(package.parent), str(folder), "--key", str(folder / "audit.pub")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    # cryptography takes bcrypt where it finds it, and does without where not
    assert done.stdout.splitlines()[-1].replace("'bcrypt', ", "") == "['cryptography', 'venturalitica_verify']"


def test_the_auditor_s_own_wheel_is_small_and_checks(folder: Path, tmp_path: Path) -> None:
    """Built offline from `verify/`, and run as it is, without anything of the agent beside it."""
    project = Path(__file__).parents[3] / "verify"
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(build, cwd=project, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("venturalitica_verify-*.whl")
    assert wheel.stat().st_size < 100_000
    package = Path(venturalitica_verify.__file__).parent
    ours = {f"venturalitica_verify/{path.name}" for path in package.iterdir() if path.is_file()}
    with zipfile.ZipFile(wheel) as found:
        assert {name for name in found.namelist() if ".dist-info/" not in name} == ours
    script = (
        "import sys; sys.path.append(sys.argv.pop(1)); from venturalitica_verify.__main__ import main; sys.exit(main())"
    )
    command = [sys.executable, "-I", "-c", script, str(wheel), str(folder), "--key", str(folder / "audit.pub")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
