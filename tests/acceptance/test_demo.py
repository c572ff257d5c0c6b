"""`make demo`: what a person on a fresh machine sees first."""

from __future__ import annotations

from pathlib import Path

import training
from workplace import Workplace


def test_the_demo_audits_real_models_and_says_what_it_saw(tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    folder = tmp_path / "demo"
    document = place.json_with(("demo", "--dir", str(folder)), seconds=500)
    assert document["complete"]
    assert {reason.split()[0] for reason in document["not_audited"]} == {"FAILED"}
    statuses: dict[str, set[str]] = {}
    for row in document["audits"]:
        statuses.setdefault(row["run"], set()).add(row["status"])
    assert statuses["scorecard"] == {"fail"}
    assert statuses["naive-bayes-without-data"] == {"error"}
    assert set(statuses) == {
        "logistic-regression",
        "random-forest",
        "gradient-boosting",
        "scorecard",
        "naive-bayes-without-data",
        "without-sex-and-age",
    }
    failing = {row["run_id"] for row in document["audits"] if row["status"] == "fail"}
    found: set[str] = set()
    for uri in (f"sqlite:///{folder}/mlflow.db", str(folder / "file-store")):
        found |= training.search(uri, "fail", "loan-german-credit")
    assert found == failing


def test_the_demo_on_wandb_runs_against_a_stand_in_and_says_so(tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    done = place.run("demo", "--wandb", "--dir", str(tmp_path / "demo"), seconds=300)
    assert "stand-in for the W&B server" in " ".join(done.stderr.split())
    lines = [line.split() for line in done.stdout.splitlines()]
    held = {line[0]: line[-1] for line in lines if len(line) > 2 and line[1] == "finished"}
    assert held == {
        "logistic": "vl:inconclusive",
        "scorecard": "vl:fail",
        "forest-without-data": "vl:error",
        "forest": "vl:inconclusive",
    }
    assert "not audited: 1, FAILED" in done.stdout
