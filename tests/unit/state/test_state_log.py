"""The log: dense numbers, one entry for one key, whoever appends at the same time or dies while doing so."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from support.attested import SINCE, attested, decision, notary

from venturalitica_agent.attest.notary import Notary
from venturalitica_agent.domain import merkle
from venturalitica_agent.state.log import Log
from venturalitica_agent.state.opening import open_state
from venturalitica_verify.merkle import is_beginning, leaf_hash, root_by_inclusion
from venturalitica_verify.outcome import Broken


def by_definition(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, word by word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return sha256(b"\x01" + by_definition(leaves[:k]) + by_definition(leaves[k:])).digest()


@pytest.mark.parametrize("size", range(1, 20))
def test_every_tree_root_and_proof_is_that_of_the_rfc(size: int) -> None:
    contents = [bytes([n]) * n for n in range(size)]
    frontier: merkle.Frontier = ()
    for n, content in enumerate(contents):
        path = merkle.path_of_next(frontier)
        frontier = merkle.grown(frontier, n, merkle.leaf_hash(content))
        root = by_definition(contents[: n + 1])
        assert merkle.root(frontier) == root
        assert root_by_inclusion(n, n + 1, leaf_hash(content), path) == root
    leaves = [merkle.leaf_hash(content) for content in contents]
    assert merkle.tree_root(leaves) == by_definition(contents)
    for old in range(1, size + 1):
        path = merkle.consistency_path(leaves, old)
        assert is_beginning(old, by_definition(contents[:old]), size, by_definition(contents), path)


def test_the_published_vectors_of_certificate_transparency_hold() -> None:
    # source: the eight leaves and the roots that the reference implementations of RFC 6962 test with
    contents = [bytes.fromhex(h) for h in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657")]
    contents.append(bytes.fromhex("606162636465666768696a6b6c6d6e6f"))
    leaves = [merkle.leaf_hash(content) for content in contents]
    assert merkle.tree_root(leaves[:1]).hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert merkle.tree_root(leaves).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=4), min_size=2, max_size=40), st.data())
def test_no_proof_holds_of_a_history_that_was_changed(contents: list[bytes], data: st.DataObject) -> None:
    old = data.draw(st.integers(1, len(contents) - 1))
    at = data.draw(st.integers(0, old - 1))
    path = merkle.consistency_path([leaf_hash(c) for c in contents], old)
    changed = [*contents[:at], contents[at] + b"!", *contents[at + 1 :]]
    assert not is_beginning(old, by_definition(changed[:old]), len(contents), by_definition(contents), path)
    assert not is_beginning(old, by_definition(contents[:old]), len(contents), by_definition(changed), path)
    assert not is_beginning(old, by_definition(contents[:old]), len(contents), by_definition(contents), [*path, b"x"])


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_an_entry_outside_the_log_has_no_proof(index: int, size: int) -> None:
    with pytest.raises(Broken):
        root_by_inclusion(index, size, b"", ())


def test_a_consistency_proof_needs_a_beginning() -> None:
    with pytest.raises(ValueError, match="no beginning"):
        merkle.consistency_path([b""], 2)


# -- appending ----------------------------------------------------------------------------------------------------
def kinds(log: Log) -> list[str]:
    return [json.loads(entry.content)["kind"] for entry in log.entries()]


def test_everything_that_counts_is_logged_once(tmp_path: Path) -> None:
    by = notary(tmp_path)
    for _ in range(2):
        by.note_key()
        by.note_policy("credit@1.0.0", "d" * 64, SINCE)
        by.note_waivers("e" * 64)
        by.note_waivers("")
        attested(by)
    # the policy of the verdict has other bytes than the one above: it is on record before its first verdict
    assert kinds(by.log) == ["key", "policy", "waivers", "policy", "verdict"]
    assert [entry.number for entry in by.log.entries()] == list(range(by.log.size()))
    by.rotate()
    assert kinds(by.log)[5:] == ["key"]
    *_, change = by.log.entries()
    assert json.loads(change.content)["replaces"] == sha256_of(change.public_key)  # the old key vouches for the new


def sha256_of(pem: str) -> str:
    return sha256(base64.b64decode("".join(pem.splitlines()[1:-1]))).hexdigest()


def test_an_interrupted_rotation_is_finished_by_the_next(tmp_path: Path) -> None:
    by = notary(tmp_path)
    by.note_key()
    new = by.keys.next()
    assert by.rotate()[1] == sha256_of(new)
    assert by.keys.current() == new


def test_many_that_append_at_once_leave_no_gap_and_nothing_twice(tmp_path: Path) -> None:
    workers = [notary(tmp_path) for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: attested(workers[n % 4], f"run {n // 4}"), range(24)))
    log = workers[0].log
    assert [entry.number for entry in log.entries()] == list(range(log.size()))
    assert sorted(kinds(log)) == ["policy", *["verdict"] * 6]
    assert len({tuple(sorted(bundle.files.items())) for bundle in found}) == 6


KILLED = """
import os, signal, sys, time
from pathlib import Path
from support.attested import attested, notary
said = -1
for pause in (0.0, 0.003, 0.011, 0.017, 0.029):
    out, into = os.pipe()
    child = os.fork()
    if not child:
        by = notary(Path(sys.argv[1]))
        for n in range(10_000):
            attested(by, f"run {n}")
            os.write(into, b"%d " % n)
    os.close(into)
    words = b""
    while not words.endswith(b" ") or int(words.split()[-1]) <= said:  # until it is at work on something new
        words += os.read(out, 100)
    time.sleep(pause)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while more := os.read(out, 10_000):
        words += more
    said = int(words.split()[-1])
print(said)
"""


def test_killed_at_any_moment_the_log_has_no_gap_and_goes_on(tmp_path: Path) -> None:
    tests = Path(__file__).parents[2]
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    said = int(subprocess.run(command, cwd=tests, capture_output=True, check=True, timeout=60).stdout)
    by = notary(tmp_path)
    entries = list(by.log.entries())
    assert [entry.number for entry in entries] == list(range(by.log.size()))
    assert by.log.size() >= said + 2  # what was said to be done is there, and its policy
    runs = [json.loads(entry.content)["run_id"] for entry in entries if entry.key.startswith("verdict")]
    assert runs == [f"run {n}" for n in range(len(runs))]
    attested(by, "one more")
    (*_, last) = by.log.entries()
    leaves = [leaf_hash(entry.content) for entry in by.log.entries()]
    assert base64.b64encode(merkle.tree_root(leaves)).decode() == last.checkpoint.splitlines()[2]


def test_an_older_state_without_a_log_gets_one(tmp_path: Path) -> None:
    engine = open_state(f"sqlite:///{tmp_path}/state.db")
    with engine.begin() as db:
        db.execute(sa.text("DROP TABLE log_entries"))
        db.execute(sa.text("ALTER TABLE runs DROP COLUMN due_since"))
        gone = ("log_heads", "counters", "config_mistakes", "drift_checks", "notices", "channels", "state_version")
        for table in gone:
            db.execute(sa.text(f"DROP TABLE {table}"))
    log = Log(open_state(f"sqlite:///{tmp_path}/state.db"))
    assert (log.size(), log.origin(), list(log.entries())) == (0, "", [])
    by = Notary(notary(tmp_path).keys, log)
    by.note_key()
    assert log.size() == 1
    assert decision().audit_id
