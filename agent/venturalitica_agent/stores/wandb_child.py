"""What only the SDK does well, as a program of its own: it starts, asks the SDK, prints one JSON line and ends.

The SDK keeps a second process (wandb-core) that may die, has waits without an end, and global state. All of that is
gone when this process is, and whoever started it holds the deadline.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def app_url(job: dict[str, Any]) -> dict[str, Any]:
    """Where the UI of the server at `url` is."""
    from wandb import util

    return {"url": util.app_url(job["url"])}


def record_audit(job: dict[str, Any]) -> dict[str, Any]:
    """Make (or take up again) the audit run, which uses the audited artifacts and logs the evidence artifact.

    Keys of the job: entity, project, id, name, config, used (qualified artifact names), artifact (name), metadata,
    folder (of the evidence files), scratch (a folder for the SDK).
    """
    import wandb

    quiet = wandb.Settings(
        console="off",
        silent=True,
        disable_git=True,
        disable_code=True,
        x_disable_stats=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
    )
    run = wandb.init(
        entity=job["entity"],
        project=job["project"],
        id=job["id"],
        resume="allow",
        job_type="audit",
        name=job["name"],
        config=job["config"],
        dir=job["scratch"],
        settings=quiet,
    )
    for name in job["used"]:
        run.use_artifact(name)
    artifact = wandb.Artifact(job["artifact"], type="venturalitica-evidence", metadata=job["metadata"])
    artifact.add_dir(job["folder"])
    logged = run.log_artifact(artifact).wait()
    run.finish()
    return {"url": run.url, "artifact": logged.qualified_name, "digest": logged.digest}


def main() -> None:
    job = json.loads(sys.stdin.buffer.read())
    answer = {"app_url": app_url, "record_audit": record_audit}[job.pop("do")](job)
    sys.stdout.write(f"{json.dumps(answer)}\n")


if __name__ == "__main__":
    main()
