"""Publishes the log as files that nobody has to ask us for, in a folder that may be served, mirrored or kept in Git.

Whoever keeps a copy holds us to it: a log that was written anew did not grow from there.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import uuid4

from venturalitica_agent.agent import keys_folder
from venturalitica_agent.attest.keys import Keys
from venturalitica_agent.domain import merkle
from venturalitica_agent.domain.tiles import WIDTH, entry_bundle, tiles
from venturalitica_agent.errors import ConfigError, PermanentError
from venturalitica_agent.settings import Settings
from venturalitica_agent.state.log import Log, LogEntry
from venturalitica_agent.state.opening import open_state
from venturalitica_agent.stores.opening import open_mlflow
from venturalitica_verify.log import read_log
from venturalitica_verify.notes import read_checkpoint
from venturalitica_verify.outcome import Broken

HEAD, KEYS = "checkpoint", "keys"
_SECONDS = 60


class LogRewritten(PermanentError):
    """What was published is not the beginning of the log that is here."""


def export_log(settings: Settings, folder: Path, *, commit: bool = False) -> tuple[int, int]:
    """Bring a folder up to date; returns how many entries it had and how many it has.

    The head is written last: who reads meanwhile reads the log as it was before.

    Args:
        commit: record the change in the Git repository that the folder is in.

    Raises:
        LogRewritten: the folder holds a log that is not the beginning of this one.
        ConfigError: there is no log yet, the folder can't be written, or it is in no Git repository.
    """
    entries = log_entries(settings)
    before = _published(folder, entries)
    try:
        for path, content in log_files(settings, entries):
            _write(folder / path, content)
    except OSError as error:
        raise ConfigError(
            f"the log can't be written there: {error.strerror}",
            subject=str(folder),
            remedy="name a folder that this user may write",
        ) from error
    if commit:
        _commit(folder, f"Log of {len(entries)} entries")
    return before, len(entries)


def publish_head(settings: Settings, experiment: str) -> dict[str, int]:
    """Set the log's signed head as a tag of an experiment, beside the earlier ones, in every MLflow store.

    Returns:
        Store's URI -> how many earlier heads were there, all of them heads of this log when it was smaller.

    Raises:
        LogRewritten: one of them isn't. StoreUnavailable: a store doesn't answer.
        ConfigError: there is no log yet, or no MLflow store.
    """
    entries = log_entries(settings)
    now = read_checkpoint(entries[-1].checkpoint)
    leaves = [merkle.leaf_hash(entry.content) for entry in entries]
    found = {}
    for given in settings.stores:
        if given.kind != "mlflow":
            continue
        store = open_mlflow(given.uri, roots=given.artifacts, ui=given.ui)
        earlier = [text for name, text in store.notes(experiment).items() if name.startswith(f"{now.origin}:")]
        for text in earlier:
            _check_head(text, now.origin, leaves, f"experiment {experiment} of {store.uri}")
        store.note(experiment, f"{now.origin}:{now.size}", entries[-1].checkpoint)
        found[store.uri] = len(earlier)
    if not found:
        raise ConfigError("there is no MLflow store in agent.yaml", remedy="`log export` writes the log into a folder")
    return found


def log_entries(settings: Settings) -> Sequence[LogEntry]:
    """The whole log of this state. Raises ConfigError when it is empty."""
    engine = open_state(settings.state)
    try:
        entries = tuple(Log(engine).entries())
    finally:
        engine.dispose()
    if not entries:
        raise ConfigError("the log has no entry yet", remedy="the first `venturalitica-agent run` or `audit` begins it")
    return entries


def _check_head(text: str, origin: str, leaves: Sequence[bytes], where: str) -> None:
    """Raises LogRewritten unless a published head is one of the tree over these leaves when it was smaller."""
    try:
        head = read_checkpoint(text)
    except Broken as error:
        raise _rewritten(f"a head that was published there is damaged: {error}", where) from error
    grown = 0 < head.size <= len(leaves) and merkle.tree_root(leaves[: head.size]) == head.root
    if not grown or head.origin != origin:
        words = f"a head of {head.size} entries that was published there is not one of the log here, which has "
        raise _rewritten(f"{words}{len(leaves)}", where)


def _rewritten(what: str, where: str) -> LogRewritten:
    remedy = "if this state was restored from a backup, say so to whoever keeps copies; else history was changed"
    return LogRewritten(what, subject=where, remedy=remedy)


def _published(folder: Path, entries: Sequence[LogEntry]) -> int:
    """How many entries the folder has, after making sure that they are the first ones of these."""
    if not (folder / HEAD).exists():
        return 0
    try:
        there = read_log(folder)
    except Broken as error:
        raise LogRewritten(
            f"the log that was published there is damaged: {error}",
            subject=str(folder),
            remedy="keep that folder as it is, and publish to another one",
        ) from error
    leaves = [merkle.leaf_hash(entry.content) for entry in entries]
    _check_head((folder / HEAD).read_text(), read_checkpoint(entries[-1].checkpoint).origin, leaves, str(folder))
    return there.checkpoint.size


def log_files(settings: Settings, entries: Sequence[LogEntry]) -> Iterator[tuple[str, bytes]]:
    """What a published log consists of, by path, its head last."""
    leaves = [merkle.leaf_hash(entry.content) for entry in entries]
    yield from tiles(leaves)
    for start in range(0, len(entries), WIDTH):
        yield entry_bundle(start // WIDTH, [entry.content for entry in entries[start : start + WIDTH]])
    for name, text in Keys(keys_folder(settings)).public().items():
        yield f"{KEYS}/{name}.pub", text.encode()
    yield HEAD, entries[-1].checkpoint.encode()


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all; what is there as it should be stays."""
    if path.is_file() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    unfinished.write_bytes(content)
    os.replace(unfinished, path)  # noqa: PTH105 - Path.replace is the same and says less


def _commit(folder: Path, message: str) -> None:
    def git(*words: str) -> int:
        command = ["git", "-C", str(folder), *words]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConfigError(f"git could not be run: {error}", subject=str(folder)) from error
        if done.returncode and words[0] != "diff":
            words_of_git = (done.stderr or done.stdout).strip().splitlines()
            raise ConfigError(
                f"git refused: {words_of_git[-1] if words_of_git else done.returncode}",
                subject=str(folder),
                remedy="make the folder a Git repository (`git init`), with a name and an address to commit under",
            )
        return done.returncode

    git("add", "--", ".")
    if git("diff", "--cached", "--quiet", "--", "."):
        git("commit", "--quiet", "--message", message, "--", ".")
