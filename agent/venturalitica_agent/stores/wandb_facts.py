"""What W&B says of a run, in the words that audits use. Pure; shared by projects and offline folders."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from venturalitica_agent.domain.run import LoggedDataset, RunStatus
from venturalitica_agent.stores.naming import text

# source: wandb.apis.public.runs.Run.state; "crashed" is the server's word for a lost heartbeat
STATES = {
    "finished": RunStatus.FINISHED,
    "failed": RunStatus.FAILED,
    "crashed": RunStatus.FAILED,
    "killed": RunStatus.KILLED,
    "preempted": RunStatus.KILLED,
    "pending": RunStatus.SCHEDULED,
    "running": RunStatus.RUNNING,
    "preempting": RunStatus.RUNNING,
}
DATA_SUFFIXES = (".csv", ".parquet", ".table.json")
_SPLIT_WORDS = ("test", "testing", "eval", "evaluation", "validation", "valid", "val", "holdout", "train", "training")
_MOST_PARAMS = 2000
_LONGEST = 500
_FLOAT_DIGITS = 308


def milliseconds(time: Any) -> int | None:
    """Milliseconds since the epoch of an ISO time; W&B's times without a zone are UTC."""
    if not isinstance(time, str):
        return None
    try:
        when = datetime.fromisoformat(time)
    except ValueError:
        return None
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000)


def decoded(document: Any) -> dict[str, Any]:
    """A JSON map that W&B hands over as text; empty when it is none. Whole numbers beyond any float are infinite."""
    try:
        found = json.loads(document, parse_int=_whole) if isinstance(document, str) else document
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def flat_tags(tags: Iterable[Any], group: Any = "", job_type: Any = "") -> dict[str, str]:
    """W&B's flat tags as pairs: `team:risk` and `team=risk` become {team: risk}, `baseline` becomes {baseline: ""};
    group and job type are added under those names."""
    found: dict[str, str] = {}
    for tag in tags:
        name, *value = re.split("[:=]", text(str(tag)), maxsplit=1)
        found[name.strip()] = "".join(value).strip()
    more = {"group": group, "job_type": job_type}
    return found | {name: text(value) for name, value in more.items() if isinstance(value, str) and value}


def params(config: Mapping[str, Any]) -> dict[str, str]:
    """A run's config, `{"lr": {"value": 0.1}}` or `{"lr": 0.1}`, as text."""
    found = {}
    for name, entry in list(config.items())[:_MOST_PARAMS]:
        if not name.startswith("_"):
            value = entry["value"] if isinstance(entry, dict) and "value" in entry else entry
            found[text(name)] = text(value if isinstance(value, str) else json.dumps(value))[:_LONGEST]
    return found


def numbers(summary: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers of a summary, without W&B's own (`_step`, `_runtime`)."""
    return {
        text(name): float(value)
        for name, value in summary.items()
        if not name.startswith("_") and isinstance(value, int | float) and not isinstance(value, bool)
        if abs(value) <= sys.float_info.max
    }


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) < _FLOAT_DIGITS else float(digits)


def dataset_of(
    artifact: str, path: str, digest: str, *, only: bool, aliases: Iterable[str], source: str
) -> LoggedDataset:
    """A data file of a dataset artifact as the dataset that the run declared.

    Args:
        artifact: its name without the version. path: inside the artifact. digest: of the file, by its manifest.
        only: whether it is the artifact's only data file; then it carries the artifact's name alone.
        source: a URI that the store's `fetch_file` resolves.
    """
    return LoggedDataset(
        name=artifact if only else f"{artifact}/{path}",
        digest=digest,
        context=split_word([PurePosixPath(path).stem, artifact, *aliases]),
        source_type="wandb",
        source=json.dumps({"uri": source}),
    )


def datasets_of(
    artifact: str, files: Iterable[tuple[str, str]], *, aliases: Iterable[str], folder: str
) -> Iterator[LoggedDataset]:
    """The data files among an artifact's files, each as a dataset.

    Args:
        files: (path, digest) of each file by its manifest. folder: the URI that their paths are below.
    """
    data = [(path, digest) for path, digest in files if is_data(path)]
    names = list(aliases)
    for path, digest in data:
        source = f"{folder}/{path}"
        yield dataset_of(artifact, path, digest, only=len(data) == 1, aliases=names, source=source)


def split_word(names: Iterable[str]) -> str:
    """The first word in `names` that says which split a table is; names that hold words of both say nothing."""
    for name in names:
        words = [w for w in re.split(r"[^a-z]+", name.casefold()) if w in _SPLIT_WORDS]
        if words and len({w.startswith("train") for w in words}) == 1:
            return words[0]
    return ""


def is_data(path: str) -> bool:
    return path.casefold().endswith(DATA_SUFFIXES)


def tables(summary: Mapping[str, Any]) -> list[str]:
    """Paths of the tables that a summary names: the last one of each name, whole ones only.

    A table that was logged in pieces has only its last piece there, and nothing in the file says so.
    """
    entries = [e for e in summary.values() if isinstance(e, dict) and e.get("_type") == "table-file"]
    paths = [e.get("path") for e in entries if e.get("log_mode") != "INCREMENTAL"]
    return [path for path in paths if isinstance(path, str) and is_table(path)]


def is_table(path: str) -> bool:
    """Whether a file of a run is a table that it logged with `wandb.Table`."""
    return path.startswith("media/table/") and path.endswith(".table.json")
