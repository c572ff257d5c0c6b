"""Evidence with every kind of finding, judged, signed and logged by the real code."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from support.verdicts import subject

from venturalitica_agent.attest.bundle import build_bundle
from venturalitica_agent.attest.keys import Keys
from venturalitica_agent.attest.notary import Notary
from venturalitica_agent.domain.evidence import Decision, EvidenceBundle, audit_id
from venturalitica_agent.domain.policy import Policy
from venturalitica_agent.domain.subject import DigestCheck, Subject, files_digest
from venturalitica_agent.domain.verdict import GroupStat, Interval, Measurement, Unmeasured, Waived
from venturalitica_agent.evaluate.integrity import integrity_findings
from venturalitica_agent.evaluate.judge import judge
from venturalitica_agent.policy.load import parse_policy
from venturalitica_agent.state.log import Log
from venturalitica_agent.state.opening import open_state

SINCE = 1_767_322_000.25  # 2026-01-02T02:46:40.250Z
STARTED = 1_767_323_000_000

POLICY = """
policy: credit
version: "1.0.0"
controls:
- {id: passes, metric: accuracy, require: ">= 0.7"}
- {id: fails, metric: disparate_impact, role: gender, require: ">= 0.8", article: "10(2)(f)"}
- {id: warns, metric: accuracy, require: ">= 0.9", enforcement: warn}
- {id: open, metric: disparate_impact, role: gender, require: ">= 0.3"}
- {id: small, metric: disparate_impact, role: gender, require: ">= 0.1"}
- {id: by-point, metric: accuracy, require: "> 0.79", decide_on: point}
- {id: infinite, metric: mae, require: "< 5"}
- {id: unmeasured, metric: roc_auc, require: ">= 0.7", enforcement: report}
- {id: waived, metric: accuracy, require: ">= 0.95"}
- {id: shown, metric: accuracy, require: ">= 0.123456789", enforcement: report}
"""


def policy() -> Policy:
    return parse_policy(POLICY.encode(), "credit.yaml")


def about() -> Subject:
    """A subject whose digests are those of its files, and whose data aren't what the run logged."""
    given = subject()
    assert given.model is not None
    data = replace(given.data["evaluation"], check=DigestCheck.MISMATCH, check_reason="other rows", tracker_digest="1a")
    return replace(given, model=replace(given.model, digest=files_digest(given.model.files)), data={"evaluation": data})


@cache
def results() -> tuple[Measurement | Unmeasured, ...]:
    accuracy = Interval(0.75, 0.85, 0.95, "wilson")
    ratio = Interval(0.2, 0.6, 0.95, "katz")
    rates = Interval(0.3, 0.5, 0.95, "wilson")
    groups = (GroupStat("f", 100, 0.4, 40, 100, rates), GroupStat("m", 90, 0.9, 81, 90, rates))
    few = (groups[0], GroupStat("x", 3, 0.0, 0, 3, rates, compared=False, reason="fewer than 30 rows"))

    def measured(control: str, metric: str, value: float, bounds: Interval, *among: GroupStat) -> Measurement:
        small = tuple(g.group for g in among if g.n < 30)
        return Measurement(control, metric, value, bounds, 200, among, small_groups=small)

    return (
        measured("passes", "accuracy", 0.8, accuracy),
        measured("fails", "disparate_impact", 0.4 / 0.9, ratio, *groups),
        measured("warns", "accuracy", 0.8, accuracy),
        measured("open", "disparate_impact", 0.4 / 0.9, ratio, *groups),
        measured("small", "disparate_impact", 0.4 / 0.9, ratio, *few),
        measured("by-point", "accuracy", 0.8, accuracy),
        measured("infinite", "mae", float("inf"), Interval(float("-inf"), float("nan"), 0.95, "bootstrap", 7, 1000)),
        Unmeasured("unmeasured", "roc_auc", "the model gives no scores", "log one that does"),
        measured("waived", "accuracy", 0.8, accuracy),
        measured("shown", "accuracy", 0.8, accuracy),
    )


def decision(run_id: str = "r") -> Decision:
    given, on = policy(), about()
    waivers = {"waived": Waived("known since May", "Ana Ruiz", "2026-12-31")}
    verdict = judge(given, results(), integrity_findings(on), waivers)
    facts = {"run_id": run_id, "name": "a run ☃", "experiment": "demo", "start_time": STARTED, "end_time": STARTED + 1}
    return Decision(
        audit_id("memory", run_id, on, given.digest, verdict.waived),
        "loan",
        "memory",
        facts,
        on,
        verdict,
        "2026-01-02T03:04:05Z",
        {"agent.numpy": "2"},
        {"tier": "bwrap"},
        ("a note",),
        waivers="a" * 64,
    )


def notary(folder: Path) -> Notary:
    return Notary(Keys(folder / "keys"), Log(open_state(f"sqlite:///{folder}/state.db")), clock=lambda: SINCE)


def attested(by: Notary, run_id: str = "r") -> EvidenceBundle:
    given = decision(run_id)
    return by.attest(given, policy(), build_bundle(given, policy(), link="http://ui/#/r"), since=SINCE)


def inside(bundle: EvidenceBundle) -> dict[str, bytes]:
    """The files of the audit's folder, by their names in it."""
    start = f"{bundle.folder}/"
    return {path.removeprefix(start): content for path, content in bundle.files.items() if path.startswith(start)}
