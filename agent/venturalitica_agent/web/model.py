"""What each page says, as documents: the JSON API answers with them, the pages are made of them, OpenAPI is made of
their schema. Times are seconds since the epoch (UTC) unless a field says otherwise; links are empty where nobody knows
where the tracker's UI is."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class Document(BaseModel):
    """Base of all: immutable, and no field beside those declared."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Light(StrEnum):
    """The traffic light of a set of verdicts."""

    GREEN = "green"  # everything evaluated passed, and something was
    AMBER = "amber"  # the worst is `inconclusive` or `warn`
    RED = "red"  # the worst is `fail` or `error`
    GREY = "grey"  # nothing was evaluated: no verdict, or nothing but `skip`


Counts = dict[str, int]
"""Status (or phase) -> how many; statuses with none are left out."""


class Week(Document):
    """Verdicts given in one week; `start` is its Monday, 00:00 UTC."""

    start: float
    counts: Counts


class PolicyLight(Document):
    """One policy on one experiment. `as_of`: when its newest verdict was given."""

    policy: str
    light: Light
    counts: Counts
    as_of: float | None
    trend: tuple[Week, ...] = Field(description="oldest first; weeks without verdicts are there too")


class ExperimentLight(Document):
    id: str
    name: str
    light: Light
    link: str
    policies: tuple[PolicyLight, ...]


class StoreLight(Document):
    """`ok` is None when it was not looked at yet. `phases`: runs by where they stand with us."""

    id: str
    kind: str = Field(description="mlflow, wandb, wandb_offline or folder")
    uri: str
    ok: bool | None
    since: float | None
    error: str
    remedy: str
    light: Light
    phases: Counts
    experiments: tuple[ExperimentLight, ...]


class Waiting(Document):
    """Runs of one kind that have no verdict yet, or can't get one. `since`: when the oldest of them became so."""

    count: int
    since: float | None


class Overview(Document):
    now: float
    light: Light
    counts: Counts
    due: Waiting
    stuck: Waiting
    running_too_long: int
    stores: tuple[StoreLight, ...]
    notices: tuple[str, ...] = Field(
        description="sentences on refused configurations and policies and on waivers that end"
    )


class RunRow(Document):
    """One run under one policy; or (then `policy` is empty and `reason` says why) where a run stands that isn't done.

    `status` is a verdict's status, or where a run stands: pending, running, ignored, stuck, gone. A run that is audited
    again has a row of either kind; one that is ignored or gone has no verdict that counts, so no row of the first.
    """

    store: str
    run_id: str
    name: str
    experiment: str
    policy: str
    version: str
    status: str
    failed: tuple[str, ...]
    counts: Counts
    ended_at: float | None
    decided_at: float | None
    reason: str
    link: str


class RunFilter(Document):
    """What the URL of a list of runs says; everything empty means all runs. Times are dates as 2026-11-30, UTC,
    of the run's end."""

    status: str = ""
    policy: str = ""
    store: str = ""
    experiment: str = ""
    control: str = Field("", description="runs in which this control did not pass")
    since: str = ""
    until: str = Field("", description="the last day that counts")
    text: str = Field("", description="part of the run's name, or the beginning of its id")


class RunsPage(Document):
    """`total` is exact. `after`: cursor of the next page, empty on the last; `before`: of the page before."""

    filter: RunFilter
    rows: tuple[RunRow, ...]
    total: int
    first: int = Field(description="number of the first row, from 1; 0 when there is none")
    after: str
    before: str
    statuses: tuple[str, ...]
    policies: tuple[str, ...]
    stores: dict[str, str] = Field(description="id -> URI")
    experiments: tuple[str, ...]
    controls: tuple[str, ...]


class GroupRow(Document):
    group: str
    n: int
    value: float | None
    numerator: int | None
    denominator: int | None
    low: float | None
    high: float | None
    compared: bool
    reason: str


class FindingView(Document):
    """One control's outcome. `picture`: an inline SVG of its groups (markup of ours, safe), empty without any."""

    control: str
    status: str
    would_be: str
    sentence: str
    remedy: str
    metric: str
    require: str
    article: str
    severity: str
    enforcement: str
    decided_on: str
    value: float | None
    low: float | None
    high: float | None
    level: float | None
    method: str
    n: int | None
    rate: str = Field("", description="what the groups' own values are, as selection rate; empty without groups")
    reference: str = Field("", description="the group compared with; empty without groups")
    groups: tuple[GroupRow, ...]
    notes: tuple[str, ...]
    waived: str = Field(description="who waives it until when and why, as a sentence; empty when nobody does")
    picture: str = ""


