"""From a run of W&B to a subject: artifacts by reference, digests of its manifests, its tables, and its words."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from hashlib import md5
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from venturalitica_agent.domain.needs import Needs, SplitNeeds
from venturalitica_agent.domain.policy import Split
from venturalitica_agent.domain.run import LoggedDataset, LoggedModel
from venturalitica_agent.domain.subject import DataPlan, DataRef, DigestCheck, Problem, Subject
from venturalitica_agent.fetch.cache import Cache
from venturalitica_agent.fetch.subject import fetch_subject
from venturalitica_agent.stores.memory import MemoryStore, finished

FRAME = pd.DataFrame({"age": [20, 30, 40], "sex": list("mfm"), "class": [1, 2, 2]})
CSV = FRAME.to_csv(index=False).encode()
NEEDS = Needs({Split.EVALUATION: SplitNeeds(frozenset({"sex"}), frozenset({"class"}))})
PREDICTED = Needs({Split.EVALUATION: SplitNeeds(frozenset({"sex"}), frozenset({"class"}), frozenset({"prediction"}))})
ROOT = "wandb-run://acme/credit/r1"
MODEL = LoggedModel("loan-model:v0", "acme/credit/loan-model:v0", model_id="QXJ0")


def dataset(path: str, content: bytes = CSV, context: str = "test") -> LoggedDataset:
    """A file of a dataset artifact, as a W&B store tells of it."""
    return LoggedDataset(
        name=path.partition(":")[0],
        digest=f"md5:{base64.b64encode(md5(content).digest()).decode()}",
        context=context,
        source_type="wandb",
        source=json.dumps({"uri": f"{ROOT}/{path}"}),
    )


class Project:
    """A store with one run of W&B."""

    def __init__(self, tmp_path: Path) -> None:
        self.store = MemoryStore()
        self.cache = Cache(tmp_path / "cache")

    def fetch(
        self,
        files: dict[str, bytes] | None = None,
        *,
        wandb: str = "",
        ref: DataRef | None = None,
        needs: Needs = NEEDS,
        stored: dict[str, dict[str, bytes]] | None = None,
        uri: str = ROOT,
        **run: Any,
    ) -> Subject:
        added = self.store.add(finished("r1", artifact_uri=uri, **run), files, stored)
        ref = DataRef("wandb", wandb) if wandb else ref
        plan = DataPlan({"evaluation": ref} if ref else {})
        return fetch_subject(self.store, added, needs, plan, self.cache, roots=[])


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def problem(subject: Subject, key: str = "evaluation") -> Problem:
    assert set(subject.problems) == {key}, subject.problems
    return subject.problems[key]


# -- data that agent.yaml names ------------------------------------------------------------------------------------


def test_reference_is_resolved_and_the_version_is_said(project: Project) -> None:
    """What the alias meant at the time of the audit goes into the evidence."""
    files = {"evalset:v3/test.csv": b"", "evalset:v4/test.csv": CSV, "evalset:v4/README.md": b"", "test.csv": b"x"}
    table = project.fetch(files, wandb="evalset:latest").data["evaluation"]
    assert table.origin == "W&B artifact evalset:v4 (evalset:latest), file test.csv"
    assert (table.name, table.rows, table.columns) == ("evalset:v4/test.csv", 3, tuple(FRAME.columns))
    assert Path(table.path).read_bytes() == CSV
    assert table.check is DigestCheck.UNCHECKABLE
    exact = project.fetch(wandb="evalset:v4/test.csv").data["evaluation"]
    assert exact.origin == "W&B artifact evalset:v4, file test.csv"


def test_reference_that_means_no_one_table_is_a_problem(project: Project) -> None:
    files = {"evalset:v1/train.csv": CSV, "evalset:v1/test.csv": CSV, "model:v1/model.pkl": b"", "data/test.csv": CSV}
    found = problem(project.fetch(files, wandb="evalset:latest"))
    assert found.code == "ambiguous"
    assert "evaluation: {wandb: 'evalset:latest/test.csv'}" in found.remedy
    assert problem(project.fetch(wandb="model:latest")).code == "missing"
    assert problem(project.fetch(wandb="evalset:latest/none.csv")).code == "missing"
    assert problem(project.fetch(wandb="evalset:v1/../../x.csv")).code == "missing"
    assert "no such artifact" in problem(project.fetch(wandb="evalset:v9")).what
    assert "no version" in problem(project.fetch(wandb="evalset")).what


def test_path_that_a_store_answers_is_not_trusted(project: Project) -> None:
    found = problem(project.fetch({"evalset:v1/a\nb/test.csv": CSV}, wandb="evalset:v1"))
    assert found.code == "refused"
    assert "\n" not in found.what


# -- digests ---------------------------------------------------------------------------------------------------------


def test_logged_dataset_matches_byte_for_byte(project: Project) -> None:
    """Found by its context, and equal to the digest of the manifest, also through the other ways to name it."""
    files = {"evalset:v3/test.csv": CSV}
    logged = (dataset("evalset:v3/test.csv"),)
    for how in ({}, {"wandb": "evalset:latest"}, {"ref": DataRef("artifact", "evalset:*/test.csv")}):
        table = project.fetch(files, datasets=logged, **how).data["evaluation"]
        assert (table.check, table.tracker_digest) == (DigestCheck.MATCH, logged[0].digest)
        assert table.rows == 3


def test_other_bytes_are_a_proven_mismatch(project: Project) -> None:
    """One more row than W&B's manifest has, whatever the format."""
    logged = (dataset("evalset:v3/test.csv"),)
    table = project.fetch({"evalset:v3/test.csv": CSV + b"50,f,1\n"}, datasets=logged).data["evaluation"]
    assert table.check is DigestCheck.MISMATCH
    assert "bytes are not those" in table.check_reason


