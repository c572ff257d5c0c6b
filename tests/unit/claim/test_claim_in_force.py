"""Policies that change under a running service: real files, a real state, a real git repository."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import pytest

from venturalitica_agent.claim.in_force import QUIET, PoliciesInForce
from venturalitica_agent.claim.plan import AuditRule
from venturalitica_agent.domain.policy import Policy, Selector
from venturalitica_agent.domain.subject import DataPlan
from venturalitica_agent.errors import ConfigError
from venturalitica_agent.state.opening import open_state
from venturalitica_agent.state.policies import PolicyRecord

TEXT = """\
policy: {id}
version: "{version}"
{more}
controls:
  - {{id: acc, metric: accuracy, require: ">= {threshold}"}}
"""


def text(version: str, *, threshold: float = 0.5, policy_id: str = "p", more: str = "") -> str:
    return TEXT.format(id=policy_id, version=version, threshold=threshold, more=more)


def rules_of(policies: Mapping[str, Policy]) -> tuple[AuditRule, ...]:
    if "p" not in policies:
        raise ConfigError("there is no policy 'p'")
    return (AuditRule("all", Selector(), tuple(policies), DataPlan()),)


class Place:
    """A folder of policies with a record and a clock that runs a minute ahead of the file system's with each look."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "policies"
        self.folder.mkdir()
        self.record = PolicyRecord(open_state(f"sqlite:///{folder}/state.db"))
        self.now = 2e9

    def clock(self) -> float:
        self.now += 60
        return self.now

    def write(self, content: str, name: str = "p.yaml") -> None:
        (self.folder / name).write_text(content)

    def open(self) -> PoliciesInForce:
        return PoliciesInForce(self.folder, self.record, rules_of, clock=self.clock)

    def versions(self) -> list[tuple[str, bool]]:
        return [(term.version, term.until is None) for term in self.record.history()["p"]]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    found = Place(tmp_path)
    found.write(text("1.0"))
    return found


def test_a_changed_file_comes_into_force_once(place: Place) -> None:
    in_force = place.open()
    assert not in_force.refresh()
    place.write(text("1.1", threshold=0.6))
    assert in_force.refresh()
    assert not in_force.refresh()
    assert in_force.book.policies["p"].version == "1.1"
    assert place.versions() == [("1.0", False), ("1.1", True)]
    assert in_force.book.history["p"] == place.record.history()["p"]


def test_what_changed_while_nothing_ran_is_found_at_the_start(place: Place) -> None:
    place.open()
    place.write(text("1.1"))
    place.open()
    place.open()
    assert place.versions() == [("1.0", False), ("1.1", True)]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("policy: p\nversion: 1.1\ncontrols: []\n", "without controls"),
        (text("1.1", policy_id="q"), "there is no policy 'p'"),
        (text("1.0", threshold=0.6), "is on record with other bytes"),
    ],
    ids=["broken", "needed", "same version"],
)
def test_what_can_not_come_into_force_leaves_all_as_it_was_and_is_noted_until_it_is_mended(
    place: Place, content: str, words: str
) -> None:
    in_force = place.open()
    before = in_force.book
    place.write(content)
    assert not in_force.refresh()
    assert not in_force.refresh()
    assert in_force.book == before
    (mistake,) = place.record.mistakes()
    assert words in mistake["words"]
    place.write(text("1.2"))
    assert in_force.refresh()
    assert place.record.mistakes() == []


def test_the_same_version_with_other_bytes_is_refused_at_the_start_with_both_digests(place: Place) -> None:
    old = place.open().book.policies["p"].digest
    place.write(text("1.0", threshold=0.6))
    with pytest.raises(ConfigError) as refused:
        place.open()
    words = str(refused.value.diagnostics())
    assert old in words
    assert sha256(text("1.0", threshold=0.6).encode()).hexdigest() in words
    assert "raise the version" in words
    place.write(text("1.0"))
    assert place.open().book.policies["p"].digest == old


def test_a_file_of_the_sdk_without_a_version_may_change(place: Place) -> None:
    flat = '[{{"id": "a", "metric_key": "accuracy_score", "operator": "gt", "threshold": {}}}]'
    for threshold in (0.5, 0.6):
        place.write(flat.format(threshold), "flat.json")
        place.open()
    assert len(place.record.history()["flat"]) == 2


def test_a_file_that_may_still_be_being_written_waits(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.write(text("1.0"))
    seen = (place.folder / "p.yaml").stat().st_ctime
    times = iter([seen, seen + QUIET / 2, seen + QUIET + 1, seen + QUIET + 1, seen + QUIET + 1])
    place.clock = lambda: next(times)  # type: ignore[method-assign]
    in_force = place.open()
    place.write(text("1.1"))
    os.utime(place.folder / "p.yaml", (seen, seen))
    assert not in_force.refresh()
    assert in_force.refresh()


def test_a_removed_policy_is_in_force_no_longer(place: Place) -> None:
    place.write(text("1.0", policy_id="q"), "q.yaml")
    in_force = place.open()
    (place.folder / "q.yaml").unlink()
    assert in_force.refresh()
    assert place.record.history()["q"][0].until is not None
    assert place.versions() == [("1.0", True)]


def test_another_agent_of_the_same_state_is_followed(place: Place, tmp_path: Path) -> None:
    mine = place.open()
    other = tmp_path / "other"
    other.mkdir()
    (other / "p.yaml").write_text(text("1.1"))
    PoliciesInForce(other, place.record, rules_of, clock=place.clock)
    assert mine.refresh()
    assert mine.book.history["p"][-1].version == "1.1"
    assert not mine.refresh()


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_the_commit_and_whether_the_file_is_as_committed_are_on_record(place: Place) -> None:
    git(place.folder.parent, "init", "--quiet")
    git(place.folder, "add", "p.yaml")
    git(place.folder, "commit", "--quiet", "-m", "x")
    head = git(place.folder, "rev-parse", "HEAD").strip()
    trap = place.folder.parent / "trapped"
    # What a repository may configure to be run when its files are looked at.
    git(place.folder, "config", "core.fsmonitor", f"touch {trap}")
    git(place.folder, "config", "filter.trap.clean", f"touch {trap}")
    (place.folder.parent / ".git" / "info" / "attributes").write_text("* filter=trap\n")
    in_force = place.open()
    place.write(text("1.1"))
    in_force.refresh()
    assert [(term.commit, term.dirty) for term in place.record.history()["p"]] == [(head, False), (head, True)]
    assert not trap.exists()


@pytest.mark.parametrize("path", ["", "/nowhere"])
def test_without_a_repository_or_without_git_there_is_no_commit(
    place: Place, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if path:
        monkeypatch.setenv("PATH", path)
    place.open()
    (term,) = place.record.history()["p"]
    assert (term.commit, term.dirty) == ("", None)
