"""An archive that `venturalitica-agent export` wrote: unpacked with bounds, and held to its own lists."""

from __future__ import annotations

import re
import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

from venturalitica_verify.bundle import attempt
from venturalitica_verify.folder import find_bundles
from venturalitica_verify.log import read_log
from venturalitica_verify.outcome import Broken, Check, Outcome
from venturalitica_verify.paths import verify_log, verify_path
from venturalitica_verify.strict import read_json

INDEX, SUMS, RUNS, LOG = "index.json", "SHA256SUMS", "runs", "log"
SCHEMA = "venturalitica.export/1"
_MOST_FILES = 2_000_000
_MOST_OF_ONE = 256 << 20  # bytes; an index of a million verdicts
_SWELLS = 200  # times the archive's own size: text of evidence packs to a tenth, a bomb to a thousandth
_ALLOWANCE = 64 << 20
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def is_archive(path: Path) -> bool:
    return path.is_file() and zipfile.is_zipfile(path)


def verify_archive(
    path: Path,
    keys: Sequence[bytes],
    authorities: Sequence[bytes] = (),
    *,
    also: Callable[[Path], Sequence[Check]] = lambda _: (),
) -> dict[str, list[Check]]:
    """The checks of an archive, of the log in it and of each bundle in it, by names that begin with its path.

    Args:
        also: what else is checked of each bundle's folder.
    """
    try:
        with unpacked(path) as folder:
            bundles = find_bundles(folder / RUNS)
            found = verify_path(folder / RUNS, keys, folder / LOG, authorities)
            for bundle in bundles:
                found[str(bundle)] += also(bundle)
            if not bundles:
                found |= verify_log(folder / LOG, keys)
            listed = [attempt("files", partial(_check_sums, folder)), *_check_index(folder)]
            inside = {f"{path}: {Path(name).relative_to(folder).as_posix()}": each for name, each in found.items()}
    except Broken as error:
        return {str(path): [Check("archive", Outcome.FAIL, str(error))]}
    return {str(path): listed, **inside}


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """A temporary folder with what is in the archive.

    Raises:
        Broken: it is no archive, or holds what no export writes: a link, a path that leads elsewhere, a name twice, or
            far more than its size allows.
    """
    with tempfile.TemporaryDirectory(prefix="venturalitica-") as name:
        folder = Path(name, "archive")
        folder.mkdir()
        try:
            with zipfile.ZipFile(path) as archive:
                _unpack(archive, folder, limit=_SWELLS * path.stat().st_size + _ALLOWANCE)
        except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError) as error:
            raise Broken(f"it can't be unpacked: {error}") from error
        except OSError as error:
            raise Broken(f"it can't be unpacked: {error.strerror or error}") from error
        yield folder


def _unpack(archive: zipfile.ZipFile, folder: Path, *, limit: int) -> None:
    seen: set[str] = set()
    for entry in archive.infolist():
        name = PurePosixPath(entry.filename)
        odd = name.is_absolute() or ".." in name.parts or "\\" in entry.filename or str(name) != entry.filename
        if odd or not entry.filename.isprintable() or entry.is_dir():
            raise Broken(f"{entry.filename!r} is no name that an export gives to a file"[:200])
        if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
            raise Broken(f"{entry.filename} is no plain file")
        if entry.filename in seen:
            raise Broken(f"{entry.filename} is in it twice")
        seen.add(entry.filename)
        limit -= entry.file_size
        if limit < 0 or entry.file_size > _MOST_OF_ONE or len(seen) > _MOST_FILES:
            raise Broken("it would unpack to far more than its size lets one expect")
        target = folder.joinpath(*name.parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(entry) as packed, target.open("xb") as file:
            content = packed.read(entry.file_size + 1)  # which also checks the CRC at the end
            if len(content) != entry.file_size:
                raise Broken(f"{entry.filename} is not as long as the archive says")
            file.write(content)


def _check_sums(folder: Path) -> str:
    """Every file is listed with its digest, and every file that is listed is there."""
    listed: dict[str, str] = {}
    for line in _content(folder, SUMS).decode("utf-8", "replace").splitlines():
        found = _LINE.fullmatch(line)
        if found is None or found[2] in listed:
            raise Broken(f"{SUMS} has a line that is none of its own: {line[:100]}")
        listed[found[2]] = found[1]
    there = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    del there[SUMS]
    if missing := sorted(listed.keys() - there.keys()):
        raise Broken(f"{missing[0]} is listed and missing")
    if added := sorted(there.keys() - listed.keys()):
        raise Broken(f"{added[0]} is in it and not listed")
    for name, path in there.items():
        if sha256(path.read_bytes()).hexdigest() != listed[name]:
            raise Broken(f"{name} is not what {SUMS} says")
    return f"{len(there)} files are what {SUMS} says"


def _check_index(folder: Path) -> list[Check]:
    """What the index says is in it is there; what it says is missing can't be checked; and nothing else is missing."""
    try:
        index = _read_index(folder)
        verdicts = [(run, verdict) for run in index["runs"] for verdict in run["verdicts"]]
        missing = [f"{v['evidence']} of run {r['run_id']}: {v['problem']}" for r, v in verdicts if v.get("problem")]
        checks = [attempt("index", partial(_check_listed, folder, verdicts))]
        checks.append(attempt("complete", partial(_check_complete, folder, index, verdicts)))
    except Broken as error:
        return [Check("index", Outcome.FAIL, str(error))]
    except (KeyError, TypeError, AttributeError) as error:
        return [Check("index", Outcome.FAIL, f"{INDEX} lacks what an index says: {error}")]
    for words in missing:
        checks.append(Check("evidence", Outcome.NOT_CHECKABLE, f"it was not there when this was exported: {words}"))
    return checks


def _read_index(folder: Path) -> Mapping[str, Any]:
    index = read_json(_content(folder, INDEX), INDEX)
    if not isinstance(index, dict) or index.get("schema") != SCHEMA:
        raise Broken(f"{INDEX} is not an index of the form {SCHEMA}")
    return index


_Verdicts = Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]


