"""Plain training code against a W&B server: in a process of its own, or here with nothing left behind."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wandb_server import WandbServer

PATIENCE = 60.0  # seconds for one training script

# What a training does beside its work, and what costs a second or a question here.
QUICK = {
    "WANDB_SILENT": "true",
    "WANDB_CONSOLE": "off",
    "WANDB_DISABLE_CODE": "true",
    "WANDB_DISABLE_GIT": "true",
    "WANDB_DISABLE_JOB_CREATION": "true",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_X_DISABLE_STATS": "true",
    "WANDB_X_DISABLE_META": "true",
    "WANDB_X_DISABLE_MACHINE_INFO": "true",
}
FOLDERS = ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR")


def training_env(server: WandbServer, folder: Path, *, key: str | None = None, project: str = "") -> dict[str, str]:
    """All that the SDK needs to reach the server, with every folder of its own under `folder`."""
    here = {name: str(folder / name.lower()) for name in FOLDERS}
    for path in here.values():
        Path(path).mkdir(parents=True, exist_ok=True)
    asked = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": key or server.key, "WANDB_ENTITY": server.entity}
    asked |= {"WANDB_PROJECT": project} if project else {}
    return QUICK | here | asked | {"HOME": str(folder), "NETRC": str(folder / "netrc")}


def train(
    server: WandbServer,
    folder: Path,
    training: str | Callable[..., None],
    *arguments: Any,
    key: str | None = None,
    project: str = "credit",
    env: Mapping[str, str] | None = None,
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Runs training code as users do: in its own process, in `folder`, with the SDK's own retries and threads.

    Args:
        training: a script's text, or a function whose source is sent (so it imports what it needs itself).
        arguments: of the function; anything that JSON can say.
        check: whether a script that fails fails the test.
    """
    script = textwrap.dedent(training) if isinstance(training, str) else _script(training, arguments)
    folder.mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    variables = kept | training_env(server, folder, key=key, project=project) | dict(env or {})
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, env=variables, capture_output=True, text=True, timeout=PATIENCE
    )
    if check and done.returncode:
        raise AssertionError(f"the training ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done


@contextmanager
def wandb_here(
    server: WandbServer,
    folder: Path,
    *,
    key: str | None = None,
    project: str = "credit",
    env: Mapping[str, str] | None = None,
) -> Iterator[Any]:
    """The `wandb` module in this process, with the environment as it was and the SDK's engine gone afterwards."""
    before = dict(os.environ)
    kept = {name: value for name, value in before.items() if not name.startswith("WANDB_")}
    os.environ.clear()
    os.environ.update(kept | training_env(server, folder, key=key, project=project) | dict(env or {}))
    try:
        import wandb

        try:
            yield wandb
        finally:
            wandb.teardown()
    finally:
        os.environ.clear()
        os.environ.update(before)


def _script(training: Callable[..., None], arguments: tuple[Any, ...]) -> str:
    source = textwrap.dedent(inspect.getsource(training))
    given = json.dumps(list(arguments))
    return f"from __future__ import annotations\nimport json\n{source}\n{training.__name__}(*json.loads({given!r}))\n"