def test_another_version_is_no_mismatch(project: Project) -> None:
    """The run used v3 and agent.yaml says latest: another file, whose digest the run doesn't hold."""
    files = {"evalset:v3/test.csv": CSV, "evalset:v4/test.csv": CSV + b"50,f,1\n"}
    table = project.fetch(files, wandb="evalset:latest", datasets=(dataset("evalset:v3/test.csv"),)).data["evaluation"]
    assert (table.check, table.rows) == (DigestCheck.UNCHECKABLE, 4)


def test_local_copy_of_the_artifact_matches(project: Project, tmp_path: Path) -> None:
    """A file on this machine with the bytes of the logged one; with others it is only not known to be that."""
    (tmp_path / "copy.csv").write_bytes(CSV)
    logged = (dataset("evalset:v3/test.csv"),)
    ref = DataRef("file", str(tmp_path / "copy.csv"))
    assert project.fetch(ref=ref, datasets=logged).data["evaluation"].check is DigestCheck.MATCH
    (tmp_path / "copy.csv").write_bytes(CSV + b"50,f,1\n")
    assert project.fetch(ref=ref, datasets=logged).data["evaluation"].check is DigestCheck.UNCHECKABLE


# -- tables and models -----------------------------------------------------------------------------------------------


def test_logged_table_with_predictions(project: Project) -> None:
    """`run.log({"eval": wandb.Table(...)})`; a picture in it disturbs nobody."""
    table = {"columns": ["sex", "class", "prediction", "face"], "data": [["m", 1, 2, {"_type": "image-file"}]]}
    path = "media/table/eval_0_ab12.table.json"
    files = {path: json.dumps(table).encode(), "other/x.table.json": json.dumps(table).encode()}
    subject = project.fetch(files, needs=PREDICTED, tables=(path,))
    assert (subject.data["evaluation"].name, subject.data["evaluation"].format) == (path, "wandb-table")
    assert subject.binding["prediction"].column == "prediction"


def test_bare_model_file_of_an_artifact(project: Project) -> None:
    """A joblib file in an artifact of type "model", with what it was trained with beside it."""
    import joblib
    from sklearn.linear_model import LogisticRegression

    buffer = io.BytesIO()
    joblib.dump(LogisticRegression().fit(FRAME[["age"]], FRAME["class"]), buffer, compress=3)
    files = {"model.joblib": buffer.getvalue(), "requirements.txt": b"scikit-learn==1.9.1", "config.json": b"{}"}
    table = {"evalset:v3/test.csv": CSV}
    subject = project.fetch(table, needs=PREDICTED, models=(MODEL,), stored={MODEL.model_id: files})
    assert subject.problems == {}
    model = subject.model
    assert model is not None
    assert (model.name, model.flavor, model.file, model.format) == (
        "loan-model:v0",
        "sklearn",
        "model.joblib",
        "joblib",
    )
    assert model.environment == {"scikit-learn": "1.9.1"}
    files["model.pkl"] = b"\x80\x04."
    subject = project.fetch(needs=PREDICTED, models=(MODEL,), stored={MODEL.model_id: files})
    assert problem(subject, "model").code == "ambiguous"
    assert "'model.joblib', 'model.pkl'" in subject.problems["model"].what


# -- words -----------------------------------------------------------------------------------------------------------


def test_remedies_speak_of_the_tracker_of_the_run(project: Project) -> None:
    """Nobody who logs to W&B is told to call mlflow, and nobody who logs to MLflow to make an artifact of a type."""
    logged = (replace(dataset("x.csv"), source="{}"),)
    refs = (None, DataRef("artifact", "x.csv"), DataRef("dataset", "x"), DataRef("dataset", "eval"))
    for uri, ours, others in ((ROOT, "artifact of type", "mlflow"), ("mlflow-artifacts:/1", "mlflow.log_", "of type")):
        subjects = [project.fetch(needs=PREDICTED, uri=uri, ref=ref, datasets=logged) for ref in refs]
        remedies = [p.remedy for s in subjects for p in s.problems.values()]
        assert len(remedies) == 2 * len(refs)
        assert any(ours in remedy for remedy in remedies)
        assert not any(others in remedy for remedy in remedies), remedies
    example = problem(project.fetch()).remedy
    assert 'evaluation: {wandb: "evalset:latest"}' in example