def _check_listed(folder: Path, verdicts: _Verdicts) -> str:
    there = {found.relative_to(folder).as_posix() for found in find_bundles(folder / RUNS)}
    listed = {verdict["folder"]: (run, verdict) for run, verdict in verdicts if not verdict.get("problem")}
    if there != listed.keys():
        raise Broken(f"{sorted(there ^ listed.keys())[0]}: either it is there or {INDEX} lists it, not both")
    for place, (run, verdict) in listed.items():
        content = _content(folder, f"{place}/evidence.json")
        if sha256(content).hexdigest() != verdict["evidence_digest"]:
            raise Broken(f"{place} is not the evidence that {INDEX} names")
        evidence = read_json(content, f"{place}/evidence.json")
        told = (run["run_id"], run["store"], verdict["status"], f"{verdict['policy']}@{verdict['version']}")
        policy = f"{evidence['policy']['id']}@{evidence['policy']['version']}"
        if told != (evidence["run"]["run_id"], evidence["run"]["store"], evidence["verdict"]["status"], policy):
            raise Broken(f"{INDEX} tells another verdict than {place}")
    return f"{len(listed)} verdicts are told as their evidence has them"


def _check_complete(folder: Path, index: Mapping[str, Any], verdicts: _Verdicts) -> str | Check:
    """Of an export of everything: each verdict in the log is in the index."""
    if index["scope"] != {"everything": True}:
        return Check("complete", Outcome.NOT_CHECKABLE, "only an export of everything can be held to the log", False)
    listed = {(r["store"], r["run_id"], v["evidence_digest"]) for r, v in verdicts}
    owned = {(u["store"], u["run_id"], u["evidence_digest"]) for u in index["unpublished"]}
    logged = [read_json(entry, "an entry of the log") for entry in read_log(folder / LOG).entries]
    given = [e for e in logged if e["kind"] == "verdict"]
    newest = {(e["store"], e["run_id"], e["policy"].partition("@")[0]): e["evidence"] for e in given}
    absent = {(store, run_id, digest) for (store, run_id, _), digest in newest.items()} - listed
    for _, run_id, digest in sorted(absent - owned):
        raise Broken(f"the log has a verdict about run {run_id} (evidence {digest[:16]}…) that is not in here")
    if absent:
        words = f"{len(absent)} verdicts in the log were not on their runs when this was exported; {INDEX} says which"
        return Check("complete", Outcome.NOT_CHECKABLE, words)
    return f"the last verdict that the log has about each of {len(newest)} runs and policies is in here"


def _content(folder: Path, name: str) -> bytes:
    path = folder.joinpath(*PurePosixPath(name).parts)
    if not path.is_file():
        raise Broken(f"there is no {name}")
    return path.read_bytes()
