"""Decisions made by hand, as evaluating would make them."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

from venturalitica_agent.domain.evidence import Decision, audit_id
from venturalitica_agent.domain.policy import Control, Op, Policy, Requirement
from venturalitica_agent.domain.subject import (
    ColumnBinding,
    DataSubject,
    DigestCheck,
    FileDigest,
    ModelSubject,
    Problem,
    Subject,
)
from venturalitica_agent.domain.verdict import Finding, GroupStat, Interval, Measurement, Status, Verdict, worst

CACHE = "/var/cache/of-the-agent"


def digest(content: bytes) -> str:
    return sha256(content).hexdigest()


def policy(id_: str = "credit", *, file_name: str = "credit.yaml", title: str = "Credit") -> Policy:
    content = f"policy: {id_}\nversion: 1.0.0\n".encode()
    control = Control("ratio", "disparate_impact", Requirement(Op.GE, 0.8))
    return Policy(id_, "1.0.0", digest(content), file_name, content, (control,), title=title)


MODEL_FILES = {"MLmodel": b"flavors: {}\n", "data/model.pkl": b"\x80\x04."}


def subject(*, name: str = "classifier", model_id: str = "m-1", column: str = "sex") -> Subject:
    files = tuple(FileDigest(n, len(c), digest(c)) for n, c in MODEL_FILES.items())
    model = ModelSubject(
        name, f"{CACHE}/models/x", digest(b"m"), files, "sklearn", "data/model.pkl", "pickle", model_id=model_id
    )
    data = DataSubject(
        "eval",
        f"{CACHE}/data/y",
        "csv",
        "artifact data/test.csv of the run",
        FileDigest("test.csv", 10, digest(b"d")),
        (column, "y"),
        200,
        check=DigestCheck.MATCH,
    )
    binding = {"gender": ColumnBinding("gender", column, "declared", groups={"f": ("F",), "m": ("M", 1, True)})}
    return Subject(model, {"evaluation": data}, binding, {"training": Problem("no training data was logged", "log it")})


def finding(status: Status, control: str = "ratio", *, sentence: str = "The ratio is 0.43.") -> Finding:
    interval = Interval(0.3, float("inf"), 0.95, "wilson")
    groups = (GroupStat("f", 100, 0.4, 40, 100, interval), GroupStat("m", 100, float("nan"), reason="odd"))
    measured = Measurement(control, "disparate_impact", 0.43, interval, 200, groups, rate="selection rate")
    return Finding(control, status, sentence, "disparate_impact", "10(2)(f)", require=">= 0.8", measurement=measured)


def decision(
    given: Policy,
    *statuses: Status,
    run_id: str = "r",
    name: str = "a run",
    store: str = "memory",
    about: Subject | None = None,
    decided_at: str = "2026-01-02T03:04:05Z",
) -> Decision:
    about = about or subject()
    findings = tuple(finding(s, f"control-{i}") for i, s in enumerate(statuses))
    verdict = Verdict(given.id, given.version, given.digest, worst(statuses), findings)
    return Decision(
        audit_id(store, run_id, about, given.digest),
        "loan",
        store,
        {"run_id": run_id, "name": name, "experiment": "demo", "end_time": 1},
        about,
        verdict,
        decided_at,
        {"agent.numpy": "2"},
        {"tier": "bubblewrap"},
        ("a note",),
    )


def renamed(given: Decision, **facts: str) -> Decision:
    return replace(given, run_facts={**given.run_facts, **facts})
