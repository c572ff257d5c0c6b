"""The audit in W&B's own lineage graph: an audit run that uses what was audited and logs the evidence.

The SDK makes it, in a child process with a deadline; what it made is then read back by our own means.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from venturalitica_agent.domain.run import AUDIT_RUN, Run
from venturalitica_agent.errors import RetryableError
from venturalitica_agent.logging import clean
from venturalitica_agent.stores.local_files import safe_relative
from venturalitica_agent.stores.wandb_http import WandbHttp

_DEADLINE = 180.0  # seconds for one audit run
_DYING = 5.0  # seconds that a killed process may take to go


def audit_run_id(run_id: str) -> str:
    """The id of the one audit run of a run. It names an artifact and folders too: ids that can't are hashed."""
    usual = re.fullmatch(r"[A-Za-z0-9][\w.-]{0,63}", run_id, re.ASCII)
    return f"{AUDIT_RUN}{run_id if usual else '~' + sha256(run_id.encode()).hexdigest()[:16]}"


def evidence_name(run_id: str) -> str:
    """The name of a run's evidence artifact; each audit that changes anything is a version of it."""
    return f"venturalitica-evidence-{audit_run_id(run_id).removeprefix(AUDIT_RUN)}"


def record_audit(
    http: WandbHttp,
    entity: str,
    project: str,
    run: Run,
    *,
    used: Sequence[str],
    evidence: Mapping[str, bytes],
    metadata: Mapping[str, str],
) -> None:
    """Make the audit run of `run`. Doing it again with the same evidence changes nothing.

    Args:
        used: qualified names of the artifacts that were audited. evidence: path -> bytes.

    Raises:
        RetryableError: the SDK failed or took too long.
    """
    run_id = run.ref.run_id
    with tempfile.TemporaryDirectory(prefix="venturalitica-wandb-") as scratch:
        folder = Path(scratch) / "evidence"
        for path, content in evidence.items():
            target = folder.joinpath(*safe_relative(path).parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        ask_sdk(
            http,
            Path(scratch),
            {
                "do": "record_audit",
                "entity": entity,
                "project": project,
                "id": audit_run_id(run_id),
                "name": f"audit of {clean(run.name) or run_id}"[:128],
                "config": {"audited_run": run_id},
                "used": list(used),
                "artifact": evidence_name(run_id),
                "metadata": dict(metadata),
                "folder": str(folder),
                "scratch": scratch,
            },
        )


def ask_sdk(http: WandbHttp, scratch: Path, job: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of `wandb_child` to one job; it and everything that it started is gone afterwards."""
    key = http.key().value
    process = subprocess.Popen(
        [sys.executable, "-m", "venturalitica_agent.stores.wandb_child"],
        cwd=scratch,
        env=_environment(http.url, key, scratch),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        said, complained = process.communicate(json.dumps(job).encode(), timeout=_DEADLINE)
    except subprocess.TimeoutExpired as error:
        raise RetryableError(
            f"the W&B SDK did not finish within {_DEADLINE:.0f} s",
            subject=http.shown,
            remedy="it is tried again; `wandb: {audit_runs: false}` in agent.yaml does without it",
        ) from error
    finally:
        _end_all(process, scratch)
    lines = said.decode("utf-8", "replace").strip().splitlines()
    if process.returncode == 0 and lines:
        with suppress(ValueError):
            answer: dict[str, Any] = json.loads(lines[-1])
            return answer
    words = complained.decode("utf-8", "replace").replace(key, "***").strip().splitlines()
    raise RetryableError(
        f"the W&B SDK failed (exit code {process.returncode}): {clean(words[-1])[:300] if words else 'without a word'}",
        subject=http.shown,
        remedy="it is tried again; `wandb: {audit_runs: false}` in agent.yaml does without it",
    )


def _end_all(process: subprocess.Popen[bytes], scratch: Path) -> None:
    """End the child and all that it started. Its wandb-core has a session of its own, and is nobody's child once the
    SDK's process is gone: it is known by the scratch folder in its environment."""
    process.kill()
    process.wait()
    deadline = time.monotonic() + _DYING
    while (pids := list(_living_with(f"WANDB_DIR={scratch}"))) and time.monotonic() < deadline:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _living_with(variable: str) -> Iterator[int]:
    """The processes of this user that have the variable (`NAME=value`) in their environment."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with suppress(OSError):  # gone, or somebody else's
                variables = Path(entry.path, "environ").read_bytes().split(b"\0")
                if variable.encode() in variables:
                    yield int(entry.name)


def _environment(url: str, key: str, scratch: Path) -> dict[str, str]:
    """Ours, with exactly the W&B settings that are meant: a WANDB_MODE or WANDB_RUN_ID of ours must not reach it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    folders = {f"WANDB_{name}_DIR": str(scratch / name.lower()) for name in ("CACHE", "CONFIG", "DATA", "ARTIFACT")}
    return (
        kept
        | folders
        | {
            "WANDB_BASE_URL": url,
            "WANDB_API_KEY": key,
            "WANDB_DIR": str(scratch),
            "WANDB_ERROR_REPORTING": "false",
            "WANDB_SILENT": "true",
        }
    )
