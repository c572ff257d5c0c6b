"""The verdict as OSCAL 1.2.1, for the tools and people that ask for OSCAL: assessment results always, and a plan of
action and milestones where something has to be done.

OSCAL knows `satisfied` and `not-satisfied` only. Whatever isn't a pass is `not-satisfied`, with our own word as the
reason: nothing that wasn't evaluated reads as satisfied. Every reference leads to something in the same document, every
hash is of the bytes beside it, and every UUID follows from the audit's id.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Any, TypeAlias
from urllib.parse import quote
from uuid import uuid5

from venturalitica_agent.attest.report import text
from venturalitica_agent.domain.evidence import Decision
from venturalitica_agent.domain.policy import Policy
from venturalitica_agent.domain.subject import FileDigest
from venturalitica_agent.domain.verdict import Finding, Status
from venturalitica_agent.policy.oscal_export import OSCAL_VERSION, SPACE, as_props, control_tokens

Json: TypeAlias = dict[str, Any]

_TO_DO = (Status.FAIL, Status.WARN, Status.ERROR)
_OPEN = (*_TO_DO, Status.INCONCLUSIVE, Status.WAIVED)
_LONGEST = 4000
# Our own few: what the machine's table of types says differs from one machine to the next, and these bytes must not.
_MEDIA = {".json": "application/json", ".md": "text/markdown", ".html": "text/html", ".yaml": "application/yaml"}


def oscal_files(decision: Decision, policy: Policy, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """`assessment-results.oscal.json`, and `poam.oscal.json` when a control failed, warns or couldn't be evaluated.

    Args:
        files: the other files of the bundle by their path inside it; the documents refer to them by their hashes.
    """
    words = _Words(decision, policy, files)
    documents = {"assessment-results.oscal.json": {"assessment-results": words.results()}}
    if any(finding.status in _TO_DO for finding in decision.verdict.findings):
        documents["poam.oscal.json"] = {"plan-of-action-and-milestones": words.plan_of_action()}
    return {
        name: (json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
        for name, document in documents.items()
    }


@dataclass(frozen=True)
class _Words:
    """One decision in OSCAL's words."""

    decision: Decision
    policy: Policy
    files: Mapping[str, bytes]

    @cached_property
    def _tokens(self) -> dict[str, str]:
        """OSCAL's token for each control, and for the findings that are no control's (the integrity of the data)."""
        ids = dict.fromkeys([c.id for c in self.policy.controls] + [f.control for f in self.decision.verdict.findings])
        return dict(zip(ids, control_tokens(ids), strict=True))

    def _uuid(self, what: str) -> str:
        return str(uuid5(SPACE, f"{self.decision.audit_id} {what}"))

    # -- documents ------------------------------------------------------------------------------------------
    def results(self) -> Json:
        findings = self.decision.verdict.findings
        judged = [f for f in findings if f.status is not Status.SKIP]
        result = {
            "uuid": self._uuid("result"),
            "title": f"Audit {self.decision.audit_id}: {self.decision.verdict.status}",
            "description": self._about(),
            "start": self.decision.decided_at,
            "end": self.decision.decided_at,
            "props": as_props(self._facts()),
            "reviewed-controls": {"control-selections": [self._selection(findings)]},
            **_some("observations", [self._observation(f) for f in findings]),
            **_some("risks", [self._risk(f) for f in findings if f.status in _OPEN]),
            **_some("findings", [self._finding(f) for f in judged]),
        }
        return {
            "uuid": self._uuid("assessment-results"),
            "metadata": self._metadata("Assessment results"),
            "import-ap": {"href": f"#{self._policy_resource}", "remarks": "The policy is the plan of the assessment."},
            "results": [result],
            "back-matter": {"resources": list(self._resources())},
        }

    def plan_of_action(self) -> Json:
        open_findings = [f for f in self.decision.verdict.findings if f.status in _OPEN]
        return {
            "uuid": self._uuid("plan-of-action-and-milestones"),
            "metadata": self._metadata("Plan of action and milestones"),
            "system-id": {"id": _plain(f"{self.decision.store}/{self.decision.run_facts.get('run_id')}")},
            "observations": [self._observation(f) for f in open_findings],
            "risks": [self._risk(f) for f in open_findings],
            "poam-items": [self._item(f) for f in open_findings],
            "back-matter": {"resources": list(self._resources())},
        }

    # -- parts ----------------------------------------------------------------------------------------------
    def _about(self) -> str:
        facts = self.decision.run_facts
        return (
            f"Training run {text(facts.get('run_id'))} ({text(facts.get('name'))}) of experiment "
            f"{text(facts.get('experiment'))}, measured against {text(self.policy.ref)}. The signature beside this "
            "file is the service's, not a person's declaration."
        )

    def _facts(self) -> dict[str, str]:
        model = self.decision.subject.model
        return {
            "status": self.decision.verdict.status.value,
            "audit-id": self.decision.audit_id,
            "policy": self.policy.ref,
            "policy-digest": self.policy.digest,
            "store": self.decision.store,
            "run-id": str(self.decision.run_facts.get("run_id") or ""),
            "model-digest": model.digest if model else "",
            "waivers-digest": self.decision.waivers,
        }

    def _metadata(self, title: str) -> Json:
        return {
            "title": f"{title}: {text(self.policy.title or self.policy.id)}",
            "last-modified": self.decision.decided_at,
            "version": self.decision.audit_id,
            "oscal-version": OSCAL_VERSION,
        }

    def _selection(self, findings: Sequence[Finding]) -> Json:
        def those(skipped: bool) -> list[Json]:
            chosen = [f for f in findings if (f.status is Status.SKIP) == skipped]
            return [{"control-id": self._tokens[f.control]} for f in chosen]

        if not those(skipped=False):
            return {"description": "None of these controls was evaluated.", **_some("include-controls", those(True))}
        return {**_some("include-controls", those(skipped=False)), **_some("exclude-controls", those(skipped=True))}

    def _observation(self, finding: Finding) -> Json:
        measured = finding.measurement
        values = {"verdict": finding.status.value, "metric": finding.metric, "require": finding.require}
        values |= {"article": finding.article, "decided-on": finding.decided_on if measured else ""}
        if measured is not None:
            interval = measured.interval
            values |= {"value": repr(measured.value), "n": str(measured.n), "interval-method": interval.method}
            values |= {"interval-low": repr(interval.low), "interval-high": repr(interval.high)}
            values |= {"interval-level": repr(interval.level)}
        return {
            "uuid": self._uuid(f"observation {finding.control}"),
            "title": _title(finding),
            "description": text(finding.sentence, _LONGEST) or _title(finding),
            "props": as_props(values),
            "methods": ["TEST"],
            "types": ["control-objective"],
            **_some("subjects", [{"subject-uuid": uuid, "type": "resource"} for uuid in self._subjects()]),
            "relevant-evidence": [
                {"href": f"#{self._resource(path)}", "description": f"{path} of this audit"}
                for path in ("evidence.json",)
                if path in self.files
            ],
            "collected": self.decision.decided_at,
        }

    def _finding(self, finding: Finding) -> Json:
        passed = finding.status is Status.PASS
        status = {"state": "satisfied" if passed else "not-satisfied", "reason": finding.status.value}
        return {
            "uuid": self._uuid(f"finding {finding.control}"),
            "title": _title(finding),
            "description": text(finding.sentence, _LONGEST) or _title(finding),
            "props": as_props({"verdict": finding.status.value, "enforcement": finding.enforcement}),
            "target": {"type": "objective-id", "target-id": self._tokens[finding.control], "status": status},
            "related-observations": [{"observation-uuid": self._uuid(f"observation {finding.control}")}],
            **self._its_risk(finding),
        }

    def _risk(self, finding: Finding) -> Json:
        waived = finding.waived
        approved = {"status": "deviation-approved"} if waived else {"status": "open"}
        statement = f"Waived until {waived.expires} by {waived.owner}: {waived.reason}" if waived else finding.remedy
        values = {"severity": finding.severity, "enforcement": finding.enforcement, "risk-id": self._risk_id(finding)}
        return {
            "uuid": self._uuid(f"risk {finding.control}"),
            "title": _title(finding),
            "description": text(finding.sentence, _LONGEST) or _title(finding),
            "statement": text(statement, _LONGEST) or "What would change the outcome is not known.",
            "props": as_props(values),
            **approved,
            "related-observations": [{"observation-uuid": self._uuid(f"observation {finding.control}")}],
        }

    def _risk_id(self, finding: Finding) -> str:
        return next((c.risk for c in self.policy.controls if c.id == finding.control), "")

    def _its_risk(self, finding: Finding) -> Json:
        linked = [{"risk-uuid": self._uuid(f"risk {finding.control}")}] if finding.status in _OPEN else []
        return _some("related-risks", linked)

    def _item(self, finding: Finding) -> Json:
        return {
            "uuid": self._uuid(f"item {finding.control}"),
            "title": _title(finding),
            "description": text(finding.remedy or finding.sentence, _LONGEST) or _title(finding),
            "related-observations": [{"observation-uuid": self._uuid(f"observation {finding.control}")}],
            **self._its_risk(finding),
        }

    # -- what is referred to --------------------------------------------------------------------------------
    @property
    def _policy_resource(self) -> str:
        return self._resource(f"policy_snapshot/{self.policy.file_name}")

    def _resource(self, path: str) -> str:
        return self._uuid(f"resource {path}")

    def _subjects(self) -> list[str]:
        subject = self.decision.subject
        return [self._resource("model")] * (subject.model is not None) + [
            self._resource(f"data/{split}") for split in sorted(subject.data)
        ]

    def _resources(self) -> Iterator[Json]:
        for path, content in sorted(self.files.items()):
            digest = FileDigest(path, len(content), sha256(content).hexdigest())
            yield {"uuid": self._resource(path), "title": text(path), "rlinks": [_rlink(digest)]}
        subject = self.decision.subject
        if subject.model is not None:
            files = [FileDigest(f"model/{f.name}", f.size, f.sha256) for f in subject.model.files]
            named = f"Model {text(subject.model.name)}" if subject.model.name else "Model"
            yield {"uuid": self._resource("model"), "title": named, **_some("rlinks", map(_rlink, files))}
        for split, data in sorted(subject.data.items()):
            file = FileDigest(f"data/{split}", data.file.size, data.file.sha256)
            yield {"uuid": self._resource(f"data/{split}"), "title": f"{split} data", "rlinks": [_rlink(file)]}


def _some(name: str, items: Iterable[Any]) -> Json:
    """OSCAL allows no empty arrays: the key is left out then."""
    found = list(items)
    return {name: found} if found else {}


def _title(finding: Finding) -> str:
    return f"{finding.status}: {text(finding.control, 200)}"


def _plain(value: str) -> str:
    """As OSCAL's strings are: on one line, with no space at either end."""
    return " ".join(value.split()) or "-"


def _rlink(file: FileDigest) -> Json:
    kind = _MEDIA.get(PurePosixPath(file.name).suffix)
    return {
        "href": quote(file.name),
        **({"media-type": kind} if kind else {}),
        "hashes": [{"algorithm": "SHA-256", "value": file.sha256}],
    }