class Digest(Document):
    """`check`: whether the tracker's own digest agrees: match, mismatch, uncheckable; empty for what it has none of."""

    part: str
    name: str
    origin: str
    sha256: str
    check: str
    check_reason: str


class BoundRole(Document):
    role: str
    column: str
    how: str = Field(description="declared, run, policy, name or inferred")
    detail: str = Field(description="positive class, groups and bins, in words")


class EvidenceFile(Document):
    """A file of the evidence, as an artifact path; `link` shows it in the tracker's UI."""

    path: str
    link: str


class Limit(Document):
    """What a verdict can't claim about one article."""

    article: str
    sentence: str


class AuditView(Document):
    """One verdict with all that it rests on."""

    audit_id: str
    policy: str
    version: str
    policy_digest: str
    title: str
    status: str
    counts: Counts
    decided_at: float | None
    agent_version: str
    findings: tuple[FindingView, ...]
    binding: tuple[BoundRole, ...]
    digests: tuple[Digest, ...]
    missing: tuple[str, ...]
    evidence: tuple[EvidenceFile, ...]
    notes: tuple[str, ...]
    cannot_claim: tuple[Limit, ...]
    sandbox: str


class EarlierAudit(Document):
    """Another audit of the same run, or of a run of its lineage; `relation` says which: earlier, same model, same
    data."""

    relation: str
    store: str
    run_id: str
    name: str
    policy: str
    version: str
    status: str
    audit_id: str
    decided_at: float


class RunPage(Document):
    """A run with its present verdicts. `phase` and `reason`: where it stands with us, as in the ledger."""

    store: str
    store_uri: str
    run_id: str
    name: str
    experiment: str
    status: str
    light: Light
    phase: str
    reason: str
    started_at: float | None
    ended_at: float | None
    run_link: str
    experiment_link: str
    failing_link: str = Field(description="the tracker's own list of the failing runs of this experiment")
    audits: tuple[AuditView, ...]
    earlier: tuple[EarlierAudit, ...]


class Term(Document):
    """A version of a policy and when it was in force. `diff`: what it changed from the one before, in words."""

    version: str
    digest: str
    file_name: str
    since: float
    until: float | None
    commit: str
    dirty: bool | None
    decided: Counts
    diff: tuple[str, ...]


class WaiverView(Document):
    control: str
    policy: str
    scope: str = Field(description="which runs or experiments, in words")
    reason: str
    owner: str
    expires: str = Field(description="last day that it counts, as 2026-12-31")
    counts_today: bool
    days_left: int


class PolicyView(Document):
    id: str
    title: str
    terms: tuple[Term, ...] = Field(description="newest first")


class PoliciesPage(Document):
    policies: tuple[PolicyView, ...]
    waivers: tuple[WaiverView, ...]
    refused: tuple[str, ...]


class Credential(Document):
    """A credential by the name of its setting, never its value."""

    name: str
    present: bool
    origin: str = Field(description="environment, .env, netrc or empty")


class Integration(Document):
    """One store as the service sees it.

    `last_event`: when something last changed on one of its runs, by our clock. `lag`: seconds since the oldest run
    that ended and has no verdict yet became due; 0 when none waits.
    """

    id: str
    kind: str
    uri: str
    ok: bool | None
    since: float | None
    scanned_at: float | None
    last_event: float | None
    last_error: str
    last_error_at: float | None
    remedy: str
    lag: float
    phases: Counts
    ignored: Counts = Field(description="reason -> how many")
    credentials: tuple[Credential, ...]
    experiment_link: str
    latest_run: str
    latest_run_link: str


class CheckView(Document):
    name: str
    ok: bool
    detail: str
    remedy: str


class IntegrationsPage(Document):
    """`service`: sentence on which process watches the stores now. `checked_at` is None until doctor has looked."""

    service_running: bool
    service: str
    stores: tuple[Integration, ...]
    checks: tuple[CheckView, ...]
    checked_at: float | None


class Alive(Document):
    """The process answers. `state` tells one agent's state from another's, and nothing else of it."""

    status: str
    version: str
    state: str


class Ready(Document):
    ready: bool
    reasons: tuple[str, ...] = Field(description="sentences on what is missing; none when it is ready")


class Fault(Document):
    """Why there is no answer: what happened, to what, and what to do."""

    what: str
    subject: str = ""
    remedy: str = ""
