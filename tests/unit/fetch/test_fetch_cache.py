"""The cache keeps private, verified copies; evicts only what nobody uses; survives crashes and a second process."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import socket
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from venturalitica_agent.domain.subject import DataSubject, FileDigest, ModelSubject, Subject, files_digest
from venturalitica_agent.errors import RetryableError, UntrustedInput
from venturalitica_agent.fetch.cache import Cache, CacheMiss, Entry

MB = 1 << 20


def filler(files: Mapping[str, bytes]) -> Callable[[Path], None]:
    """A `fill` that writes these files."""

    def fill(folder: Path) -> None:
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)

    return fill


def put(cache: Cache, content: bytes, *, age: float = 0) -> Entry:
    """One entry with one file, last used `age` seconds ago."""
    entry = cache.add(filler({"data": content}), limit=10 * MB)
    os.utime(entry.path, (time.time() - age,) * 2)
    return entry


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", grace=60)


def test_entry_is_named_by_its_content(cache: Cache) -> None:
    """The digest is that of `sha256sum`'s list; the same content is one entry, other names are another."""
    entry = cache.add(filler({"b/model.pkl": b"x", "MLmodel": b"y"}), limit=MB)
    lines = f"{hashlib.sha256(b'y').hexdigest()}  MLmodel\n{hashlib.sha256(b'x').hexdigest()}  b/model.pkl\n"
    assert entry.digest == hashlib.sha256(lines.encode()).hexdigest() == entry.path.name
    assert entry.files == (
        FileDigest("MLmodel", 1, hashlib.sha256(b"y").hexdigest()),
        FileDigest("b/model.pkl", 1, hashlib.sha256(b"x").hexdigest()),
    )
    assert cache.add(filler({"MLmodel": b"y", "b/model.pkl": b"x"}), limit=MB) == entry
    assert cache.add(filler({"MLmodel": b"x", "b/model.pkl": b"y"}), limit=MB) != entry
    assert len(list((cache.root / "entries").iterdir())) == 2


def test_cache_is_private_and_entries_are_read_only(cache: Cache) -> None:
    """The root is 0700; files below can be read by the sandbox's user but written by nobody."""
    entry = put(cache, b"x")
    assert stat.S_IMODE(cache.root.stat().st_mode) == 0o700
    assert stat.S_IMODE((cache.root / "entries").stat().st_mode) == 0o700
    assert stat.S_IMODE(entry.path.stat().st_mode) == 0o755
    assert stat.S_IMODE((entry.path / "data").stat().st_mode) == 0o444


def test_nothing_is_left_in_staging(cache: Cache) -> None:
    """Neither success nor a failing fill leaves a partial copy."""
    put(cache, b"x")

    def fail(folder: Path) -> None:
        (folder / "part").write_bytes(b"x")
        raise UntrustedInput("no")

    with pytest.raises(UntrustedInput):
        cache.add(fail, limit=MB)
    assert list((cache.root / "staging").iterdir()) == []
    assert len(list((cache.root / "entries").iterdir())) == 1


def _symlink(folder: Path) -> None:
    (folder / "data").symlink_to("/etc/passwd")


def _folder_link(folder: Path) -> None:
    (folder / "data").symlink_to("/etc")


def _fifo(folder: Path) -> None:
    os.mkfifo(folder / "data")


def _socket(folder: Path) -> None:
    where = os.open(folder, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"/proc/self/fd/{where}/data")
    os.close(where)


def _hard_link(folder: Path) -> None:
    outside = folder.parents[2] / "outside"
    outside.write_bytes(b"can change")
    os.link(outside, folder / "data")


def _newline(folder: Path) -> None:
    (folder / "a\nb").write_bytes(b"x")


def _not_unicode(folder: Path) -> None:
    (folder / os.fsdecode(b"\xff")).write_bytes(b"x")


@pytest.mark.parametrize("fill", [_symlink, _folder_link, _fifo, _socket, _hard_link, _newline, _not_unicode])
def test_anything_but_a_plain_file_is_refused(cache: Cache, fill: Callable[[Path], None]) -> None:
    """Links, pipes and hostile names are refused without hanging, and leave nothing."""
    with pytest.raises(UntrustedInput):
        cache.add(fill, limit=MB)
    assert list((cache.root / "entries").iterdir()) == []


def test_device_is_refused(cache: Cache) -> None:
    """A device node is refused; where we may not make one, /dev/null through a link is."""

    def fill(folder: Path) -> None:
        try:
            os.mknod(folder / "data", stat.S_IFCHR | 0o600, os.makedev(1, 5))
        except PermissionError:
            (folder / "data").symlink_to("/dev/zero")

    with pytest.raises(UntrustedInput, match="regular file"):
        cache.add(fill, limit=MB)


def test_too_large_is_refused(cache: Cache) -> None:
    """The limit counts all files together."""
    with pytest.raises(UntrustedInput, match="at most 10"):
        cache.add(filler({"a": b"123456", "b": b"123456"}), limit=10)


def test_evicts_what_was_used_longest_ago(tmp_path: Path) -> None:
    """Over the limit the oldest go first, until the rest fits."""
    cache = Cache(tmp_path / "cache", limit=2 * MB + 100, grace=60)
    old, middle, new = (put(cache, bytes([i]) * MB, age=a) for i, a in ((1, 3000), (2, 2000), (3, 1000)))
    cache.evict()
    assert not old.path.exists()
    assert middle.path.exists()
    assert new.path.exists()


def test_using_an_entry_makes_it_young(tmp_path: Path) -> None:
    """A hit counts as use."""
    cache = Cache(tmp_path / "cache", limit=MB + 100, grace=60)
    old, newer = put(cache, b"1" * MB, age=3000), None
    with cache.lease(old.digest):
        pass
    newer = put(cache, b"2" * MB, age=1000)
    cache.evict()
    assert old.path.exists()
    assert not newer.path.exists()


