"""What a running training sends all the time: history, system metrics, summary, console lines, and its end."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from .artifact_mutations import commit
from .artifacts import Artifact, Collection, Manifest
from .runs import Run
from .texts import md5_base64
from .world import World

HISTORY_TYPE = "wandb-history"


def receive(world: World, run: Run, message: dict[str, Any]) -> dict[str, Any]:
    """Applies one message and answers it. Whatever it says, the run was heard of: a finished one runs again."""
    run.heartbeat_at = world.now()
    run.state = "running"
    files = message.get("files") or {}
    for name, lines in (
        ("wandb-history.jsonl", run.history_lines),
        ("wandb-events.jsonl", run.event_lines),
        ("output.log", run.log_lines),
    ):
        if name in files:
            lines[files[name]["offset"] :] = files[name]["content"]
    if files.get("wandb-summary.json", {}).get("content"):
        run.summary_metrics = json.loads(files["wandb-summary.json"]["content"][-1])
    if message.get("preempting"):
        run.preempting, run.state = True, "preempting"
    if message.get("complete"):
        _end(world, run, message.get("exitcode") or 0)
    return {"exitcode": None, "stopped": run.stop_requested, "limits": {}}


def _end(world: World, run: Run, exit_code: int) -> None:
    if exit_code == 0:
        run.state = "finished"
    else:
        run.state = "preempted" if run.preempting else "failed"
    if world.history_artifact and run.history_lines:
        _log_history(world, run)


def _log_history(world: World, run: Run) -> None:
    """The artifact that the server itself logs when a run ends; its one file is not for reading."""
    name, now = f"run-{run.name}-history", world.now()
    content = "\n".join(run.history_lines).encode()
    collection = run.project.collections.setdefault(name, Collection(run.project, name, HISTORY_TYPE, now, now))
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if any(a.digest == digest for a in collection.committed):
        return
    artifact = Artifact(collection, world.next_number(), digest, run, now, now)
    world.artifacts[artifact.number] = artifact
    data = world.new_file("0000.parquet", f"/artifact-files/{artifact.number}", artifact)
    data.receive(content, now)
    manifest = world.new_file("wandb_manifest.json", f"/artifact-manifests/{artifact.number}", artifact)
    manifest.receive(_manifest(data.name, content), now)
    artifact.stored_files[data.name] = data
    artifact.manifests.append(Manifest(artifact, 0, manifest, digest))
    run.logged.append(artifact)
    commit(world, artifact)


def _manifest(name: str, content: bytes) -> bytes:
    entry = {"digest": md5_base64(content), "size": len(content)}
    policy = {"storagePolicy": "wandb-storage-policy-v1", "storagePolicyConfig": {"storageLayout": "V2"}}
    return json.dumps({"version": 1, **policy, "contents": {name: entry}}).encode()
