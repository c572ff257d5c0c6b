"""Which version of a policy decides about a run, from the first audit to a re-audit: real runs, the real command.

The command is run in this process, where its imports are paid once and not with each of six calls.
"""

from __future__ import annotations

import pytest
import training
from workplace import Workplace

from venturalitica_agent.errors import ConfigError

POLICY = """\
policy: tiny
version: "{version}"
on_change: {on_change}
controls:
  - {{id: accuracy, metric: accuracy, require: ">= {threshold}"}}
  - {{id: written-before, metric: policy_predates_run, require: ">= 1", enforcement: report}}
"""


def write(place: Workplace, version: str, threshold: float, on_change: str = "new-runs") -> None:
    text = POLICY.format(version=version, threshold=threshold, on_change=on_change)
    (place.folder / "policies" / "tiny.yaml").write_text(text)


def log_run(uri: str) -> str:
    """A run whose logged predictions are right in 90 of 100 rows."""
    rows = training.table().head(100).assign(prediction=lambda frame: frame.y)
    rows.loc[:9, "prediction"] = 1 - rows.y[:10]
    return training.log_table(uri, rows)


def test_the_version_of_the_run_s_start_decides_until_a_later_one_asks_for_old_runs(place: Workplace, uri: str) -> None:
    def told(run: str) -> tuple[str, str, str]:
        tags = training.tags(uri, run)
        before = training.findings(uri, run)["written-before"]["status"]
        return tags["venturalitica.policy"], tags["venturalitica.status"], before

    write(place, "1.0", 0.8)
    first = log_run(uri)
    place.here("audit")
    assert told(first) == ("tiny@1.0", "pass", "fail")
    assert "before any version was on record" in training.evidence(uri, first)["notes"][0]

    second = log_run(uri)
    write(place, "1.1", 0.99)
    place.here("audit")
    assert told(second) == ("tiny@1.0", "pass", "pass")
    assert "in force when the run started" in training.evidence(uri, second)["notes"][0]

    third = log_run(uri)
    assert place.here("audit", check=1)["exit_code"] == 1
    assert told(third) == ("tiny@1.1", "fail", "pass")
    assert told(first) == ("tiny@1.0", "pass", "fail")

    write(place, "1.2", 0.7, on_change="{re-audit-since: 1d}")
    assert place.here("audit")["audited"] == 3
    assert {told(run) for run in (first, second, third)} == {("tiny@1.2", "pass", "fail")}
    assert len(training.evidence_folders(uri, third)) == 2

    write(place, "1.2", 0.6)
    with pytest.raises(ConfigError, match=r"tiny@1\.2 is on record with other bytes"):
        place.here("audit")

    history = place.here("policy", "history", "tiny")
    assert [(v["version"], v["until"] is None) for v in history] == [("1.0", False), ("1.1", False), ("1.2", True)]
    changes = place.here("policy", "diff", "1.0", "v1.1")["changes"]
    assert [(change["kind"], change["control"]) for change in changes] == [("tightened", "accuracy")]


def test_a_version_that_is_not_on_record_is_told_with_those_that_are(place: Workplace, uri: str) -> None:
    with pytest.raises(ConfigError, match="neither a file nor a version") as refused:
        place.here("policy", "diff", "1.0", "2.0")
    assert "versions on record: none" in refused.value.remedy
