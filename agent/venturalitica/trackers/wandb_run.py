"""A run of Weights & Biases, on a server or offline. Files go into the run's own folder, where both kinds of run keep
them under the same names; the audit data is also logged as a dataset artifact, which is what W&B's lineage shows."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from venturalitica.place import Place

if TYPE_CHECKING:
    import pandas as pd


def active() -> WandbRun | None:
    """`wandb.run`, unless W&B is switched off."""
    wandb = sys.modules.get("wandb")
    run = getattr(wandb, "run", None)
    if run is None or run.disabled:
        return None
    if run.offline:
        folder = Path(run.dir).absolute().parent
        return WandbRun(Place("wandb_offline", str(folder.parent), folder.name), run, wandb)
    return WandbRun(Place("wandb", f"{run.entity}/{run.project}", run.id, run.url or ""), run, wandb)


@dataclass(frozen=True)
class WandbRun:
    """See `Tracker`. `run` and `wandb` are the SDK's own."""

    place: Place
    run: Any
    wandb: Any

    def put(self, files: Mapping[str, bytes]) -> None:
        for path, content in files.items():
            target = Path(self.run.dir, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            self.run.save(str(target), base_path=self.run.dir, policy="now")

    def put_table(self, path: str, content: bytes, frame: pd.DataFrame, contexts: Sequence[str]) -> None:
        self.put({path: content})
        about = {"rows": len(frame), "columns": [str(name) for name in frame.columns], "used for": list(contexts)}
        name = f"run-{self.run.id}-audit-{sha256(content).hexdigest()[:8]}"
        artifact = self.wandb.Artifact(name, type="dataset", metadata=about)
        with artifact.new_file(Path(path).name, mode="wb") as file:
            file.write(content)
        self.run.log_artifact(artifact)

    def end(self, *, failed: bool = False) -> None:
        """`wandb.finish` ends it."""
