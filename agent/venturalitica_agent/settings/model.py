"""The settings as frozen dataclasses: each field with its unit and its default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from venturalitica_agent.domain.policy import Selector
from venturalitica_agent.domain.subject import ColumnBinding, DataPlan, DataRef
from venturalitica_agent.domain.verdict import Status
from venturalitica_agent.strict_yaml import redacted

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """One place where runs live.

    Attributes:
        kind: "mlflow", "wandb", "wandb_offline" or "folder".
        uri: mlflow: an absolute folder, `sqlite:///<absolute file>`, or a database or http(s) URL; wandb:
            `entity/project`, or `entity/*` for every project of the entity, which is the key's default one where it is
            empty; wandb_offline, folder: an absolute folder. May hold credentials, so it is never in `repr`.
        ui: where deep links point; default: the URI itself, without credentials, if it is http, else empty; for W&B
            the address that its SDK knows.
        poll: seconds between two looks at a store that can't be watched; default 5, for W&B 30.
        artifacts: absolute local folders, beside the store's own, that data may be read from; default none.
    """

    kind: str
    uri: str = field(repr=False)
    ui: str = ""
    poll: float = 5.0
    artifacts: tuple[Path, ...] = ()

    @property
    def shown(self) -> str:
        """The URI without credentials, for messages and logs."""
        return redacted(self.uri)

    def __str__(self) -> str:
        return f"{self.kind} {self.shown}"


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """Which runs are audited against which policies, with which data and columns.

    Attributes:
        name: unique among the audits.
        selector: which runs; default: every FINISHED one.
        policies: ids of policies, at least one.
        data: "evaluation" and "training" to where the table is; a missing key leaves the choice to the agent.
        columns: role to the column it is bound to; `how` is "declared".
        auto: may roles be inferred from synonyms? The evidence then says "inferred". Default false.
    """

    name: str
    selector: Selector
    policies: tuple[str, ...]
    data: Mapping[str, DataRef] = field(default_factory=dict)
    columns: Mapping[str, ColumnBinding] = field(default_factory=dict)
    auto: bool = False

    @property
    def plan(self) -> DataPlan:
        """What fetching needs of this audit."""
        return DataPlan(self.data, self.columns, self.auto)


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """Limits of the sandbox that models run in.

    Attributes:
        wall: seconds of wall clock for one model; default 60.
        cpu: seconds of processor time; default 30.
        memory: bytes of address space; default 2 GiB.
        output: bytes that it may answer with; default 64 MiB.
        warm: workers kept ready, about 250 MB each; default 1; 0 starts each one when it is needed.
    """

    wall: float = 60.0
    cpu: float = 30.0
    memory: int = 2 * GIB
    output: int = 64 * MIB
    warm: int = 1


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """Where fetched models and data are kept.

    Attributes:
        folder: absolute; default `.venturalitica/cache` beside agent.yaml.
        size: bytes that it may hold before the oldest are dropped; default 2 GiB.
    """

    folder: Path
    size: int = 2 * GIB


@dataclass(frozen=True, slots=True)
class WandbSettings:
    """How audits show in W&B: audit_runs: whether each audited run gets an audit run, for the lineage graph."""

    audit_runs: bool = True


class OnDrift(StrEnum):
    """What happens when a run no longer carries what was published on it."""

    RESTORE = "restore"
    REPORT = "report"


@dataclass(frozen=True, slots=True)
class DriftSettings:
    """How what was published is kept.

    Attributes:
        every: seconds after which an audited run is compared again with what was published on it; default a day.
        on_change: whether what was changed is put back, or only reported; default: put back.
        inputs: whether its model and data are then compared with what was audited as well; default: they are.
    """

    every: float = 86_400.0
    on_change: OnDrift = OnDrift.RESTORE
    inputs: bool = True


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """What the state forgets. Verdicts, policies and the log are never among it.

    Attributes:
        jobs: seconds after which a finished job of the engine is forgotten; default 30 days.
        gone: seconds after which a run that was deleted in its store without a verdict is forgotten; default 90 days.
    """

    jobs: float = 30 * 86_400.0
    gone: float = 90 * 86_400.0


@dataclass(frozen=True, slots=True)
class PromotionRule:
    """Which verdicts let an alias of the model registry name a version.

    Attributes:
        model: glob on the registered model's name. only_if: the worst verdict must be one of these.
    """

    model: str
    alias: str
    only_if: tuple[Status, ...] = (Status.PASS,)


class Event(StrEnum):
    """What a channel can be told of: a verdict by its status, and what happens to the service's own matters."""

    FAIL = "fail"
    ERROR = "error"
    INCONCLUSIVE = "inconclusive"
    WARN = "warn"
    SKIP = "skip"
    PASS = "pass"  # noqa: S105 - a status
    DRIFT = "drift"  # somebody changed what was published
    WAIVER = "waiver"  # it ends soon, or is over
    STORE = "store"  # it doesn't answer, or answers again


