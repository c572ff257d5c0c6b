"""`make demo`: what a person on a fresh machine sees first."""

from __future__ import annotations

import io
from contextlib import closing
from pathlib import Path

import training
from rich.console import Console
from workplace import Workplace

from venturalitica_agent.demo.run import run_demo
from venturalitica_agent.demo.wandb_scene import WandbScene


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


class Shortened(WandbScene):
    """The scene with fewer runs: each costs seconds, and what all of them become is MLflow's demo's to show."""

    backlog = (("scorecard",), ("logistic", "--fail"))
    live = ("forest", "--without-data")


def test_the_demo_on_wandb_runs_against_a_stand_in_and_says_so(tmp_path: Path) -> None:
    said: list[str] = []
    shown = Console(record=True, width=200, file=io.StringIO())
    with closing(Shortened()) as scene:
        result = run_demo(scene, tmp_path / "demo", say=said.append)
        result.show(shown)
    assert "stand-in for the W&B server" in " ".join(said)
    assert result.complete
    text = shown.export_text()
    lines = [line.split() for line in text.splitlines()]
    held = {line[0]: line[-1] for line in lines if len(line) > 2 and line[1] == "finished"}
    assert held == {"scorecard": "vl:fail", "forest-without-data": "vl:error"}
    assert "not audited: 1, FAILED" in text