def test_young_entries_are_never_evicted(tmp_path: Path) -> None:
    """What was handed out within the grace period stays, even above the limit."""
    cache = Cache(tmp_path / "cache", limit=1, grace=60)
    entry = put(cache, b"x" * MB)
    cache.evict()
    assert entry.path.exists()


def test_leased_entry_is_never_evicted(tmp_path: Path) -> None:
    """A lease holds an entry of any age; after it the entry may go."""
    cache = Cache(tmp_path / "cache", limit=1, grace=0)
    with cache.lease(put(Cache(cache.root), b"x" * MB).digest) as entry:
        os.utime(entry.path, (1, 1))
        cache.evict()
        assert (entry.path / "data").read_bytes() == b"x" * MB
    cache.evict()
    assert not entry.path.exists()
    with pytest.raises(CacheMiss), cache.lease(entry.digest):
        pass


def _hold(root: Path, digest: str, ready: object, release: object) -> None:
    with Cache(root).lease(digest):
        ready.set()  # type: ignore[attr-defined]
        release.wait(30)  # type: ignore[attr-defined]


def test_lease_of_another_process_is_respected_and_ends_with_it(tmp_path: Path) -> None:
    """The kernel keeps the lease while the other process lives, and drops it when it is killed."""
    entry = put(Cache(tmp_path / "cache"), b"x" * MB)
    context = multiprocessing.get_context("fork")
    ready, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path / "cache", entry.digest, ready, release))
    other.start()
    assert ready.wait(20)
    os.utime(entry.path, (1, 1))
    greedy = Cache(tmp_path / "cache", limit=1, grace=0)
    greedy.evict()
    assert entry.path.exists()
    other.kill()
    other.join()
    greedy.evict()
    assert not entry.path.exists()


def _crash_while_filling(root: Path) -> None:
    def fill(folder: Path) -> None:
        (folder / "part").write_bytes(b"x" * MB)
        os._exit(1)

    Cache(root).add(fill, limit=10 * MB)


def test_leftovers_of_a_crash_are_removed_at_start(tmp_path: Path) -> None:
    """A partial copy of a dead process is no entry and goes when the cache is opened; one being made stays."""
    root = tmp_path / "cache"
    crash = multiprocessing.get_context("fork").Process(target=_crash_while_filling, args=(root,))
    crash.start()
    crash.join()
    assert len(list((root / "staging").iterdir())) == 1
    assert list((root / "entries").iterdir()) == []

    def fill(folder: Path) -> None:
        (folder / "data").write_bytes(b"mine")
        Cache(root)

    cache = Cache(root)
    assert list((root / "staging").iterdir()) == []
    assert (cache.add(fill, limit=MB).path / "data").read_bytes() == b"mine"


def _add_many(root: Path, start: object) -> None:
    start.wait()  # type: ignore[attr-defined]
    cache = Cache(root, limit=3000, grace=0)
    for i in range(30):
        entry = cache.add(filler({"data": bytes([i % 7]) * 1000}), limit=MB)
        try:
            with cache.lease(entry.digest) as held:
                assert (held.path / "data").read_bytes() == bytes([i % 7]) * 1000
        except CacheMiss:
            continue


def test_two_processes_add_lease_and_evict_at_once(tmp_path: Path) -> None:
    """Every entry is complete or absent, whoever was faster."""
    context = multiprocessing.get_context("fork")
    start = context.Barrier(3)
    workers = [context.Process(target=_add_many, args=(tmp_path / "cache", start)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [w.exitcode for w in workers] == [0, 0, 0]
    for entry in (tmp_path / "cache" / "entries").iterdir():
        content = (entry / "data").read_bytes()
        assert files_digest([FileDigest("data", 1000, hashlib.sha256(content).hexdigest())]) == entry.name


def test_damage_is_noticed_and_repaired(cache: Cache) -> None:
    """A changed entry is not handed out; adding the content again replaces it."""
    entry = put(cache, b"right")
    (entry.path / "data").chmod(0o600)
    (entry.path / "data").write_bytes(b"wrong")
    with pytest.raises(CacheMiss, match="damaged"), cache.lease(entry.digest):
        pass
    assert put(cache, b"right") == entry
    with cache.lease(entry.digest) as again:
        assert (again.path / "data").read_bytes() == b"right"


def test_extra_file_in_an_entry_is_damage(cache: Cache) -> None:
    """An entry holds exactly its files."""
    entry = put(cache, b"right")
    (entry.path / "sitecustomize.py").write_bytes(b"evil")
    with pytest.raises(CacheMiss), cache.lease(entry.digest):
        pass


def test_use_holds_model_and_data(cache: Cache) -> None:
    """`use` leases whatever a subject points at, and tells when something of it is gone."""
    model, table = cache.add(filler({"MLmodel": b"m"}), limit=MB), put(cache, b"a,b\n")
    subject = Subject(
        ModelSubject("m", str(model.path), model.digest, model.files, "sklearn", "model.pkl", "pickle"),
        {"evaluation": DataSubject("d", str(table.path / "data"), "csv", "", table.files[0], ("a", "b"), 0)},
    )
    greedy = Cache(cache.root, limit=1, grace=0)
    with cache.use(subject):
        greedy.evict()
        assert model.path.exists()
        assert table.path.exists()
    greedy.evict()
    with pytest.raises(CacheMiss), cache.use(subject):
        pass


def test_disk_trouble_is_retryable(cache: Cache) -> None:
    """A full disk is a reason to try later, not a verdict."""

    def fill(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(RetryableError, match="No space left"):
        cache.add(fill, limit=MB)