@dataclass(frozen=True, slots=True)
class ChannelSettings:
    """Where people are told of what happens.

    Attributes:
        name: unique; the variable `VENTURALITICA_NOTIFY_<NAME>` holds its URL.
        url: as Apprise reads it; empty where the variable isn't set. Holds a secret, so it is never in `repr`.
        events: what it is told of.
        digest: seconds between two messages, at least; 0: each as soon as it can be sent.
    """

    name: str
    url: str = field(repr=False)
    events: tuple[Event, ...] = (Event.FAIL, Event.ERROR, Event.DRIFT, Event.WAIVER, Event.STORE)
    digest: float = 0.0


@dataclass(frozen=True, slots=True)
class SigningSettings:
    """What signs evidence, and who confirms when.

    Attributes:
        command: words of a command that signs, with a key that is kept elsewhere; empty: a key beside the state does.
        public_key: absolute PEM file of the key that `command` signs with; needed with it.
        timestamp: http(s) URL of an RFC 3161 time-stamp authority; empty: none is asked.
        timestamp_ca: absolute PEM file of the certificates that its answers must lead to; needed with `timestamp`.
    """

    command: str = ""
    public_key: Path | None = None
    timestamp: str = ""
    timestamp_ca: Path | None = None


@dataclass(frozen=True, slots=True)
class WebSettings:
    """The status page.

    Attributes:
        host, port: where it listens; default 127.0.0.1 and TCP port 8321.
        serve: does `run` serve it? Default true.
        token: what readers must show; only a variable gives it. token_file: absolute file that holds it.
        users: absolute file of those who may log in, a line `name:hash` each.
    """

    host: str = "127.0.0.1"
    port: int = 8321
    serve: bool = True
    token: str = field(default="", repr=False)
    token_file: Path | None = None
    users: Path | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the agent was told.

    Attributes:
        folder: absolute folder that relative paths were resolved against: agent.yaml's, or the working directory.
        stores: at least one.
        policies: absolute folder or file of policies.
        state: SQLAlchemy URL of the agent's own database: `sqlite:///<absolute file>` (default
            `.venturalitica/agent.db`) or `postgresql://...`. May hold credentials, so it is never in `repr`.
        cache, sandbox, wandb, web, signing, drift, retention: see there.
        audits: in the order of the file; empty: each policy's own `applies_to` says which runs.
        promote: what aliases of the model registry may name.
        notify: the channels, in the order of the file.
        settle: seconds of quiet after a run's end before it is due; default 5.
        reconcile: seconds between two sweeps over whole stores; default 60.
        stale_running: seconds after which a run that is still RUNNING is reported as stuck; default 24 h.
        concurrency: audits at a time; default 2.
        environment: tracker credentials (MLFLOW_*, WANDB_*, AWS_*) that `.env` gives and the real environment
            doesn't, for the caller to apply; never in `repr`.
        file: the agent.yaml that was read, or None.
    """

    folder: Path
    stores: tuple[StoreSettings, ...]
    policies: Path
    state: str = field(repr=False)
    cache: CacheSettings
    audits: tuple[AuditSettings, ...] = ()
    settle: float = 5.0
    reconcile: float = 60.0
    stale_running: float = 86_400.0
    concurrency: int = 2
    sandbox: SandboxSettings = field(default_factory=SandboxSettings)
    wandb: WandbSettings = field(default_factory=WandbSettings)
    web: WebSettings = field(default_factory=WebSettings)
    signing: SigningSettings = field(default_factory=SigningSettings)
    drift: DriftSettings = field(default_factory=DriftSettings)
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    notify: tuple[ChannelSettings, ...] = ()
    promote: tuple[PromotionRule, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    file: Path | None = None
