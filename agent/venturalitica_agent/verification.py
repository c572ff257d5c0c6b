"""What `verify` asks beyond the bundle itself: that runs still carry what was attested, that the log is whole, and that
findings were held to the policy's own rules. The bundle is checked by `venturalitica_verify`, which knows no agent."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from venturalitica_agent.agent import keys_folder
from venturalitica_agent.attest.keys import Keys
from venturalitica_agent.domain import merkle
from venturalitica_agent.domain.codec import from_plain, to_plain
from venturalitica_agent.domain.evidence import Decision, EvidenceBundle
from venturalitica_agent.domain.policy import Requirement
from venturalitica_agent.domain.retention import retain_until
from venturalitica_agent.domain.subject import Subject
from venturalitica_agent.domain.verdict import Finding, Status, Verdict
from venturalitica_agent.errors import AgentError, ConfigError, PermanentError
from venturalitica_agent.policy.load import parse_policy
from venturalitica_agent.publish.writeback import PREFIX, verdict_tags
from venturalitica_agent.settings import Settings
from venturalitica_agent.state.log import Log, LogEntry
from venturalitica_agent.state.opening import open_state
from venturalitica_agent.state.records import AuditRecord, Records
from venturalitica_agent.stores.base import Store
from venturalitica_agent.stores.opening import WandbServer, open_configured
from venturalitica_verify import Check, Outcome, verify_bundle, verify_path
from venturalitica_verify.archive import is_archive, verify_archive
from venturalitica_verify.bundle import PROOF, attempt
from venturalitica_verify.folder import find_bundles, read_bundle
from venturalitica_verify.keys import by_id
from venturalitica_verify.merkle import is_beginning, leaf_hash, root_by_inclusion
from venturalitica_verify.notes import read_checkpoint, read_proof
from venturalitica_verify.outcome import Broken

Checked = dict[str, list[Check]]
"""The checks of each thing that was looked at, by its name."""

_OF_THE_WRITER = ("agent_version",)  # of tags: it names who wrote them last, and the evidence doesn't


def known_keys(settings: Settings) -> Sequence[bytes]:
    """The public keys that this service ever signed with."""
    return [text.encode() for text in Keys(keys_folder(settings)).public().values()]


def verify_given(
    path: Path, keys: Sequence[bytes], log: Path | None = None, authorities: Sequence[bytes] = ()
) -> Checked:
    """Everything that can be checked of an exported archive, or of the bundles at or below a folder, offline.

    Args:
        log: a copy of the log that the service published; an archive has its own.
        authorities: certificates (PEM) that are trusted to give the time.

    Raises:
        ConfigError: it is neither.
    """
    if is_archive(path):
        return verify_archive(
            path, keys, authorities, also=lambda folder: [attempt("rules", partial(_of_folder, folder))]
        )
    found = verify_path(path, keys, log, authorities) if path.is_dir() else {}
    if not found:
        raise ConfigError(
            "there is no evidence in it", subject=str(path), remedy="name a folder of evidence or an exported archive"
        )
    for folder in find_bundles(path):
        found[str(folder)].append(attempt("rules", partial(_of_folder, folder)))
    return found


def _of_folder(folder: Path) -> str:
    return _check_rules(read_bundle(folder)[0])


def verify_runs(
    settings: Settings, runs: Collection[str] | None, keys: Sequence[bytes], authorities: Sequence[bytes] = ()
) -> Checked:
    """Check runs where they are, and the log of this state.

    Args:
        runs: ids; None: every run that has a verdict.

    Raises:
        ConfigError: no verdict of one of `runs` is on record here.
    """
    engine = open_state(settings.state)
    try:
        records = Records(engine)
        by_run: dict[tuple[str, str], list[AuditRecord]] = {}
        for record in records.latest():
            by_run.setdefault((record.store, record.run_id), []).append(record)
        if strangers := sorted(set(runs or ()) - {run_id for _, run_id in by_run}):
            raise ConfigError(
                "no verdict of this run is on record here",
                subject=strangers[0],
                remedy="check the id; a bundle from elsewhere is checked by its folder",
            )
        stores = _stores(settings, [row["uri"] for row in records.stores().values()])
        history = _History(tuple(Log(engine).entries()), Log(engine).size(), keys)
        found = {"the log": [attempt("log", history.check)]}
        for (store, run_id), given in by_run.items():
            if runs is None or run_id in runs:
                look = partial(_verify_run, stores.get(store), run_id, given, history, keys, authorities)
                found |= _reachable(f"run {run_id}", look)
        return found
    finally:
        engine.dispose()


def _stores(settings: Settings, known: Sequence[str]) -> Mapping[str, Store]:
    return {store.id: store for _, store in open_configured(settings, WandbServer(settings), known)}


def _reachable(name: str, look: partial[Checked]) -> Checked:
    try:
        return look()
    except AgentError as error:
        return {name: [Check("run", Outcome.NOT_CHECKABLE, str(error))]}


def _verify_run(
    store: Store | None,
    run_id: str,
    records: Sequence[AuditRecord],
    history: _History,
    keys: Sequence[bytes],
    authorities: Sequence[bytes],
) -> Checked:
    """The bundles that the run's tags lead to, and the tags themselves."""
    if store is None:
        raise PermanentError("its store is not in agent.yaml", subject=f"run {run_id}")
    tags = store.get_tags(run_id)
    paths = sorted({v for t, v in tags.items() if t.startswith(PREFIX) and t.rpartition(".")[2] == "evidence"})
    names = [file.path for file in store.list_files(run_id)]
    found: Checked = {}
    bundles: dict[str, Mapping[str, bytes]] = {}
    for path in paths:
        folder = path.rpartition("/")[0]
        inside = [name for name in names if name.startswith(f"{folder}/")]
        with _as_check(found, f"run {run_id}: {path}"):
            bundles[path] = {n.removeprefix(f"{folder}/"): store.read_file(run_id, n) for n in inside}
            found[f"run {run_id}: {path}"] = [
                *verify_bundle(bundles[path], keys, authorities=authorities),
                attempt("rules", partial(_check_rules, bundles[path])),
                attempt("log entry", partial(history.check_entry, bundles[path])),
            ]
    found[f"run {run_id}"] = [
        attempt("tags", partial(_check_tags, tags, bundles)),
        attempt("newest", partial(_check_newest, paths, records)),
        attempt("policy snapshot", partial(_check_snapshots, store, run_id, names, bundles)),
    ]
    return found


