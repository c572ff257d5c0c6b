"""What a scene of the demo is, and what all scenes need."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from rich.console import Console

from venturalitica_agent.errors import PermanentError
from venturalitica_agent.settings import Settings

HERE = Path(__file__).parent.parent  # where the examples and the policies are


class Scene(Protocol):
    """One kind of tracker in a fresh folder.

    Attributes:
        opening: what is said on the screen before anything happens.
        backlog: arguments of the training jobs that run before the service starts. live: of the one that it watches.
        filter: what finds the failing runs in the tracker. links: whether links to runs lead anywhere.
    """

    opening: str
    backlog: Sequence[tuple[str, ...]]
    live: tuple[str, ...]
    filter: str
    links: bool

    def configure(self, folder: Path) -> Settings:
        """Put training scripts, a policy and agent.yaml into the folder, and start what they need."""
        ...

    def train_backlog(self, folder: Path) -> None: ...

    def train(self, folder: Path, *job: str) -> None:
        """Raises PermanentError when a job doesn't end as it should."""
        ...

    def see(self, folder: Path, out: Console) -> None:
        """Tell how to see the same in the tracker's own UI, or show what it shows."""
        ...

    def close(self) -> None: ...


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """Ours without what would redirect the demo to somebody's real tracker."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "WANDB_", "VENTURALITICA_"))}
    return kept | dict(more)


def run_script(folder: Path, arguments: Sequence[str], env: Mapping[str, str], *, fails: bool) -> None:
    """One training script, in a process of its own; `fails` is whether it should."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment(env), capture_output=True, text=True, check=False
    )
    if (done.returncode != 0) != fails:
        raise PermanentError(
            f"{Path(arguments[0]).name} ended with code {done.returncode}",
            subject=str(folder),
            remedy=f"its last words were: {done.stderr[-500:]}",
        )
