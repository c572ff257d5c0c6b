"""Manifests and digests, against the SDK's own; and manifests that no SDK writes."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.wandb_world import b64, manifest_digest

from venturalitica_agent.errors import AgentError, UntrustedInput
from venturalitica_agent.stores.wandb_artifacts import ArtifactFile, Damaged, check_file, parse_manifest

paths = st.lists(
    st.from_regex(r"[a-zA-Zé0-9_. -]{1,8}(/[a-z0-9]{1,4}){0,2}", fullmatch=True).filter(
        lambda p: p.split("/")[0].strip(". ") != ""
    ),
    min_size=0,
    max_size=6,
    unique=True,
).filter(lambda ps: not any(b.startswith(f"{a}/") for a in ps for b in ps))
digests = st.binary(min_size=16, max_size=16).map(lambda raw: base64.b64encode(raw).decode())


@settings(max_examples=30, deadline=None)
@given(paths, st.sampled_from(["md5", "xxh128"]), st.data())
def test_a_manifest_of_the_sdk_is_read_and_its_digest_is_ours(names: list[str], kind: str, data: Any) -> None:
    from wandb.sdk.artifacts._generated.enums import ArtifactDigestAlgorithm
    from wandb.sdk.artifacts.artifact_manifest_entry import ArtifactManifestEntry
    from wandb.sdk.artifacts.artifact_manifests.artifact_manifest_v1 import ArtifactManifestV1

    theirs = ArtifactManifestV1(digest_algorithm=ArtifactDigestAlgorithm(f"MANIFEST_{kind.upper()}"))
    for name in names:
        theirs.add_entry(ArtifactManifestEntry(path=name, digest=data.draw(digests), size=data.draw(st.integers(0, 9))))
    content = json.dumps(theirs.to_manifest_json()).encode()
    found = parse_manifest(content, theirs.digest(), "x")
    if names:  # without entries both kinds are the same but for the header's hash
        assert {f.path: f"{kind}:{theirs.entries[f.path].digest}" for f in found} == {f.path: f.digest for f in found}
    assert sorted(f.path for f in found) == sorted(names)
    assert [f.size for f in found] == [theirs.entries[f.path].size for f in found]


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=3000), st.sampled_from(["md5", "xxh128"]), st.data())
def test_files_are_hashed_as_the_sdk_hashes_them(tmp_path_factory: Any, content: bytes, kind: str, data: Any) -> None:
    from wandb.sdk.lib import hashutil

    path = tmp_path_factory.mktemp("file") / "x"
    path.write_bytes(content)
    digest = getattr(hashutil, f"{kind}_file_b64")(path)
    check_file(path, ArtifactFile("x", None, f"{kind}:{digest}"))
    if content:
        at = data.draw(st.integers(0, len(content) - 1))
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x01]) + content[at + 1 :])
        with pytest.raises(Damaged):
            check_file(path, ArtifactFile("x", len(content), f"{kind}:{digest}"))


def signed(contents: dict[str, Any]) -> tuple[bytes, str]:
    return json.dumps({"version": 1, "contents": contents}).encode(), manifest_digest("md5", contents)


ENTRY = {"digest": b64("md5", b"x"), "size": 1}


@pytest.mark.parametrize(
    "paths",
    [
        ["../../x"],
        ["a/../../x"],
        ["/etc/passwd"],
        ["a\\b"],
        ["a\nb"],
        ["a\u202eb"],
        [""],
        ["."],
        ["x" * 2000],
        ["a", "a/b"],
        ["a/b", "a//b"],
        ["./a"],
        ["a/./b"],
        ["a/"],
    ],
)
def test_manifests_with_hostile_paths_are_refused_as_a_whole(paths: list[str]) -> None:
    content, digest = signed(dict.fromkeys(["fine.csv", *paths], ENTRY))
    with pytest.raises(UntrustedInput):
        parse_manifest(content, digest, "evalset:v0")


def test_of_an_entry_that_is_there_twice_the_digest_decides() -> None:
    first, second = {"digest": b64("md5", b"1"), "size": 1}, {"digest": b64("md5", b"2"), "size": 1}
    text = f'{{"contents": {{"a": {json.dumps(first)}, "a": {json.dumps(second)}}}}}'.encode()
    (found,) = parse_manifest(text, manifest_digest("md5", {"a": second}), "x")
    assert found.digest == f"md5:{second['digest']}"
    with pytest.raises(Damaged):
        parse_manifest(text, manifest_digest("md5", {"a": first}), "x")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"null",
        b'{"contents": []}',
        b'{"contents": {"a": {}}}',
        b'{"contents": {"a": "x"}}',
        b'{"contents": null}',
        b"\xff\xfe",
        b'{"contents":' * 100_000,
    ],
)
def test_what_is_no_manifest_is_damaged(content: bytes) -> None:
    with pytest.raises(Damaged):
        parse_manifest(content, "0" * 32, "x")


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_no_byte_of_a_manifest_that_matters_changes_unseen(at: int, flip: int) -> None:
    content, digest = signed({"a.csv": ENTRY, "b.csv": {"digest": b64("md5", b"y"), "size": 1}})
    whole = parse_manifest(content, digest, "x")
    at %= len(content)
    try:
        found = parse_manifest(content[:at] + bytes([content[at] ^ flip]) + content[at + 1 :], digest, "x")
    except AgentError:
        return
    assert [(f.path, f.digest) for f in found] == [(f.path, f.digest) for f in whole]


def test_sizes_that_are_none_are_unsaid() -> None:
    contents = {"a": {**ENTRY, "size": -1}, "b": {**ENTRY, "size": "9"}, "c": {"digest": ENTRY["digest"]}}
    assert [f.size for f in parse_manifest(*signed(contents), "x")] == [None, None, None]


def test_the_manifest_file_is_hashed_from_disk(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    with pytest.raises(Damaged, match="1 bytes instead of 2"):
        check_file(tmp_path / "x", ArtifactFile("x", 2, f"md5:{b64('md5', b'y')}"))