@contextmanager
def _as_check(found: Checked, name: str) -> Iterator[None]:
    """A file that can't be read any more is a finding about its bundle."""
    try:
        yield
    except PermanentError as error:
        found[name] = [Check("files", Outcome.FAIL, str(error))]


def _check_tags(tags: Mapping[str, str], bundles: Mapping[str, Mapping[str, bytes]]) -> str:
    if f"{PREFIX}status" not in tags or f"{PREFIX}evidence" not in tags:
        raise Broken("the run has no verdict among its tags any more")
    decided = [_decided(path, files) for path, files in bundles.items()]
    # With several verdicts the tags without a policy's name are those of the worst one, of which there may be two.
    decided.sort(key=lambda pair: pair[1].evidence != tags[f"{PREFIX}evidence"])
    expected = verdict_tags(decided)
    wrong = [
        name
        for name in sorted({*expected, *(t for t in tags if t.startswith(PREFIX))})
        if tags.get(name) != expected.get(name) and name.removeprefix(PREFIX) not in _OF_THE_WRITER
    ]
    if wrong:
        raise Broken(f"these tags are not what the evidence says: {', '.join(wrong)}")
    return f"{len(expected)} tags say what the evidence says: {tags[f'{PREFIX}status']}"


def _decided(path: str, files: Mapping[str, bytes]) -> tuple[Decision, EvidenceBundle]:
    evidence = json.loads(files["evidence.json"])
    policy = evidence["policy"]
    findings = [
        from_plain(Finding, {k: v for k, v in f.items() if k != "rule"}) for f in evidence["verdict"]["findings"]
    ]
    status = Status(evidence["verdict"]["status"])
    verdict = Verdict(policy["id"], policy["version"], policy["digest"], status, tuple(findings))
    decision = Decision(evidence["audit_id"], "", "", {}, Subject(), verdict, evidence["times"]["decided_at"])
    digest = sha256(files["evidence.json"]).hexdigest()
    return decision, EvidenceBundle(path.rpartition("/")[0], {}, path, digest)


def _check_newest(paths: Sequence[str], records: Sequence[AuditRecord]) -> str:
    """An older verdict, with all its proofs, must not take the place of a newer one."""
    newest = max(records, key=lambda record: record.tagged_at)
    if newest.evidence not in paths:
        raise Broken(f"the newest verdict on record is in {newest.evidence}, and the tags lead elsewhere")
    return f"the tags lead to the newest verdict on record: {newest.policy}@{newest.version}, {newest.status}"


