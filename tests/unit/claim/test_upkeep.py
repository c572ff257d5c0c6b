"""What somebody changed on an audited run is said, logged and put back: real ledger, records, keys and log."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import cast

import pytest
from support.verdicts import decision, policy

from venturalitica_agent.attest.keys import Keys
from venturalitica_agent.attest.notary import Notary
from venturalitica_agent.domain.evidence import Published
from venturalitica_agent.domain.history import Term
from venturalitica_agent.domain.ledger import Entry, Phase
from venturalitica_agent.domain.run import Run, RunRef, RunStatus
from venturalitica_agent.domain.verdict import Status
from venturalitica_agent.fetch.cache import Cache
from venturalitica_agent.pipeline import World, evidence_of
from venturalitica_agent.publish.writeback import publish
from venturalitica_agent.sandbox.launcher import Sandbox
from venturalitica_agent.state.drift import DriftRecord
from venturalitica_agent.state.ledger import Ledger
from venturalitica_agent.state.log import Log
from venturalitica_agent.state.opening import open_state
from venturalitica_agent.state.records import Records
from venturalitica_agent.stores.memory import MemoryStore
from venturalitica_agent.upkeep import Upkeep

BOTH = (policy(), policy("second", file_name="second.yaml"))
EVERY = 100.0


class Office:
    """Two policies, one store, a clock that is turned by hand, and upkeep."""

    def __init__(self, folder: Path, *, restore: bool = True) -> None:
        engine = open_state(f"sqlite:///{folder}/state.db")
        self.ledger, self.records, self.store = Ledger(engine), Records(engine), MemoryStore()
        self.record = DriftRecord(engine)
        self.now = 1_800_000_000.0
        self.notary = Notary(Keys(folder / "keys"), Log(engine), clock=lambda: self.now)
        self._numbers = count(1)
        world = World(
            store_of=lambda _: self.store,
            policy_of={one.digest: one for one in BOTH}.__getitem__,
            records=self.records,
            notary=self.notary,
            cache=cast(Cache, None),
            sandbox=cast(Sandbox, None),
        )
        self.upkeep = Upkeep(
            stores={"memory": self.store},
            ledger=self.ledger,
            record=self.record,
            world=world,
            history=lambda: {one.id: (Term(one.id, "1.0.0", one.digest, one.file_name, 5.0),) for one in BOTH},
            every=EVERY,
            restore=restore,
            clock=lambda: self.now,
        )

    def audited(self, run_id: str) -> dict[str, bytes]:
        """A run with two verdicts, published by the pipeline's own code; returns its files."""
        ref = RunRef("memory", run_id, "1", RunStatus.FINISHED, start_time=1, end_time=1)
        run = self.store.add(Run(ref, "a run", "demo", "memory"))
        given = [
            decision(one, status, run_id=run_id) for one, status in zip(BOTH, (Status.FAIL, Status.PASS), strict=True)
        ]
        decided = [
            (one, evidence_of(one, under, BOTH, run, self.store, self.notary, since=5.0))
            for one, under in zip(given, BOTH, strict=True)
        ]
        tags = publish(self.store, run, decided)
        for one, bundle in decided:
            self.records.keep_audit(run, one, bundle, Published("fail", tags, "", self.now), now=self.now)
        entry = Entry(ref, Phase.DONE, job="j", attempts=2, audited_revision=ref.revision)
        self.ledger.swap([(None, entry)], now=self.now)
        return {path: content for _, bundle in decided for path, content in bundle.files.items()}

    def later(self) -> int:
        self.now += EVERY + 1
        return self.upkeep.turn(60.0)

    def incidents(self) -> list[str]:
        entries = [json.loads(entry.content) for entry in self.notary.log.entries()]
        return [entry["found"] for entry in entries if entry["kind"] == "drift"]

    def content(self, run_id: str, paths: dict[str, bytes]) -> dict[str, bytes]:
        return {path: self.store.read_file(run_id, path) for path in paths}


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def test_what_is_as_it_was_published_is_left_alone(office: Office) -> None:
    office.audited("r")
    entries = list(office.notary.log.entries())
    assert office.upkeep.turn(60.0) == 0  # its time has not come
    assert office.record.due(office.now - EVERY, office.now, 9) == []
    assert office.later() == 0
    assert list(office.notary.log.entries()) == entries
    assert office.record.incidents(9) == []
    assert office.upkeep.turn(60.0) == 0


Tamper = Callable[[MemoryStore, dict[str, bytes]], None]


def tags(*remove: str, **changed: str) -> Tamper:
    given = {f"venturalitica.{name}": value for name, value in changed.items()}
    return lambda store, _: store.set_tags("r", given, remove=[f"venturalitica.{name}" for name in remove])


def put(name: str, content: bytes) -> Tamper:
    return lambda store, files: store.put_files("r", {path: content for path in files if path.endswith(name)})


def removed(name: str) -> Tamper:
    return lambda store, files: store.remove_file("r", next(path for path in files if path.endswith(name)))


TAMPERING: dict[str, tuple[Tamper, str]] = {
    "a verdict": (tags(status="pass"), "the tag venturalitica.status was changed"),
    "a verdict is gone": (tags("status"), "the tag venturalitica.status was removed"),
    "a tag more": (tags(approved="yes"), "the tag venturalitica.approved was added"),
    "a snapshot": (put("policy_snapshot/credit.yaml", b"policy: credit"), "credit.yaml was changed"),
    "evidence": (put("evidence.json", b"{}"), "evidence.json was changed"),
    "evidence is gone": (removed("report.md"), "report.md was removed"),
}


@pytest.mark.parametrize("name", TAMPERING)
def test_what_was_changed_is_logged_and_put_back(office: Office, name: str) -> None:
    files = office.audited("r")
    given = office.store.get_tags("r")
    before = office.ledger.get("memory", "r")
    tamper, words = TAMPERING[name]
    tamper(office.store, files)
    assert office.later() == 1
    assert words in office.incidents()[0]
    assert office.content("r", files) == files
    assert office.store.get_tags("r") == given
    assert office.ledger.get("memory", "r") == before
    (told,) = office.record.incidents(9)
    assert (told["run_id"], told["restored"], told["incidents"]) == ("r", True, 1)
    assert office.later() == 0
    tamper(office.store, files)
    assert office.later() == 1
    assert office.record.count() == 2


def test_by_configuration_it_is_only_reported(tmp_path: Path) -> None:
    office = Office(tmp_path, restore=False)
    office.audited("r")
    office.store.set_tags("r", {"venturalitica.status": "pass"})
    assert office.later() == 1
    assert office.store.get_tags("r")["venturalitica.status"] == "pass"
    assert [told["restored"] for told in office.record.incidents(9)] == [False]
    assert len(office.incidents()) == 1


def test_a_store_that_is_away_waits_and_a_deleted_run_is_left_alone(office: Office) -> None:
    office.audited("r")
    office.store.down = True
    assert office.later() == 0
    office.store.down = False
    office.store.set_tags("r", {"venturalitica.status": "pass"})
    assert office.upkeep.turn(60.0) == 1
    office.store.change("r", deleted=True)
    assert office.later() == 0
    assert len(office.incidents()) == 1


def test_a_run_that_is_audited_just_now_is_left_to_its_audit(office: Office) -> None:
    office.audited("r")
    office.store.set_tags("r", {"venturalitica.status": "pass"})
    entry = office.ledger.get("memory", "r")
    assert entry is not None
    assert office.ledger.move(entry, Phase.DUE, now=office.now)
    assert office.later() == 0
    assert office.incidents() == []
