"""Where a run is, in the words that agent.yaml uses for it, so that training and auditing speak of the same run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """One run in one tracker.

    Attributes:
        kind: "mlflow", "wandb", "wandb_offline" or "folder".
        uri: as `stores:` of agent.yaml takes it: an absolute tracking URI, `entity/project`, or an absolute folder.
        run_id: the tracker's own id of the run.
        link: where a person sees the run; empty where that is not known.
    """

    kind: str
    uri: str
    run_id: str
    link: str = ""