def _check_snapshots(
    store: Store, run_id: str, names: Sequence[str], bundles: Mapping[str, Mapping[str, bytes]]
) -> str:
    snapshots = {n: c for files in bundles.values() for n, c in files.items() if n.startswith("policy_snapshot/")}
    found = [store.read_file(run_id, name) for name in names if name.startswith("policy_snapshot/")]
    if missing := [name for name, content in snapshots.items() if content not in found]:
        raise Broken(f"the copy of {missing[0]} beside the evidence is missing or changed")
    return "the policy is beside the evidence too, byte for byte"


def _check_rules(files: Mapping[str, bytes]) -> str:
    """Each finding was held to what the policy's own bytes require."""
    evidence = json.loads(files["evidence.json"])
    about = evidence["policy"]
    try:
        policy = parse_policy(files[f"policy_snapshot/{about['file']}"], about["file"])
    except ConfigError as error:
        raise Broken(f"the policy can't be read by this version of the agent: {error}"[:300]) from error
    _same("id and version", policy.ref, f"{about['id']}@{about['version']}")
    until = retain_until(policy.retain, evidence["times"]["decided_at"]) if policy.retain else None
    _same("day until which it is kept", until, evidence["times"].get("retain_until"))
    findings = [f for f in evidence["verdict"]["findings"] if f["decided_on"] != "digest"]
    _same("list of controls", [c.id for c in policy.controls], [f["control"] for f in findings])
    for control, finding in zip(policy.controls, findings, strict=True):
        rule = {**to_plain(Requirement, control.require), "min_group": control.min_group, "level": control.level}
        _same(f"rule of {control.id}", rule, finding["rule"])
        _same(f"metric of {control.id}", control.metric, finding["metric"])
        _same(f"enforcement of {control.id}", control.enforcement.value, finding["enforcement"])
        _same(f"decide_on of {control.id}", control.decide_on.value, finding["decided_on"])
        _same(f"skip of {control.id}", bool(control.skip), finding["status"] == "skip")
    return f"{len(findings)} findings were held to the thresholds in {about['file']}"


def _same(what: str, policy: Any, evidence: Any) -> None:
    if policy != evidence:
        raise Broken(f"{what}: the policy has {policy!r}, the evidence {evidence!r}"[:300])


@dataclass(frozen=True)
class _History:
    """The log of this state, as it is now.

    Attributes:
        size: how many entries it says that it has.
    """

    entries: Sequence[LogEntry]
    size: int
    keys: Sequence[bytes]

    def check(self) -> str:
        """Every entry is where it was when its checkpoint was signed, and none is missing."""
        if not self.entries:
            raise Broken("the log is empty")
        trusted = by_id(self.keys)
        frontier: merkle.Frontier = ()
        for place, entry in enumerate(self.entries):
            if entry.number != place:
                raise Broken(f"entry {place} is missing")
            frontier = merkle.grown(frontier, place, leaf_hash(entry.content))
            checkpoint = read_checkpoint(entry.checkpoint)
            if not any(checkpoint.signed_by(key) for key in trusted.values()):
                raise Broken(f"the checkpoint of entry {place} is not signed by a key of this service")
            roots = {merkle.root(frontier), root_by_inclusion(place, place + 1, leaf_hash(entry.content), entry.path)}
            if roots != {checkpoint.root} or checkpoint.size != place + 1:
                raise Broken(f"entry {place} or one before it is not what it was when its checkpoint was signed")
        if self.size != len(self.entries):
            raise Broken(f"the log says that it has {self.size} entries, and {len(self.entries)} are there")
        return f"{len(self.entries)} entries, each in its place and under a signed checkpoint"

    def check_entry(self, files: Mapping[str, bytes]) -> str:
        """The bundle's entry is in this log, and the log has only grown since the bundle's checkpoint."""
        proof = read_proof(files[PROOF])
        kept = self.entries[proof.index] if proof.index < len(self.entries) else None
        if kept is None or kept.content != proof.entry:
            raise Broken(f"entry {proof.index} of the log here is another one")
        leaves = [leaf_hash(entry.content) for entry in self.entries]
        before = proof.checkpoint
        path = merkle.consistency_path(leaves, before.size)
        if not is_beginning(before.size, before.root, len(leaves), merkle.tree_root(leaves), path):
            raise Broken(f"the log here is not one that grew from the bundle's checkpoint of {before.size} entries")
        return f"entry {proof.index} is in the log here, which grew from {before.size} entries to {len(leaves)} since"
