"""A training run as its store describes it. All of it is untrusted text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

# Ids of the runs that we write ourselves, to show an audit in a tracker's lineage, begin so. They are never audited.
AUDIT_RUN = "vl-audit-"


class RunStatus(StrEnum):
    """MLflow's five run states."""

    RUNNING = "RUNNING"
    SCHEDULED = "SCHEDULED"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"

    @property
    def ended(self) -> bool:
        return self in (RunStatus.FINISHED, RunStatus.FAILED, RunStatus.KILLED)


@dataclass(frozen=True, slots=True)
class RunRef:
    """What noticing needs to know of a run, and no more.

    Attributes:
        store: id of the store (`Store.id`).
        start_time, end_time: milliseconds since the epoch, chosen by the client, so never trusted for order alone.
        inputs: a fingerprint of what is linked to the run (datasets in, models out).
        mark: tells one end of the run from another where the end time can't: W&B only knows a last heartbeat, which
            whoever edits the run may move, so there it is the length of the history.
    """

    store: str
    run_id: str
    experiment_id: str
    status: RunStatus
    start_time: int | None = None
    end_time: int | None = None
    deleted: bool = False
    inputs: str = ""
    mark: str = ""

    @property
    def revision(self) -> str:
        """Changes exactly when the run must be looked at again: it ended anew, or its inputs changed."""
        return f"{self.status}@{self.mark or self.end_time or 0}#{self.inputs}"


@dataclass(frozen=True, slots=True)
class LoggedDataset:
    """A dataset that the run declared with `log_input`.

    Attributes:
        source: the tracker's JSON text, e.g. `{"uri": "data/test.csv"}`; a hint, never trusted.
        schema: the tracker's JSON text of the columns, `{"mlflow_colspec": [{"name": ...}]}`; empty when it has none.
        profile: the tracker's JSON text of the size, `{"num_rows": 300}`; empty when it has none.
        digest: the tracker's own digest (8 hex of MD5 over at most 10,000 rows); not tamper evidence.
    """

    name: str
    digest: str
    context: str
    source_type: str
    source: str
    schema: str = ""
    profile: str = ""


@dataclass(frozen=True, slots=True)
class LoggedModel:
    """A model that the run logged: MLflow 3 (`model_id` set) or an MLflow 2 run artifact (`path` set).

    Attributes:
        ready: False when the tracker says that logging it failed or never finished.
        location: where its files are, as the tracker says.
        path: artifact path inside the run, for MLflow 2 models.
    """

    name: str
    location: str
    model_id: str = ""
    path: str = ""
    ready: bool = True
    step: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """Everything that an audit may read of a run, at one moment.

    Attributes:
        tables: artifact paths of the tables that the run logged as such.
    """

    ref: RunRef
    name: str
    experiment: str
    artifact_uri: str
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    datasets: tuple[LoggedDataset, ...] = ()
    tables: tuple[str, ...] = ()
    models: tuple[LoggedModel, ...] = ()
