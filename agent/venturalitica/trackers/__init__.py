"""The runs that training code has open, whichever tracker they are in.

Trackers are looked for among the modules that are already imported: a tracker that nobody imported has no active run,
and importing one takes seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from venturalitica.place import Place
from venturalitica.trackers import folder_run, mlflow_run, wandb_run

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Tracker", "active"]


class Tracker(Protocol):
    """One open run, to which things are attached."""

    @property
    def place(self) -> Place:
        """Where the run is, as the agent would address it."""

    def put(self, files: Mapping[str, bytes]) -> None:
        """Keep these files (artifact path to content) with the run; one that is there already is replaced."""

    def put_table(self, path: str, content: bytes, frame: pd.DataFrame, contexts: Sequence[str]) -> None:
        """Keep a table with the run and log it as a dataset that the run used, where the tracker has such a thing.

        Args:
            path: artifact path. content: the table as parquet. frame: the same table.
            contexts: what it was used for: "evaluation", "training".
        """

    def end(self, *, failed: bool = False) -> None:
        """Training is over. Only a run that this package began ends here; others are ended by who began them."""


def active(before: str | None = None) -> list[Tracker]:
    """The active runs of MLflow (the innermost) and W&B; where there is none, a new run in a folder.

    Args:
        before: what `mlflow_run.last()` said before training: a run that MLflow's autologging has begun and ended
            since counts as active. None: only a run that is active now does.
    """
    found: list[Tracker | None] = [mlflow_run.active(before), wandb_run.active()]
    return [tracker for tracker in found if tracker is not None] or [folder_run.begin()]
