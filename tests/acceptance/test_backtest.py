"""Waivers and backtests with the real commands, on runs that MLflow logged."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import training
from workplace import POLICY, Workplace

from venturalitica_agent.backtest import backtest
from venturalitica_agent.overview import overview
from venturalitica_agent.policy import parse_policy
from venturalitica_agent.settings import load_settings

pytestmark = pytest.mark.xdist_group("backtest")

TODAY = datetime.now(UTC).date()
STRICTER = POLICY.replace('version: "1.0"', 'version: "2.0"').replace(">= 0.6", ">= 0.99")
ASKING_MORE = POLICY.replace('version: "1.0"', 'version: "2.0"') + '  - {id: f1, metric: f1, require: ">= 0.99"}\n'


@dataclass(frozen=True)
class Audited:
    """A place after one pass over a good and a bad run."""

    place: Workplace
    uri: str
    good: str
    bad: str

    def tried(self, policy: str, **options: Any) -> dict[str, Any]:
        """What a backtest of this policy says; it changes no byte of what the agent or the tracker keeps."""
        before = self._digests()
        settings = load_settings(None, env={}, cwd=self.place.folder)
        document = backtest(settings, parse_policy(policy.encode(), "new.yaml"), **options).document()
        assert self._digests() == before
        return document

    def _digests(self) -> dict[str, str]:
        files = [f for f in self.place.folder.rglob("*") if f.is_file() and not f.name.endswith(("-wal", "-shm"))]
        return {str(f): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}

    def waive(self, days: int) -> bytes:
        """Waive the bad run's accuracy until so many days from now."""
        waiver = {"policy": "tiny", "control": "accuracy", "run": [self.bad], "reason": "a remedy", "owner": "Ana Ruiz"}
        file = self.place.folder / "policies" / "waivers.yaml"
        file.write_text(json.dumps({"waivers": [waiver | {"expires": str(TODAY + timedelta(days=days))}]}))
        return file.read_bytes()


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory, new_database: Callable[[Path], str]) -> Audited:
    place = Workplace(tmp_path_factory.mktemp("backtest"))
    uri = new_database(place.folder)
    place.configure([uri])
    found = Audited(place, uri, training.train(uri), training.train(uri, good=False))
    place.here("audit", check=1)
    return found


def test_the_same_rules_flip_nothing_and_others_are_named(audited: Audited) -> None:
    same = audited.tried(POLICY)
    assert (same["policy"], same["runs"], same["flips"], same["unanswered"]) == ("tiny@1.0", 2, [], [])
    assert audited.tried(POLICY, last=1)["runs"] == 1
    elsewhere = audited.tried(POLICY.replace("policy: tiny", "policy: other"))
    assert (elsewhere["runs"], elsewhere["other_policies"]) == (0, ["tiny"])


def test_a_stricter_version_flips_what_stored_measurements_say(audited: Audited) -> None:
    found = audited.tried(STRICTER)
    assert (found["runs"], found["unanswered"]) == (2, [])
    (flip,) = found["flips"]
    assert (flip["run_id"], flip["old"], flip["new"], flip["policy"]) == (audited.good, "pass", "fail", "tiny@1.0")
    (words,) = flip["controls"]
    assert words.startswith("accuracy: pass -> fail (value 0.")
    assert words.endswith("; required >= 0.99)")
    (audited.place.folder / "new.yaml").write_text(STRICTER)
    said = audited.place.run("policy", "backtest", "new.yaml").stdout.splitlines()
    assert said == ["tiny@2.0: 2 verdicts looked at, 1 would change", "good: pass -> fail", f"  {words}"]


def test_a_new_control_is_unanswered_and_measured_if_asked(audited: Audited) -> None:
    found = audited.tried(ASKING_MORE)
    assert found["flips"] == []
    reasons = {row["run_id"]: row["reasons"] for row in found["unanswered"]}
    assert reasons == {run: ["control f1 is new"] for run in (audited.good, audited.bad)}
    measured = audited.tried(ASKING_MORE, evaluate=True)
    assert measured["unanswered"] == []
    (flip,) = measured["flips"]
    assert (flip["run_id"], flip["new"]) == (audited.good, "fail")
    assert flip["controls"][0].startswith("f1: new -> fail (value 0.9")


def test_without_a_state_nothing_is_made(place: Workplace) -> None:
    place.configure([f"sqlite:///{place.folder}/mlflow.db"])
    settings = load_settings(None, env=os.environ, cwd=place.folder)
    assert backtest(settings, parse_policy(POLICY.encode(), "new.yaml")).runs == 0
    assert not (place.folder / ".venturalitica").exists()


def test_a_waived_finding_is_shown_and_a_waiver_ends(audited: Audited) -> None:
    """fail, waived while it counts, and fail again: the waived verdict in an evidence folder of its own."""
    place, uri, run = audited.place, audited.uri, audited.bad
    failed = training.tags(uri, run)["venturalitica.evidence"]
    content = audited.waive(3)
    assert place.here("audit")["audited"] == 1
    tags, evidence = training.tags(uri, run), training.evidence(uri, run)
    assert (tags["venturalitica.status"], tags["venturalitica.failed"]) == ("pass", "")
    assert tags["venturalitica.counts"] == "p1 f0 i0 w0 e0 s0 x1"
    assert tags["venturalitica.evidence"] != failed
    assert evidence["verdict"]["waivers_digest"] == hashlib.sha256(content).hexdigest()
    finding = training.findings(uri, run)["accuracy"]
    assert (finding["status"], finding["would_be"]) == ("waived", "fail")
    assert finding["waived"] == {"reason": "a remedy", "owner": "Ana Ruiz", "expires": str(TODAY + timedelta(days=3))}
    assert finding["measurement"]["value"] < 0.5
    (notice,) = overview(load_settings(None, env={}, cwd=place.folder))["waivers"]
    days = {(TODAY + timedelta(days=3) - day).days for day in (TODAY, datetime.now(UTC).date())}  # midnight may pass
    assert any(notice.endswith(f"(Ana Ruiz) expires in {left} days") for left in days)
    assert audited.tried(POLICY.replace(">= 0.6", ">= 0.7"))["flips"] == []

    audited.waive(-1)
    done = place.run("audit", "--json", check=1)
    assert "expired on" in done.stderr
    assert json.loads(done.stdout)["audited"] == 1
    assert training.tags(uri, run)["venturalitica.evidence"] == failed
    assert training.status(uri, run) == "fail"
