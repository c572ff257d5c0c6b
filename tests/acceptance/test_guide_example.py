"""The guide's loan example, taken from its text and run as it stands, in the folder of somebody who follows it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from workplace import GERMAN, ROOT, environment

from venturalitica_agent.stores.opening import open_mlflow

GUIDE = Path(__file__).with_name("guide_example.es.md")
# What the guide takes for granted: the data, split and encoded as its readers have it.
BEFORE = f"""
import pandas as pd
train_df = pd.read_csv({str(GERMAN)!r})
train_df["class"] = (train_df["class"] == 1).astype(int)
y_train = train_df["class"]
X_train = pd.get_dummies(train_df.drop(columns="class"))
"""


def example() -> str:
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), flags=re.DOTALL)
    return str(code)


@pytest.fixture
def desk(tmp_path: Path, empty_database: Path) -> Path:
    (tmp_path / "mlflow.db").write_bytes(empty_database.read_bytes())
    policy = ROOT / "policies" / "credit-scoring" / "credit-scoring.yaml"
    (tmp_path / "model_policy.yaml").write_bytes(policy.read_bytes())
    return tmp_path


def test_the_guides_example_runs_verbatim_and_its_run_is_audited(desk: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BEFORE + example()],
        cwd=desk,
        env=environment(MLFLOW_TRACKING_URI="sqlite:///mlflow.db", MLFLOW_EXPERIMENT_NAME="loan"),
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    store = open_mlflow(f"sqlite:///{desk}/mlflow.db")
    (ref,) = store.scan()
    assert ref.status == "FINISHED"
    tags = store.get_tags(ref.run_id)
    assert tags["venturalitica.policy"].startswith("credit-scoring@")
    assert "e0" in tags["venturalitica.counts"].split(), tags
    assert done.stdout == ""
    (line,) = [text for text in done.stderr.splitlines() if text.startswith("venturalitica: ")]
    assert line.startswith(f"venturalitica: {tags['venturalitica.status']} (credit-scoring@")
    snapshot = store.read_file(ref.run_id, "policy_snapshot/model_policy.yaml")
    assert snapshot == (desk / "model_policy.yaml").read_bytes()
    evidence = json.loads(store.read_file(ref.run_id, tags["venturalitica.evidence"]))
    bound = {role: (b["column"], b["how"]) for role, b in evidence["subject"]["binding"].items()}
    assert bound["gender"] == ("Attribute9", "run")
    assert bound["age"] == ("Attribute13", "run")
    said = "the training code says: the audit data are the rows that the model was trained on"
    assert said in evidence["notes"]
