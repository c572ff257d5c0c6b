"""Reading `.wandb` logs: as W&B reads them, all that was before a tear, never past a hole, nothing without bounds."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.wandb_offline import BLOCK, MAGIC, fragment, framed, trained_beside
from wandb.proto import wandb_internal_pb2 as pb

from venturalitica_agent.stores import wandb_log, wandb_records
from venturalitica_agent.stores.wandb_log import Kind, LogReader, Malformed, fields, number, text
from venturalitica_agent.stores.wandb_records import LoggedRun, full_glimpse, glimpse, read_run

pytestmark = pytest.mark.xdist_group("wandb-offline")


@pytest.fixture(scope="module")
def real() -> bytes:
    """The log of a real run that ended well, shorter than one block."""
    return next((trained_beside() / "wandb").glob("*-good/*.wandb")).read_bytes()


@pytest.fixture(scope="module")
def long() -> bytes:
    """The log of a real run that was killed: more than one block, and no end."""
    return next((trained_beside() / "wandb").glob("*-killed/*.wandb")).read_bytes()


def read(content: bytes) -> LoggedRun:
    return read_run(io.BytesIO(content))


def ends(content: bytes) -> list[int]:
    """Offsets behind each record, found by following the lengths alone."""
    found, position = [], len(MAGIC)
    while position < len(content):
        position += 7 + int.from_bytes(content[position + 4 : position + 6], "little")
        found.append(position)
    return found


def a_run(**about: Any) -> bytes:
    return bytes(pb.Record(run=pb.RunRecord(run_id="r", project="p", **about)).SerializeToString())


def an_exit(code: int = 0, runtime: int = 1) -> bytes:
    return bytes(pb.Record(num=9, exit=pb.RunExitRecord(exit_code=code, runtime=runtime)).SerializeToString())


def a_history(value: str) -> bytes:
    item = pb.HistoryItem(key="x", value_json=value)
    return bytes(pb.Record(num=3, history=pb.HistoryRecord(item=[item])).SerializeToString())


# -- the same as W&B reads ------------------------------------------------------------------------------------------
def test_a_real_log_reads_as_wandb_itself_reads_it(real: bytes, tmp_path: Path) -> None:
    path = tmp_path / "run-good.wandb"
    path.write_bytes(real)
    said = subprocess.run(
        [Path(sys.executable).with_name("wandb"), "leet", "inspect", "--json", path], capture_output=True, timeout=60
    )
    theirs = [json.loads(line) for line in said.stdout.splitlines()]
    run = next(r["run"] for r in theirs if r["type"] == "run")
    summary: dict[str, Any] = {}
    for record in theirs:
        if record["type"] == "summary":
            summary |= record["summary"]["update"]
    artifacts = [r["artifact"] for r in theirs if r["type"] == "artifact"]

    ours = read(real)
    assert ours.glimpse == glimpse(io.BytesIO(real))
    assert (ours.glimpse.run_id, ours.glimpse.project, ours.name) == (
        run["run_id"],
        run["project"],
        run["display_name"],
    )
    assert (ours.group, ours.job_type, list(ours.tags)) == (run["run_group"], run["job_type"], run["tags"])
    assert ours.config == run["config"]["update"]
    assert ours.glimpse.exit_code == 0
    assert theirs[-1]["exit"].get("exit_code", 0) == 0
    assert {k: str(v) for k, v in ours.summary.items()} == {
        k: "nan" if v == "NaN" else str(v) for k, v in summary.items()
    }
    assert [(a.name, a.type, a.digest, set(a.aliases), a.problem) for a in ours.artifacts] == [
        (a["name"], a["type"], a["digest"], set(a["aliases"]), "") for a in artifacts
    ]
    for mine, its in zip(ours.artifacts, artifacts, strict=True):
        assert [(f.path, f.digest, f.staged, f.ref, f.size) for f in mine.files] == [
            (e["path"], f"md5:{e['digest']}", e.get("local_path", ""), e.get("ref", ""), int(e.get("size", 0)))
            for e in its["manifest"]["contents"]
        ]
    assert not ours.damage


def test_a_long_log_without_an_end_gives_what_was_flushed(long: bytes) -> None:
    run = read(long)
    assert len(long) > BLOCK
    assert (run.glimpse.run_id, run.glimpse.exit_code, run.damage) == ("killed", None, "")
    assert run.summary["step"] == 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 3 * BLOCK), max_size=6), st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**31 - 1))
@example([BLOCK - len(MAGIC) - 7 - 20], 0, 0)
def test_records_of_every_size_and_place_in_the_blocks_are_read(sizes: list[int], code: int, runtime: int) -> None:
    records = [a_run()]
    for i, size in enumerate(sizes):
        item = pb.ConfigItem(key=f"k{i}", value_json=json.dumps("v" * size))
        records += [a_history("h" * size), pb.Record(config=pb.ConfigRecord(update=[item])).SerializeToString()]
    content = framed([*records, an_exit(code, runtime)])
    run = read(content)
    assert not run.damage
    assert {k: len(v) for k, v in run.config.items()} == {f"k{i}": size for i, size in enumerate(sizes)}
    assert (run.glimpse.exit_code, run.glimpse.runtime) == (code, runtime)
    assert glimpse(io.BytesIO(content)) == run.glimpse


@pytest.mark.parametrize("left", range(15))
def test_a_record_may_begin_in_the_last_bytes_of_a_block(left: int) -> None:
    """With exactly a header's room left, its first fragment holds nothing."""
    room = BLOCK - len(framed([a_run()])) - left
    filler = next(f for n in range(room - 7, 0, -1) if len(f := a_history("h" * n)) + 7 <= room)
    content = framed([a_run(), filler, an_exit(7)])
    assert read(content).glimpse.exit_code == 7
    assert glimpse(io.BytesIO(content)).exit_code == 7


