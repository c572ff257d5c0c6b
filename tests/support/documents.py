"""Documents of the status page made by hand: a world in which everything that a page can show is there once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from venturalitica_agent.web.model import (
    AuditView,
    BoundRole,
    CheckView,
    Credential,
    Digest,
    EarlierAudit,
    EvidenceFile,
    ExperimentLight,
    FindingView,
    GroupRow,
    Integration,
    IntegrationsPage,
    Light,
    Limit,
    Overview,
    PoliciesPage,
    PolicyLight,
    PolicyView,
    RunFilter,
    RunPage,
    RunRow,
    RunsPage,
    StoreLight,
    Term,
    Waiting,
    WaiverView,
    Week,
)

NOW = 1_795_469_820.0  # 23 Nov 2026, 21:37 UTC
DAY = 86400.0
UI = "http://127.0.0.1:5000"


def trend(*weeks: dict[str, int]) -> tuple[Week, ...]:
    return tuple(Week(start=NOW - (len(weeks) - i) * 7 * DAY, counts=counts) for i, counts in enumerate(weeks))


def policy_light(light: Light = Light.RED, **counts: int) -> PolicyLight:
    weeks = trend(
        {}, {"pass": 2}, {"pass": 3, "fail": 1}, {}, {"warn": 1}, {"pass": 5}, {"pass": 4, "error": 1}, counts
    )
    return PolicyLight(
        policy="credit-scoring", light=light, counts=counts, as_of=NOW - 3600 if counts else None, trend=weeks
    )


def overview(*, experiment: str = "loan-german-credit", light: Light = Light.RED, **counts: int) -> Overview:
    counts = counts or {"fail": 2, "inconclusive": 1, "pass": 14}
    by_experiment = ExperimentLight(
        id="1",
        name=experiment,
        light=light,
        link=f"{UI}/#/experiments/1",
        policies=(policy_light(light, **counts), policy_light(Light.GREEN, **{"pass": 3})),
    )
    quiet = ExperimentLight(id="2", name="churn", light=Light.GREY, link="", policies=())
    store = StoreLight(
        id="5d41402abc4b",
        kind="mlflow",
        uri="sqlite:///mlflow.db",
        ok=True,
        since=NOW - 3 * DAY,
        error="",
        remedy="",
        light=light,
        phases={"done": 17, "ignored": 3, "due": 1, "stuck": 1},
        experiments=(by_experiment, quiet),
    )
    away = StoreLight(
        id="7d793037a076",
        kind="wandb",
        uri="acme/credit",
        ok=False,
        since=NOW - 7200,
        error="the server does not answer",
        remedy="check WANDB_BASE_URL",
        light=Light.GREY,
        phases={},
        experiments=(),
    )
    return Overview(
        now=NOW,
        light=light,
        counts=counts,
        due=Waiting(count=1, since=NOW - 60),
        stuck=Waiting(count=1, since=NOW - DAY),
        running_too_long=0,
        stores=(store, away),
        notices=("the waiver of age-ratio under credit-scoring ends on 2026-12-01",),
    )


def empty_overview() -> Overview:
    nobody = Waiting(count=0, since=None)
    return Overview(
        now=NOW, light=Light.GREY, counts={}, due=nobody, stuck=nobody, running_too_long=0, stores=(), notices=()
    )


def row(number: int = 1, *, name: str = "logistic", status: str = "fail", **changes: Any) -> RunRow:
    verdict = status in ("fail", "pass", "error", "warn", "inconclusive", "skip")
    given: dict[str, Any] = {
        "store": "5d41402abc4b",
        "run_id": f"{number:032x}",
        "name": name,
        "experiment": "loan-german-credit",
        "policy": "credit-scoring" if verdict else "",
        "version": "1.2.0" if verdict else "",
        "status": status,
        "failed": ("sex-impact-ratio", "age-impact-ratio") if status == "fail" else (),
        "counts": {status: 2} if verdict else {},
        "ended_at": NOW - number * 3600,
        "decided_at": NOW - number * 3600 + 6,
        "reason": "" if verdict else "FAILED in the store",
        "link": f"{UI}/#/experiments/1/runs/{number:032x}",
    }
    return RunRow(**given | changes)


def runs(*rows: RunRow, wanted: RunFilter | None = None, after: str = "", before: str = "") -> RunsPage:
    return RunsPage(
        filter=wanted or RunFilter(),
        rows=rows,
        total=len(rows),
        first=1 if rows else 0,
        after=after,
        before=before,
        statuses=("fail", "pass"),
        policies=("credit-scoring",),
        stores={"5d41402abc4b": "sqlite:///mlflow.db"},
        experiments=("loan-german-credit",),
        controls=("sex-impact-ratio",),
    )


def group(name: str, n: int, of: int, **changes: Any) -> GroupRow:
    given: dict[str, Any] = {
        "group": name,
        "n": of,
        "value": n / of,
        "numerator": n,
        "denominator": of,
        "low": max(0.0, n / of - 0.08),
        "high": min(1.0, n / of + 0.08),
        "compared": True,
        "reason": "",
    }
    return GroupRow(**given | changes)


def finding(control: str = "sex-impact-ratio", status: str = "fail", **changes: Any) -> FindingView:
    given: dict[str, Any] = {
        "control": control,
        "status": status,
        "would_be": "",
        "sentence": "Selection rate of female is 0.519 (n=81), of male 0.756 (n=168): ratio 0.687, "
        f"95 % interval 0.55–0.84; required >= 0.8: {status}.",
        "remedy": "With male as it is, the selection rate of female would have to be at least 0.605.",
        "metric": "disparate_impact",
        "require": ">= 0.8",
        "article": "10(2)(f)",
        "severity": "high",
        "enforcement": "block",
        "decided_on": "interval",
        "value": 0.687,
        "low": 0.55,
        "high": 0.84,
        "level": 0.95,
        "method": "Katz log",
        "n": 249,
        "rate": "selection rate",
        "reference": "male",
        "groups": (
            group("female", 42, 81),
            group("male", 127, 168),
            group("other", 3, 6, compared=False, reason="n=6 under 30"),
        ),
        "notes": ("3 rows without a label were left out",),
        "waived": "",
    }
    return FindingView(**given | changes)


def audit(*findings: FindingView, status: str = "fail", **changes: Any) -> AuditView:
    given: dict[str, Any] = {
        "audit_id": "0123456789abcdef" * 2,
        "policy": "credit-scoring",
        "version": "1.2.0",
        "policy_digest": "ab" * 32,
        "title": "Credit scoring, binary tabular classifier",
        "status": status,
        "counts": {"fail": 1, "inconclusive": 1, "pass": 2, "waived": 1},
        "decided_at": NOW - 3600,
        "agent_version": "0.1.0",
        "findings": findings
        or (
            finding("overall-accuracy", "pass", groups=(), sentence="Accuracy is 0.771 (n=249): pass.", remedy=""),
            finding(),
            finding("age-impact-ratio", "inconclusive"),
            finding("k-anonymity", "error", value=None, low=None, high=None, n=None, groups=(), metric="k_anonymity"),
            finding("foreign", "waived", waived="Waived until 2026-12-31 by Ana: too few rows.", would_be="fail"),
        ),
        "binding": (BoundRole(role="gender", column="Attribute9", how="declared", detail="female = A92, A95"),),
        "digests": (
            Digest(part="model", name="classifier", origin="", sha256="cd" * 32, check="", check_reason=""),
            Digest(
                part="evaluation",
                name="eval",
                origin="artifact data/test.csv of the run",
                sha256="ef" * 32,
                check="match",
                check_reason="",
            ),
        ),
        "missing": ("training data: no training data was logged",),
        "evidence": (
            EvidenceFile(
                path="venturalitica/credit-scoring/x/report.html", link=f"{UI}/#/experiments/1/runs/1/artifacts"
            ),
            EvidenceFile(path="venturalitica/credit-scoring/x/evidence.json", link=""),
        ),
        "notes": ("249 rows were predicted",),
        "cannot_claim": (Limit(article="10(2)(f)", sentence="An interval covers the chance of sampling."),),
        "sandbox": "bubblewrap",
    }
    return AuditView(**given | changes)


def run(*audits: AuditView, name: str = "logistic", **changes: Any) -> RunPage:
    given: dict[str, Any] = {
        "store": "5d41402abc4b",
        "store_uri": "sqlite:///mlflow.db",
        "run_id": f"{1:032x}",
        "name": name,
        "experiment": "loan-german-credit",
        "status": audits[0].status if audits else "pending",
        "light": Light.RED if audits else Light.GREY,
        "phase": "done" if audits else "due",
        "reason": "",
        "started_at": NOW - 7300,
        "ended_at": NOW - 7200,
        "run_link": f"{UI}/#/experiments/1/runs/{1:032x}",
        "experiment_link": f"{UI}/#/experiments/1",
        "failing_link": f"{UI}/#/experiments/1/runs?searchFilter=tags.venturalitica.status%20%3D%20%27fail%27",
        "audits": audits,
        "earlier": (
            EarlierAudit(
                relation="same model",
                store="5d41402abc4b",
                run_id=f"{2:032x}",
                name="forest",
                policy="credit-scoring",
                version="1.1.0",
                status="pass",
                audit_id="ff" * 16,
                decided_at=NOW - DAY,
            ),
        ),
    }
    return RunPage(**given | changes)


def policies() -> PoliciesPage:
    def term(version: str, since: float, until: float | None, *diff: str, **decided: int) -> Term:
        return Term(
            version=version,
            digest="ab" * 32,
            file_name="credit-scoring/policy.yaml",
            since=since,
            until=until,
            commit="9c4601b" if until is None else "",
            dirty=None,
            decided=decided,
            diff=diff,
        )

    terms = (
        term("1.2.0", NOW - DAY, None, "sex-impact-ratio: the threshold is 0.8, it was 0.75", **{"pass": 3, "fail": 2}),
        term("1.1.0", NOW - 9 * DAY, NOW - DAY, **{"pass": 9}),
    )
    waivers = tuple(
        WaiverView(
            control="foreign",
            policy="credit-scoring",
            scope="experiment loan*",
            reason="too few rows until the new intake",
            owner="Ana",
            expires="2026-12-31",
            counts_today=days >= 0,
            days_left=days,
        )
        for days in (38, 1, 0, -3)
    )
    view = PolicyView(id="credit-scoring", title="Credit scoring, binary tabular classifier", terms=terms)
    return PoliciesPage(policies=(view,), waivers=waivers, refused=("the policy draft.yaml has no controls",))


def integrations(*, checked: bool = True) -> IntegrationsPage:
    store = Integration(
        id="5d41402abc4b",
        kind="mlflow",
        uri="sqlite:///mlflow.db",
        ok=True,
        since=NOW - 3 * DAY,
        scanned_at=NOW - 120,
        last_event=NOW - 60,
        last_error="the database is locked",
        last_error_at=NOW - DAY,
        remedy="",
        lag=75.0,
        phases={"done": 17, "due": 1},
        ignored={"FAILED in the store": 2},
        credentials=(
            Credential(name="MLFLOW_TRACKING_TOKEN", present=True, origin="environment"),
            Credential(name="MLFLOW_TRACKING_PASSWORD", present=False, origin=""),
        ),
        experiment_link=f"{UI}/#/experiments/1",
        latest_run="logistic",
        latest_run_link=f"{UI}/#/experiments/1/runs/1",
    )
    return IntegrationsPage(
        service_running=True,
        service="process 4242 on this machine watches the stores",
        stores=(store,),
        checks=(
            CheckView(name="sandbox", ok=True, detail="bubblewrap", remedy=""),
            CheckView(name="watch limits", ok=False, detail="128 watches", remedy="raise fs.inotify.max_user_watches"),
        )
        if checked
        else (),
        checked_at=NOW - 30 if checked else None,
    )


@dataclass
class HandMadeReader:
    """Answers with documents that a test made."""

    shown: RunPage = field(default_factory=lambda: run(audit()))
    listed: RunsPage = field(default_factory=lambda: runs(row(), row(2, name="forest", status="pass")))
    told: Overview = field(default_factory=overview)
    connected: IntegrationsPage = field(default_factory=integrations)
    ruled: PoliciesPage = field(default_factory=policies)
    asked: list[tuple[RunFilter, str, str]] = field(default_factory=list)

    def overview(self) -> Overview:
        return self.told

    def runs(self, wanted: RunFilter, *, after: str = "", before: str = "", size: int = 50) -> RunsPage:
        self.asked.append((wanted, after, before))
        return self.listed.model_copy(update={"filter": wanted})

    def run(self, store: str, run_id: str) -> RunPage | None:
        return self.shown if (store, run_id) == (self.shown.store, self.shown.run_id) else None

    def policies(self) -> PoliciesPage:
        return self.ruled

    def integrations(self) -> IntegrationsPage:
        return self.connected
