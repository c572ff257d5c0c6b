"""Archives that no export wrote: refused before they do anything."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import pytest

from venturalitica_verify.archive import is_archive, unpacked, verify_archive
from venturalitica_verify.outcome import Broken, Outcome, exit_code


def archive(path: Path, *entries: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in entries:
            packed.writestr(name, content)
    return path


def link(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return entry


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([("../outside", b"x")], "no name"),
        ([("/etc/outside", b"x")], "no name"),
        ([("a/../../outside", b"x")], "no name"),
        ([("a//b", b"x")], "no name"),
        ([("a\\..\\b", b"x")], "no name"),
        ([("a\x1b[31m", b"x")], "no name"),
        ([("folder/", b"")], "no name"),
        ([(link("evidence.json"), b"/etc/passwd")], "no plain file"),
        ([("a", b"1"), ("a", b"2")], "twice"),
        ([("a", b"1"), ("a/b", b"2")], "can't be unpacked"),
        ([("bomb", bytes(100 << 20))], "far more"),
        ([(f"bomb{n}", bytes(10 << 20)) for n in range(9)], "far more"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_what_no_export_writes_is_not_unpacked(
    tmp_path: Path, entries: list[tuple[str | zipfile.ZipInfo, bytes]], words: str
) -> None:
    path = archive(tmp_path / "a.zip", *entries)
    with pytest.raises(Broken, match=words), unpacked(path):
        pytest.fail("it was unpacked")
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]
    (check,) = verify_archive(path, [])[str(path)]
    assert check.outcome is Outcome.FAIL


def test_a_file_that_is_no_archive_or_a_damaged_one_is_told(tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_text("not packed")
    assert not is_archive(tmp_path / "text.zip")
    path = archive(tmp_path / "a.zip", ("a", bytes(range(256)) * 40))
    whole = path.read_bytes()
    at = whole.index(b"a", 30) + 20
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
    with pytest.raises(Broken, match="unpacked"), unpacked(path):
        pytest.fail("it was unpacked")


def test_an_archive_of_nothing_is_not_called_checked(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", ("README.txt", b"hello"))
    assert exit_code(check for checks in verify_archive(path, []).values() for check in checks) == 1