def test_what_is_removed_or_renamed_later_counts() -> None:
    def config(*, update: dict[str, str] | None = None, remove: str = "") -> bytes:
        items = [pb.ConfigItem(key=k, value_json=v) for k, v in (update or {}).items()]
        gone = [pb.ConfigItem(key=remove)] if remove else []
        return bytes(pb.Record(config=pb.ConfigRecord(update=items, remove=gone)).SerializeToString())

    records = [a_run(display_name="old"), config(update={"a": "1", "b": "2"}), config(remove="a", update={"b": "3"})]
    run = read(framed([*records, a_run(display_name="new", tags=["t"])]))
    assert (run.config, run.name, run.tags) == ({"b": 3}, "new", ("t",))


def test_an_exit_long_before_the_last_blocks_is_found_when_the_whole_log_is_asked() -> None:
    content = framed([a_run(), an_exit(0), *(a_history("h" * 1000) for _ in range(100))])
    assert glimpse(io.BytesIO(content)).exit_code is None
    assert full_glimpse(io.BytesIO(content)).exit_code == 0


# -- torn and damaged -----------------------------------------------------------------------------------------------
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_a_log_torn_anywhere_gives_everything_before_the_tear(data: st.DataObject, real: bytes) -> None:
    cut = data.draw(st.integers(0, len(real) - 1))
    whole, torn = read(real), read(real[:cut])
    assert not torn.damage
    assert torn.glimpse.exit_code is None
    assert full_glimpse(io.BytesIO(real[:cut])).exit_code is None
    complete = [end for end in ends(real) if end <= cut]
    reader = LogReader(io.BytesIO(real[:cut]))
    list(reader.records(tuple(Kind)))
    assert reader.end == max(complete, default=len(MAGIC) if cut >= len(MAGIC) else 0)
    assert torn.artifacts == whole.artifacts[: len(torn.artifacts)]
    assert torn.artifacts == read(real[: max(complete, default=0)]).artifacts


