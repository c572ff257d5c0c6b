"""One archive for an auditor: everything about some runs, an experiment, a period, or all that there is.

The evidence is read from where it was published, and held to the digests of what was written. What can't be had is
told in the archive's index, so that a thinner archive never looks like a whole one. The same state and the same
evidence give the same bytes.
"""

from __future__ import annotations

import fnmatch
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

from venturalitica_agent.errors import AgentError, ConfigError
from venturalitica_agent.export_words import contents_page, read_me
from venturalitica_agent.log_export import log_entries, log_files
from venturalitica_agent.settings import Settings
from venturalitica_agent.state.drift import DriftRecord
from venturalitica_agent.state.ledger import Ledger
from venturalitica_agent.state.log import LogEntry
from venturalitica_agent.state.opening import open_state
from venturalitica_agent.state.records import AuditRecord, Records
from venturalitica_agent.stores.base import Store
from venturalitica_agent.stores.opening import WandbServer, open_configured
from venturalitica_agent.strict_yaml import redacted
from venturalitica_verify.archive import INDEX, LOG, RUNS, SCHEMA, SUMS

_THE_SAME_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that the format knows
_MODE = 0o100644 << 16


@dataclass(frozen=True, slots=True)
class Scope:
    """Which verdicts: all that are named by every part that is given.

    Attributes:
        runs: ids; empty: any. experiment: a glob on its name; empty: any.
        since, until: seconds since the epoch between which the verdict was given, `until` excluded; None: any time.
    """

    runs: frozenset[str] = frozenset()
    experiment: str = ""
    since: float | None = None
    until: float | None = None

    def holds(self, record: AuditRecord) -> bool:
        return (
            (not self.runs or record.run_id in self.runs)
            and fnmatch.fnmatchcase(record.experiment, self.experiment or "*")
            and (self.since is None or record.tagged_at >= self.since)
            and (self.until is None or record.tagged_at < self.until)
        )

    @property
    def is_everything(self) -> bool:
        return self == Scope()

    def told(self) -> Mapping[str, Any]:
        if self.is_everything:
            return {"everything": True}
        parts = {"runs": sorted(self.runs), "experiment": self.experiment, "since": self.since, "until": self.until}
        return {name: value for name, value in parts.items() if value not in ([], "", None)}


@dataclass(slots=True)
class Exported:
    """What is in the archive, and what should be and isn't, a sentence each."""

    verdicts: int = 0
    runs: int = 0
    problems: list[str] = field(default_factory=list)


def export(
    settings: Settings, destination: Path, scope: Scope, *, on_run: Callable[[int, int], None] = lambda *_: None
) -> Exported:
    """Write the archive, whole or not at all.

    Args:
        on_run: called with (done, total) runs.

    Raises:
        ConfigError: there is no log yet, nothing is in the scope, or the file can't be written.
    """
    if destination.suffix != ".zip":
        raise ConfigError(
            "an archive is a .zip file", subject=str(destination), remedy=f"name it {destination.with_suffix('.zip')}"
        )
    engine = open_state(settings.state)
    unfinished = destination.with_name(f".{destination.name}.{uuid4().hex[:8]}")
    try:
        records, ledger = Records(engine), Ledger(engine)
        entries = log_entries(settings)  # before the records, so that none of them is newer than the log
        chosen = sorted(filter(scope.holds, records.given()), key=lambda r: (r.store, r.run_id, r.evidence))
        _refuse_nothing(scope, chosen)
        known = [row["uri"] for row in records.stores().values()]
        stores = {s.id: s for _, s in open_configured(settings, WandbServer(settings), known)}
        with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as file:
            archive = _Archive(file)
            runs, done = _add_runs(archive, chosen, stores, DriftRecord(engine), on_run)
            for path, content in log_files(settings, entries):
                archive.add(f"{LOG}/{path}", content)
            index: dict[str, Any] = {
                "schema": SCHEMA,
                "scope": scope.told(),
                "stores": {id_: redacted(row["uri"]) for id_, row in sorted(records.stores().items())},
                "runs": runs,
                "without_verdict": _without_verdict(ledger, records) if scope.is_everything else [],
                "unpublished": _unpublished(entries, records) if scope.is_everything else [],
            }
            done.problems += [f"run {u['run_id']}: its verdict is in the log only" for u in index["unpublished"]]
            archive.add(INDEX, (json.dumps(index, indent=1, ensure_ascii=False) + "\n").encode())
            archive.add("index.html", contents_page(index).encode())
            archive.add("README.txt", read_me(index).encode())
            archive.add_sums()
        unfinished.replace(destination)
    except OSError as error:
        raise ConfigError(
            f"the archive can't be written there: {error.strerror or error}",
            subject=str(destination),
            remedy="name a place that this user may write, with room for it",
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)
        engine.dispose()
    return done


def _refuse_nothing(scope: Scope, chosen: Sequence[AuditRecord]) -> None:
    missing = sorted(scope.runs - {record.run_id for record in chosen})
    if missing or not (chosen or scope.is_everything):
        raise ConfigError(
            f"no verdict about {f'run {missing[0]}' if missing else 'anything of that scope'} is on record here",
            remedy="`venturalitica-agent status` lists what was audited",
        )


