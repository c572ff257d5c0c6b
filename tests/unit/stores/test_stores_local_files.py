"""Files that somebody else may write: hostile names, links on every level, things that are not files, bounds."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from venturalitica_agent.errors import AgentError, PermanentError, StoreUnavailable, UntrustedInput
from venturalitica_agent.stores import local_files
from venturalitica_agent.stores.local_files import (
    copy_regular,
    inside,
    list_regular,
    local_path,
    read_regular,
    safe_relative,
    write_regular,
)


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "/",
        "/etc/passwd",
        "//etc/passwd",
        "..",
        "../x",
        "a/..",
        "a/../../b",
        "a\\b",
        "..\\b",
        "a\x00b",
        "a\nb",
        "a\rb",
        "a\tb",
        "a\x1b[31mb",
        "a\x7fb",
        "a\x85b",
        "a\u2028b",
        "a\u2029b",
        "a\u202eb",
        "a\u200bb",
        "a\ufeffb",
        "a\ud800b",
        "x" * 1025,
        "a/" * 600,
    ],
)
def test_hostile_paths_are_refused(path: str) -> None:
    with pytest.raises(UntrustedInput):
        safe_relative(path)


@pytest.mark.parametrize(
    ("path", "plain"), [("a", "a"), ("a/b.csv", "a/b.csv"), ("./a//b/.", "a/b"), ("..a/b..", "..a/b.."), ("é ☃", "é ☃")]
)
def test_harmless_paths_are_kept(path: str, plain: str) -> None:
    assert str(safe_relative(path)) == plain


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("/a/b", "/a/b"),
        ("./a", "a"),
        ("mlruns", "mlruns"),
        ("file:///a%20b/c", "/a b/c"),
        ("file://localhost/a", "/a"),
        ("file:/a", "/a"),
    ],
)
def test_local_locations(uri: str, path: str) -> None:
    assert local_path(uri) == Path(path)


@pytest.mark.parametrize("uri", ["s3://bucket/a", "http://host/a", "mlflow-artifacts:/0/a", "dbfs:/a", "sqlite:///a"])
def test_locations_elsewhere_are_not_local(uri: str) -> None:
    assert local_path(uri) is None


@pytest.mark.parametrize("uri", ["", "file://other-host/a"])
def test_locations_that_mean_nothing_here_are_refused(uri: str) -> None:
    with pytest.raises(UntrustedInput):
        local_path(uri)


def test_a_location_outside_the_roots_is_refused_with_a_remedy(tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "root-not"
    root.mkdir()
    other.mkdir()
    (root / "link").symlink_to(other)
    assert inside(root / "x", [root]) == root / "x"
    for path in (other, root / ".." / "root-not", root / "link", Path("/")):
        with pytest.raises(UntrustedInput, match="outside the folders") as caught:
            inside(path, [root])
        assert "artifacts:" in caught.value.remedy
    assert inside(root / "link" / "x", [root, other]) == other / "x"
    with pytest.raises(UntrustedInput, match="none"):
        inside(root, [])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "artifacts"
    (root / "data").mkdir(parents=True)
    (root / "data" / "test.csv").write_bytes(b"a,b\n")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "test.csv").write_bytes(b"secret")
    return root


def names(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir()]


def everything_refuses(root: Path, path: str, kind: type[AgentError], tmp_path: Path) -> None:
    with pytest.raises(kind):
        read_regular(root, path)
    with pytest.raises(kind):
        copy_regular(root, path, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_link_as_the_file_is_refused(root: Path, tmp_path: Path) -> None:
    (root / "data" / "link.csv").symlink_to(tmp_path / "secret" / "test.csv")
    everything_refuses(root, "data/link.csv", UntrustedInput, tmp_path)


def test_a_link_as_a_folder_on_the_way_is_refused(root: Path, tmp_path: Path) -> None:
    (root / "linked").symlink_to(tmp_path / "secret")
    (root / "data" / "deeper").symlink_to(tmp_path / "secret")
    everything_refuses(root, "linked/test.csv", UntrustedInput, tmp_path)
    everything_refuses(root, "data/deeper/test.csv", UntrustedInput, tmp_path)


def test_a_link_inside_the_root_to_the_root_is_refused_too(root: Path, tmp_path: Path) -> None:
    (root / "self").symlink_to(root)
    everything_refuses(root, "self/data/test.csv", UntrustedInput, tmp_path)
    with pytest.raises(UntrustedInput):
        list(list_regular(root))


def test_a_pipe_is_refused_without_waiting_for_a_writer(root: Path, tmp_path: Path) -> None:
    os.mkfifo(root / "pipe")
    done = threading.Event()

    def ask() -> None:
        everything_refuses(root, "pipe", UntrustedInput, tmp_path)
        done.set()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(5)
    assert done.is_set()
    with pytest.raises(UntrustedInput):
        list(list_regular(root))


def test_devices_folders_and_sockets_are_not_files(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UntrustedInput):
        read_regular(Path("/dev"), "zero")
    with pytest.raises(UntrustedInput):
        list(list_regular(Path("/dev")))
    everything_refuses(root, "data", UntrustedInput, tmp_path)
    everything_refuses(root, "data/test.csv/x", UntrustedInput, tmp_path)


def test_what_is_not_there_is_said_to_be_not_there(root: Path, tmp_path: Path) -> None:
    everything_refuses(root, "data/none.csv", PermanentError, tmp_path)
    everything_refuses(root / "nowhere", "x", PermanentError, tmp_path)
    everything_refuses(root, "n" * 300, PermanentError, tmp_path)


def test_the_size_cap_is_exact(root: Path, tmp_path: Path) -> None:
    (root / "ten").write_bytes(b"0123456789")
    assert read_regular(root, "ten", 10) == b"0123456789"
    copy_regular(root, "ten", tmp_path / "deep" / "er" / "ten", 10)
    assert (tmp_path / "deep" / "er" / "ten").read_bytes() == b"0123456789"
    with pytest.raises(UntrustedInput, match="larger than 9"):
        read_regular(root, "ten", 9)
    with pytest.raises(UntrustedInput, match="larger than 9"):
        copy_regular(root, "ten", tmp_path / "nine", 9)


def test_an_endless_file_ends_at_the_cap(root: Path, tmp_path: Path) -> None:
    with (root / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UntrustedInput, match="larger"):
        copy_regular(root, "sparse", tmp_path / "x", 5_000_000)
    assert (tmp_path / "x").stat().st_size <= 5_000_000


def test_files_are_listed_without_those_still_being_written(root: Path) -> None:
    (root / "data" / ".artifact.uploading.test.csv.1234").write_bytes(b"half")
    (root / ".venturalitica.0123").write_bytes(b"half")
    (root / "top").write_bytes(b"22")
    assert dict(list_regular(root)) == {"data/test.csv": 4, "top": 2}


def test_a_listing_is_bounded(root: Path) -> None:
    for i in range(20):
        (root / f"{i}").touch()
    with pytest.raises(UntrustedInput, match="more than 10 files"):
        list(list_regular(root, limit=10))


def test_a_hostile_name_in_a_listing_is_refused(root: Path) -> None:
    (root / "data" / "a\nb").touch()
    with pytest.raises(UntrustedInput):
        list(list_regular(root))


def test_a_name_that_is_no_text_is_refused(root: Path) -> None:
    os.close(os.open(os.fsencode(root) + b"/\xff\xfe", os.O_CREAT | os.O_WRONLY))
    with pytest.raises(UntrustedInput):
        list(list_regular(root))


def test_writing_makes_folders_and_replaces_whole_files(root: Path) -> None:
    write_regular(root, "venturalitica/p/a/evidence.json", b"one")
    write_regular(root, "venturalitica/p/a/evidence.json", b"two")
    assert (root / "venturalitica" / "p" / "a" / "evidence.json").read_bytes() == b"two"
    assert names(root / "venturalitica" / "p" / "a") == ["evidence.json"]


def test_a_file_name_as_long_as_the_system_allows(root: Path) -> None:
    name = "é" * 127
    write_regular(root, name, b"x")
    assert read_regular(root, name) == b"x"


def test_nothing_is_written_through_a_link(root: Path, tmp_path: Path) -> None:
    (root / "folder").symlink_to(tmp_path / "secret")
    with pytest.raises(UntrustedInput):
        write_regular(root, "folder/new", b"x")
    (root / "file").symlink_to(tmp_path / "secret" / "test.csv")
    write_regular(root, "file", b"ours")
    assert (tmp_path / "secret" / "test.csv").read_bytes() == b"secret"
    assert not (root / "file").is_symlink()
    assert names(tmp_path / "secret") == ["test.csv"]


def test_nothing_is_written_into_a_hard_linked_file(root: Path, tmp_path: Path) -> None:
    os.link(tmp_path / "secret" / "test.csv", root / "evidence.json")
    write_regular(root, "evidence.json", b"ours")
    assert (tmp_path / "secret" / "test.csv").read_bytes() == b"secret"


def test_a_full_disk_may_pass_and_leaves_nothing_behind(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(local_files.os, "fsync", full)
    with pytest.raises(StoreUnavailable, match="No space left"):
        write_regular(root, "evidence.json", b"x")
    assert names(root) == ["data"]


def test_a_forbidden_folder_is_said_with_a_remedy(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def forbidden(path: str, *args: int, **more: int) -> int:
        if path == "data":
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *args, **more)

    monkeypatch.setattr(local_files.os, "open", forbidden)
    with pytest.raises(PermanentError) as caught:
        read_regular(root, "data/test.csv")
    assert "right" in caught.value.remedy