def test_a_tear_keeps_each_artifact_whose_record_is_complete(real: bytes) -> None:
    numbers = [len(read(real[:end]).artifacts) for end in ends(real)]
    assert numbers == sorted(numbers)
    assert set(numbers) == {0, 1, 2, 3}


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_a_flipped_bit_is_never_a_log_that_ended_well(data: st.DataObject, real: bytes) -> None:
    position, bit = data.draw(st.integers(0, len(real) - 1)), data.draw(st.integers(0, 7))
    content = bytearray(real)
    content[position] ^= 1 << bit
    run, seen = read(bytes(content)), full_glimpse(io.BytesIO(content))
    assert run.damage or seen.exit_code is None
    assert run.artifacts == read(real).artifacts[: len(run.artifacts)]


def test_a_wrong_checksum_in_the_middle_is_told_with_its_place(real: bytes) -> None:
    second = ends(real)[1]
    content = bytearray(real)
    content[second + 10] ^= 1
    run = read(bytes(content))
    assert run.damage == f"its log is damaged at byte {second:,}: a record's checksum is wrong"
    assert run.glimpse.project == "credit"
    assert glimpse(io.BytesIO(content)).exit_code == 0


def test_a_lost_block_is_a_hole_also_when_what_follows_is_whole() -> None:
    records = [a_run(), *(a_history("h" * 5000) for _ in range(60)), an_exit()]
    content = bytearray(framed(records))
    content[2 * BLOCK : 3 * BLOCK] = bytes(BLOCK)
    run = read(bytes(content))
    assert "damaged at byte" in run.damage
    assert glimpse(io.BytesIO(content)).exit_code == 0


def test_zeros_at_the_end_are_a_tear_as_a_power_cut_leaves_it(real: bytes) -> None:
    torn = read(real[: ends(real)[-2]] + bytes(5000))
    assert (torn.damage, torn.glimpse.exit_code) == ("", None)
    assert torn.artifacts == read(real).artifacts


@pytest.mark.parametrize("content", [b"", b":W&", b"PK\x03\x04 something else", bytes(100), MAGIC])
def test_what_is_no_log_tells_nothing(content: bytes) -> None:
    run = read(content)
    assert not run.glimpse.whole
    assert run.glimpse.exit_code is None
    assert run.artifacts == ()


# -- forged ---------------------------------------------------------------------------------------------------------
@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=6), st.sampled_from(list(Kind)))
def test_whatever_a_record_holds_reading_ends_in_facts_or_in_damage(bodies: list[bytes], kind: Kind) -> None:
    wrapped = [bytes([kind << 3 | 2 & 0x7F] if kind < 16 else [kind << 3 & 0x7F | 0x80 | 2, 1]) for _ in bodies]
    records = [head + bytes([len(body)]) + body for head, body in zip(wrapped, bodies, strict=True)]
    for content in (framed(records), framed([a_run(), *bodies, an_exit()])):
        run = read(content)
        assert isinstance(run.damage, str)
        for artifact in run.artifacts:
            assert artifact.problem or artifact.files == ()


def test_a_record_without_a_beginning_is_damage() -> None:
    content = framed([a_run()]) + fragment(4, b"the end of nothing") + fragment(1, an_exit())
    assert "no beginning" in read(content).damage


def test_a_record_that_never_ends_is_cut_off_and_not_kept_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb_log, "MAX_RECORD", 1 << 20)
    item = pb.ConfigItem(key="k", value_json=json.dumps("v" * (4 << 20)))
    huge = bytes(pb.Record(config=pb.ConfigRecord(update=[item])).SerializeToString())
    run = read(framed([a_run(), huge, an_exit()]))
    assert "larger than 1,048,576 bytes" in run.damage
    assert run.config == {}


def test_records_that_nobody_asks_for_are_passed_over_in_little_memory() -> None:
    content = framed([a_run(), a_history("h" * (8 << 20)), an_exit()])
    source = io.BytesIO(content)
    tracemalloc.start()
    run = read_run(source)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert run.glimpse.exit_code == 0
    assert most < 1 << 20