class _Archive:
    """Files are written in the order in which they are added, each with the same time and mode."""

    def __init__(self, file: zipfile.ZipFile) -> None:
        self._file = file
        self._sums: dict[str, str] = {}

    def add(self, name: str, content: bytes) -> None:
        entry = zipfile.ZipInfo(name, _THE_SAME_TIME)
        entry.create_system, entry.external_attr, entry.compress_type = 3, _MODE, zipfile.ZIP_DEFLATED
        self._file.writestr(entry, content)
        self._sums[name] = sha256(content).hexdigest()

    def add_sums(self) -> None:
        self.add(SUMS, "".join(f"{digest}  {name}\n" for name, digest in sorted(self._sums.items())).encode())


def _add_runs(
    archive: _Archive,
    chosen: Sequence[AuditRecord],
    stores: Mapping[str, Store],
    written: DriftRecord,
    on_run: Callable[[int, int], None],
) -> tuple[list[Mapping[str, Any]], Exported]:
    """The rows of the index, after the evidence of each was added."""
    by_run: dict[tuple[str, str], list[AuditRecord]] = {}
    for record in chosen:
        by_run.setdefault((record.store, record.run_id), []).append(record)
    rows: list[Mapping[str, Any]] = []
    done = Exported(len(chosen), len(by_run))
    for number, ((store, run_id), given) in enumerate(by_run.items()):
        verdicts = [_add_evidence(archive, stores.get(store), record, written) for record in given]
        done.problems += [f"run {run_id}: {v['evidence']}: {v['problem']}" for v in verdicts if v["problem"]]
        names = {"name": given[-1].run_name, "experiment": given[-1].experiment, "link": given[-1].link}
        rows.append({"store": store, "run_id": run_id, **names, "verdicts": verdicts})
        on_run(number + 1, len(by_run))
    return rows, done


def _add_evidence(
    archive: _Archive, store: Store | None, record: AuditRecord, written: DriftRecord
) -> Mapping[str, Any]:
    """Its row of the index, after its files were added as they are on the run."""
    inside = record.evidence.rpartition("/")[0]
    folder = f"{RUNS}/{record.store}/{_plain(record.run_id)}/{inside}"
    expected = written.files(record.store, record.run_id, [record.evidence])
    expected = {path: digest for path, digest in expected.items() if path.startswith(f"{inside}/")}
    problem, until = "", None
    try:
        if store is None:
            raise ConfigError("its store is not in agent.yaml any more", remedy="put it back into `stores:`")
        paths = sorted(expected) or [f.path for f in store.list_files(record.run_id) if f.path.startswith(f"{inside}/")]
        files = {path: store.read_file(record.run_id, path) for path in paths}
        if record.evidence not in files:
            problem = "it is not on the run any more"
        else:
            changed = [p for p, content in files.items() if expected and sha256(content).hexdigest() != expected[p]]
            problem = f"{changed[0]} is not what was written" if changed else ""
            if not problem:
                until = json.loads(files[record.evidence])["times"].get("retain_until")
                for path, content in files.items():
                    archive.add(f"{folder}/{path.removeprefix(f'{inside}/')}", content)
    except AgentError as error:
        problem = error.what
    return {
        "policy": record.policy,
        "version": record.version,
        "policy_digest": record.policy_digest,
        "status": record.status,
        "counts": record.counts,
        "not_passed": list(record.failed),
        "evidence": record.evidence,
        "evidence_digest": record.evidence_digest,
        "folder": folder,
        "retain_until": until,
        "problem": problem,
    }


def _plain(run_id: str) -> str:
    """A folder's name for a run: its id, or a digest of one that no tracker gave."""
    return run_id if run_id.replace("-", "").replace("_", "").isalnum() else sha256(run_id.encode()).hexdigest()[:32]


def _without_verdict(ledger: Ledger, records: Records) -> list[Mapping[str, Any]]:
    """Every run that we know of and that has no verdict, with where it is and why."""
    known = {(record.store, record.run_id) for record in records.given()}
    return [
        {
            "store": entry.ref.store,
            "run_id": entry.ref.run_id,
            "experiment_id": entry.ref.experiment_id,
            "ended_as": entry.ref.status.value,
            "phase": entry.phase.value,
            "reason": entry.reason,
        }
        for entry in ledger.every()
        if (entry.ref.store, entry.ref.run_id) not in known
    ]


def _unpublished(entries: Sequence[LogEntry], records: Records) -> list[Mapping[str, Any]]:
    """The last verdicts in the log that never came onto their runs: a run was deleted, or is being published now."""
    known = {(r.store, r.run_id, r.evidence_digest) for r in records.given()}
    logged = [json.loads(entry.content) for entry in entries]
    given = [e for e in logged if e["kind"] == "verdict"]
    newest = {(e["store"], e["run_id"], e["policy"].partition("@")[0]): e["evidence"] for e in given}
    return [
        {"store": store, "run_id": run_id, "policy": policy, "evidence_digest": digest}
        for (store, run_id, policy), digest in sorted(newest.items())
        if (store, run_id, digest) not in known
    ]