def test_a_log_is_only_read_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    content = framed([a_run(), *(a_history("h" * 1000) for _ in range(100)), an_exit()])
    reader = LogReader(io.BytesIO(content), until=BLOCK)
    assert [kind for kind, _ in reader.records(tuple(Kind))] == [Kind.RUN]
    assert reader.stopped == f"it is longer than {BLOCK:,} bytes"


def test_too_many_entries_are_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb_records, "_MOST_ENTRIES", 10)
    items = [pb.ConfigItem(key=str(i), value_json="1") for i in range(11)]
    record = pb.Record(config=pb.ConfigRecord(update=items)).SerializeToString()
    assert "more than 10 entries" in read(framed([a_run(), record, an_exit()])).damage


def test_values_that_are_no_json_or_nested_without_end_are_left_out() -> None:
    items = [pb.ConfigItem(key="deep", value_json="[" * 100_000), pb.ConfigItem(key="bad", value_json="{")]
    items.append(pb.ConfigItem(key="good", value_json='"\\ud800"'))
    record = pb.Record(config=pb.ConfigRecord(update=items)).SerializeToString()
    run = read(framed([a_run(), record]))
    assert list(run.config) == ["good"]
    assert not run.damage


def artifact(name: str = "m", **about: Any) -> bytes:
    given_ = {"type": "model", "finalize": True, **about}
    return bytes(pb.Record(artifact=pb.ArtifactRecord(name=name, **given_)).SerializeToString())


def test_a_list_of_files_must_be_the_one_that_the_digest_names() -> None:
    entry = pb.ArtifactManifestEntry(path="model.joblib", digest="x", local_path="/x")
    record = artifact(digest="0" * 32, manifest=pb.ArtifactManifest(contents=[entry]))
    (found,) = read(framed([a_run(), record])).artifacts
    assert found.files == ()
    assert found.problem == "its list of files is not the one that its digest names"


def test_a_list_of_files_in_a_file_of_its_own_is_not_read() -> None:
    record = artifact(manifest=pb.ArtifactManifest(manifest_file_path="/etc/passwd"))
    (found,) = read(framed([a_run(), record])).artifacts
    assert "not read" in found.problem


def test_an_artifact_of_very_many_files_is_named_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb_records, "MOST_FILES", 100)
    entries = [pb.ArtifactManifestEntry(path=str(i)) for i in range(wandb_records.MOST_FILES + 1)]
    record = artifact(manifest=pb.ArtifactManifest(contents=entries))
    run = read(framed([a_run(), record, artifact("next")]))
    assert [(a.name, len(a.files)) for a in run.artifacts] == [("m", 0), ("next", 0)]
    assert "101 files; at most 100" in run.artifacts[0].problem


def test_very_many_artifacts_are_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb_records, "MOST_FILES", 100)
    run = read(framed([a_run(), *(artifact() for _ in range(wandb_records.MOST_FILES + 1))]))
    assert "more than 100 artifacts" in run.damage


# -- the wire format ------------------------------------------------------------------------------------------------
@settings(max_examples=50, deadline=None)
@given(st.integers(-(2**63), 2**63 - 1), st.text(max_size=40), st.lists(st.text(max_size=5), max_size=4))
def test_fields_are_those_that_protobuf_wrote(num: int, name: str, tags: list[str]) -> None:
    found = fields(pb.Record(num=num, uuid=name).SerializeToString())
    assert (number(found, 1), text(found, 19)) == (num, name)
    assert wandb_log.texts(fields(pb.RunRecord(tags=tags).SerializeToString()), 10) == tags


@pytest.mark.parametrize("message", [b"\x0a", b"\x0a\x05ab", b"\x08" + b"\xff" * 11, b"\x0b", b"\x0d\x01", b"\x80"])
def test_bytes_that_are_no_message_are_malformed(message: bytes) -> None:
    with pytest.raises(Malformed):
        fields(message)
