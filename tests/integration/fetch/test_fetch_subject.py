"""From a run in a store to a subject: real models and real files in, digests, bindings and problems out."""

from __future__ import annotations

import io
import json
import os
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from venturalitica_agent.domain.needs import Needs, SplitNeeds
from venturalitica_agent.domain.policy import Control, Op, Outcome, Requirement, Split
from venturalitica_agent.domain.run import LoggedDataset, LoggedModel, Run
from venturalitica_agent.domain.subject import (
    ColumnBinding,
    DataPlan,
    DataRef,
    DigestCheck,
    Problem,
    Subject,
    files_digest,
)
from venturalitica_agent.errors import RunGone, StoreUnavailable
from venturalitica_agent.fetch.cache import Cache
from venturalitica_agent.fetch.digests import pandas_digest
from venturalitica_agent.fetch.subject import fetch_subject
from venturalitica_agent.stores.memory import MemoryStore, finished

FRAME = pd.DataFrame(
    {"age": [20, 30, 40, 50], "income": [1.5, 0.5, 1.0, 0.0], "sex": list("mfmf"), "class": [1, 2, 2, 1]}
)
EVALUATION = Needs({Split.EVALUATION: SplitNeeds(frozenset({"sex"}), frozenset({"class"}))})
PREDICTED = Needs({Split.EVALUATION: SplitNeeds(frozenset({"sex"}), frozenset({"class"}), frozenset({"prediction"}))})
READY = LoggedModel("model", "memory:/models/m-1", model_id="m-1")
Models = dict[str, dict[str, bytes]]


def csv(frame: pd.DataFrame = FRAME) -> bytes:
    return frame.to_csv(index=False).encode()


def parquet(frame: pd.DataFrame = FRAME) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    return buffer.getvalue()


def dataset(
    source: object, *, context: str = "eval", name: str = "loan", frame: pd.DataFrame = FRAME, kind: str = "local"
) -> LoggedDataset:
    """A dataset as MLflow's `from_pandas` and `log_input` record it."""
    return LoggedDataset(
        name=name,
        digest=pandas_digest(frame),
        context=context,
        source_type=kind,
        source=source if isinstance(source, str) else json.dumps(source),
        schema=json.dumps({"mlflow_colspec": [{"name": c, "type": "long"} for c in frame.columns]}),
        profile=json.dumps({"num_rows": len(frame)}),
    )


class Bench:
    """A store with one run, a cache and a root folder for logged sources."""

    def __init__(self, tmp_path: Path) -> None:
        self.store = MemoryStore()
        self.cache = Cache(tmp_path / "cache")
        self.root = tmp_path / "project"
        self.root.mkdir()

    def fetch(
        self,
        needs: Needs = EVALUATION,
        *,
        data: dict[str, DataRef] | None = None,
        columns: dict[str, ColumnBinding] | None = None,
        auto: bool = False,
        files: dict[str, bytes] | None = None,
        roots: list[Path] | None = None,
        **run: Any,
    ) -> Subject:
        run_id = f"r{len(list(self.store.scan()))}"
        added = self.store.add(finished(run_id, end_time=4_102_444_800_000, **run), files)
        plan = DataPlan(data or {}, columns or {}, auto)
        return fetch_subject(self.store, added, needs, plan, self.cache, roots=roots or [self.root])


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def problem(subject: Subject, key: str) -> Problem:
    assert set(subject.problems) == {key}, subject.problems
    return subject.problems[key]


# -- the model --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["cloudpickle", "skops"])
def test_real_model_of_mlflow_3(bench: Bench, saved_models: Models, form: str) -> None:
    """A LoggedModel comes as a private, hashed, described copy."""
    files = saved_models[form]
    run = bench.store.add(finished("m3", models=(READY,)), {"test.csv": csv()}, {"m-1": files})
    subject = fetch_subject(bench.store, run, PREDICTED, DataPlan(), bench.cache, roots=[])
    assert subject.problems == {}
    model = subject.model
    assert model is not None
    assert (model.flavor, model.format, model.inputs) == ("sklearn", form, ("age", "income"))
    assert model.file == ("model.skops" if form == "skops" else "model.pkl")
    assert {f.name: f.sha256 for f in model.files} == {n: sha256(c).hexdigest() for n, c in files.items()}
    assert model.digest == files_digest(model.files)
    assert model.environment["scikit-learn"] == "1.9.1"
    assert "numpy" not in model.environment
    for name, content in files.items():
        assert (Path(model.path) / name).read_bytes() == content


def test_real_model_of_mlflow_2(bench: Bench, saved_models: Models) -> None:
    """A model among the run's artifacts is the same subject as the same files logged the new way."""
    files = {f"model/{n}": c for n, c in saved_models["cloudpickle"].items()}
    old = LoggedModel("model", "memory:/x", path="model")
    run = bench.store.add(finished("m2", models=(old,)), {"test.csv": csv(), **files})
    subject = fetch_subject(bench.store, run, PREDICTED, DataPlan(), bench.cache, roots=[])
    assert subject.problems == {}
    assert subject.model is not None
    assert {f.name for f in subject.model.files} == set(saved_models["cloudpickle"])


def fetch_model_of(bench: Bench, models: tuple[LoggedModel, ...], files: Models) -> Subject:
    run = bench.store.add(finished("many", models=models), {"test.csv": csv()}, files)
    return fetch_subject(bench.store, run, PREDICTED, DataPlan(), bench.cache, roots=[])


def test_latest_ready_model_is_audited(bench: Bench, saved_models: Models) -> None:
    """The latest step wins, the last logged among equals, and a failed one is passed over while another is ready."""
    models = (
        LoggedModel("late", "", model_id="m-late", step=5),
        LoggedModel("later", "", model_id="m-later", step=5),
        LoggedModel("early", "", model_id="m-early", step=1),
        LoggedModel("failed", "", model_id="m-failed", step=9, ready=False),
    )
    subject = fetch_model_of(bench, models, {m.model_id: saved_models["cloudpickle"] for m in models})
    assert subject.model is not None
    assert subject.model.model_id == "m-later"


def test_failed_model_is_said(bench: Bench) -> None:
    """A model that was never completely logged is not the same as no model."""
    subject = fetch_model_of(bench, (replace(READY, ready=False),), {})
    assert "not completely logged" in problem(subject, "model").what
    assert "READY" in subject.problems["model"].what


def test_run_without_model(bench: Bench) -> None:
    """The data is still fetched and bound."""
    subject = fetch_model_of(bench, (), {})
    assert problem(subject, "model").what == "the run logged no model"
    assert subject.data["evaluation"].rows == 4
    assert subject.binding["sex"].how == "name"


def test_model_is_only_fetched_when_needed(bench: Bench) -> None:
    """Controls on labels, or predictions in a declared column, need no model."""
    assert bench.fetch(EVALUATION, files={"test.csv": csv()}).problems == {}
    declared = {"prediction": ColumnBinding("prediction", "age", "declared")}
    subject = bench.fetch(PREDICTED, files={"test.csv": csv()}, columns=declared)
    assert subject.problems == {}
    assert subject.binding["prediction"] is declared["prediction"]


def test_column_named_prediction_never_replaces_a_model(bench: Bench, saved_models: Models) -> None:
    """With a model the column is ignored; without one it is bound by its name, and the missing model is still said."""
    table = {"test.csv": csv(FRAME.assign(prediction=FRAME["class"]))}
    run = bench.store.add(finished("with", models=(READY,)), table, {"m-1": saved_models["cloudpickle"]})
    subject = fetch_subject(bench.store, run, PREDICTED, DataPlan(), bench.cache, roots=[])
    assert subject.model is not None
    assert "prediction" not in subject.binding
    subject = bench.fetch(PREDICTED, files=table)
    assert subject.binding["prediction"].how == "name"
    assert set(subject.problems) == {"model"}


def test_hostile_models_are_problems(bench: Bench, saved_models: Models) -> None:
    """A refused model is a problem with the code "refused"; the data is there all the same."""
    good = saved_models["cloudpickle"]
    text = good["MLmodel"].decode()
    hostile = {
        "own loader": {"MLmodel": text.replace("loader_module: mlflow.sklearn", "loader_module: evil").encode()},
        "own code": {"MLmodel": text.replace("code: null", "code: code").encode(), "code/evil.py": b""},
        "path outside": {"MLmodel": text.replace("model.pkl", "../../../../etc/passwd").encode()},
        "gzip": {"model.pkl": b"\x1f\x8b\x08" + bytes(50)},
    }
    for number, (case, files) in enumerate(hostile.items()):
        name = f"m-{number}"
        subject = fetch_model_of(bench, (replace(READY, model_id=name),), {name: good | files})
        assert problem(subject, "model").code == "refused", case
        assert "evaluation" in subject.data, case


def test_folder_without_mlmodel(bench: Bench) -> None:
    """The only model file in it is the model; the requirements beside it are what it was trained with."""
    files = {"model.pkl": b"\x80\x04.", "requirements.txt": b"scikit-learn==1.9.1\n", "README.md": b"#"}
    subject = fetch_model_of(bench, (READY,), {"m-1": files})
    assert subject.problems == {}
    model = subject.model
    assert model is not None
    assert (model.flavor, model.file, model.format, model.inputs) == ("sklearn", "model.pkl", "joblib", ())
    assert model.environment == {"scikit-learn": "1.9.1"}
    assert {f.name for f in model.files} == set(files)


def test_folder_without_any_model(bench: Bench) -> None:
    """A problem that lists what is there."""
    subject = fetch_model_of(bench, (READY,), {"m-1": {"weights.bin": b"\x80\x04."}})
    assert "neither an MLmodel file nor a model file" in problem(subject, "model").what
    assert "'weights.bin'" in subject.problems["model"].what


def test_mlflow_model_in_a_folder_of_an_artifact(bench: Bench, saved_models: Models) -> None:
    """Its description counts there too; of two such folders none is chosen."""
    nested = {f"model/{name}": content for name, content in saved_models["cloudpickle"].items()}
    subject = fetch_model_of(bench, (READY,), {"m-1": nested})
    assert subject.model is not None
    assert (subject.model.file, subject.model.inputs) == ("model/model.pkl", ("age", "income"))
    assert subject.model.environment["scikit-learn"] == "1.9.1"
    both = nested | {f"other/{name}": content for name, content in saved_models["skops"].items()}
    subject = fetch_model_of(bench, (replace(READY, model_id="m-2"),), {"m-2": both})
    assert problem(subject, "model").code == "ambiguous"
    assert "'model', 'other'" in subject.problems["model"].what


class LinkStore(MemoryStore):
    """A store whose downloads plant something that is no plain file."""

    def __init__(self, plant: Any) -> None:
        super().__init__()
        self._plant = plant

    def fetch_model(self, run_id: str, model: LoggedModel, destination: Path) -> None:
        super().fetch_model(run_id, model, destination)
        (destination / "model.pkl").unlink()
        self._plant(destination / "model.pkl")

    def fetch_file(self, run_id: str, path: str, destination: Path) -> None:
        self._plant(destination)


@pytest.mark.parametrize(
    "plant",
    [lambda p: p.symlink_to("/etc/passwd"), os.mkfifo, lambda p: p.symlink_to("/dev/zero"), lambda p: p.mkdir()],
    ids=["link", "fifo", "device", "folder"],
)
def test_special_files_in_artifacts_are_refused(tmp_path: Path, saved_models: Models, plant: Any) -> None:
    """Whatever a store delivers, only plain files get in, and nothing hangs."""
    store = LinkStore(plant)
    run = store.add(finished("r", models=(READY,)), {"test.csv": b"x"}, {"m-1": saved_models["cloudpickle"]})
    subject = fetch_subject(store, run, PREDICTED, DataPlan(), Cache(tmp_path / "cache"), roots=[])
    assert subject.problems["model"].code == "refused"
    assert set(subject.problems) == {"model", "evaluation"}
    assert subject.data == {}


# -- data that agent.yaml names ------------------------------------------------------------------------------------


def test_artifact_pattern(bench: Bench) -> None:
    """One match is the data, with origin, digest, columns and rows."""
    files = {"data/test.parquet": parquet(), "data/sub/test.csv": b"", "other.txt": b""}
    subject = bench.fetch(data={"evaluation": DataRef("artifact", "data/test.*")}, files=files)
    assert subject.problems == {}
    table = subject.data["evaluation"]
    assert table.origin == "artifact data/test.parquet of the run"
    assert (table.format, table.columns, table.rows) == ("parquet", tuple(FRAME.columns), 4)
    assert table.file.sha256 == sha256(files["data/test.parquet"]).hexdigest()
    assert Path(table.path).read_bytes() == files["data/test.parquet"]
    assert (table.check, table.check_reason) == (DigestCheck.UNCHECKABLE, "the run logged no digest for this data")


def test_ambiguous_pattern_lists_the_matches(bench: Bench) -> None:
    """Two matches are a problem, not a choice."""
    files = {"data/test.parquet": parquet(), "data/test.csv": csv()}
    found = problem(bench.fetch(data={"evaluation": DataRef("artifact", "data/test.*")}, files=files), "evaluation")
    assert found.code == "ambiguous"
    assert "'data/test.csv'" in found.what
    assert "'data/test.parquet'" in found.what


@pytest.mark.parametrize(
    "ref",
    [
        DataRef("artifact", "data/eval.*"),
        DataRef("dataset", "eval"),
        DataRef("file", "/nowhere/test.csv"),
        DataRef("wandb", "evalset:latest"),
    ],
)
def test_declared_data_that_is_missing_is_never_guessed(bench: Bench, ref: DataRef) -> None:
    """A good candidate next to it is not used instead."""
    subject = bench.fetch(data={"evaluation": ref}, files={"data/test.csv": csv()})
    assert subject.data == {}
    assert problem(subject, "evaluation").remedy


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*.csv", "test.csv", True),
        ("*.csv", "a/test.csv", False),
        ("**/*.csv", "a/b/test.csv", True),
        ("**/*.csv", "test.csv", True),
        ("t?st.csv", "test.csv", True),
        ("t[ae]st.csv", "test.csv", True),
        ("t[!e]st.csv", "test.csv", False),
        ("test.csv", "testxcsv.csv", False),
        ("TEST.csv", "test.csv", False),
    ],
)
def test_patterns(bench: Bench, pattern: str, path: str, matches: bool) -> None:
    """A star stays in its folder, two cross folders; case counts."""
    subject = bench.fetch(data={"evaluation": DataRef("artifact", pattern)}, files={path: csv()})
    assert ("evaluation" in subject.data) is matches


def test_file_of_agent_yaml(bench: Bench, tmp_path: Path) -> None:
    """A file named in agent.yaml may lie anywhere, also behind a link; a pipe is refused without waiting."""
    (tmp_path / "holdout.csv").write_bytes(csv())
    (tmp_path / "current.csv").symlink_to(tmp_path / "holdout.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    for name in ("holdout.csv", "current.csv"):
        subject = bench.fetch(data={"evaluation": DataRef("file", str(tmp_path / name))})
        assert subject.problems == {}
    piped = bench.fetch(data={"evaluation": DataRef("file", str(tmp_path / "pipe.csv"))})
    assert problem(piped, "evaluation").code == "refused"


def test_dataset_by_name_and_by_context(bench: Bench) -> None:
    """The name goes before the context; several in one context are listed."""
    (bench.root / "a.csv").write_bytes(csv())
    (bench.root / "b.csv").write_bytes(csv(FRAME.head(2)))
    datasets = (dataset({"uri": "a.csv"}, name="one"), dataset({"uri": "b.csv"}, name="two", frame=FRAME.head(2)))
    for value, rows in (("one", 4), ("two", 2)):
        subject = bench.fetch(data={"evaluation": DataRef("dataset", value)}, datasets=datasets)
        assert subject.data["evaluation"].rows == rows
        assert subject.data["evaluation"].check is DigestCheck.MATCH
    both = bench.fetch(data={"evaluation": DataRef("dataset", "eval")}, datasets=datasets)
    assert problem(both, "evaluation").code == "ambiguous"


# -- data that nobody named ----------------------------------------------------------------------------------------


def test_logged_dataset_with_a_reachable_source(bench: Bench) -> None:
    """A relative source is looked for below each root, and its digest is checked."""
    (bench.root / "data").mkdir()
    (bench.root / "data" / "t.csv").write_bytes(csv())
    other = bench.root.parent / "other"
    other.mkdir()
    subject = bench.fetch(datasets=(dataset({"uri": "data/t.csv"}),), roots=[other, bench.root])
    assert subject.problems == {}
    table = subject.data["evaluation"]
    assert (table.check, table.tracker_digest) == (DigestCheck.MATCH, pandas_digest(FRAME))
    assert table.name == "loan"


@pytest.mark.parametrize("context", ["eval", "test", "Validation", "holdout"])
def test_contexts_of_evaluation(bench: Bench, context: str) -> None:
    """The usual words for evaluation data are known."""
    (bench.root / "t.csv").write_bytes(csv())
    assert "evaluation" in bench.fetch(datasets=(dataset({"uri": "t.csv"}, context=context),)).data


def test_source_that_is_not_the_logged_data_is_a_mismatch(bench: Bench) -> None:
    """The logged half of a file is not the file."""
    (bench.root / "t.csv").write_bytes(csv())
    table = bench.fetch(datasets=(dataset({"uri": "t.csv"}, frame=FRAME.head(2)),)).data["evaluation"]
    assert table.check is DigestCheck.MISMATCH
    assert "2 rows" in table.check_reason


def test_source_that_changed_after_the_run_is_a_mismatch(bench: Bench) -> None:
    """The same rows and columns with another digest, written after the run's end."""
    path = bench.root / "t.csv"
    path.write_bytes(csv(FRAME.assign(age=0)))
    os.utime(path, (4_102_444_900, 4_102_444_900))
    assert bench.fetch(datasets=(dataset({"uri": "t.csv"}),)).data["evaluation"].check is DigestCheck.MISMATCH


def test_swapped_artifact_is_a_mismatch_when_it_is_the_logged_file(bench: Bench) -> None:
    """An artifact with the name of the dataset's source is that dataset; with another name it need not be."""
    logged = (dataset({"uri": "/elsewhere/data/test.parquet"}),)
    swapped = parquet(FRAME.assign(age=0))
    same = bench.fetch(datasets=logged, files={"data/test.parquet": swapped}).data["evaluation"]
    assert same.check is DigestCheck.MISMATCH
    other = bench.fetch(datasets=logged, files={"data/holdout.parquet": swapped}).data["evaluation"]
    assert other.check is DigestCheck.UNCHECKABLE
    assert "not known to be" in other.check_reason


def test_artifact_matches_the_dataset_logged_from_memory(bench: Bench) -> None:
    """The best case: log_input of a frame and log_artifact of the same rows."""
    shuffled = FRAME.sample(frac=1, random_state=1)
    logged = (dataset({"tags": {}}, frame=shuffled, kind="code"),)
    table = bench.fetch(datasets=logged, files={"eval.parquet": parquet(shuffled)}).data["evaluation"]
    assert table.check is DigestCheck.MATCH


REFUSED = {
    "outside every root": {"uri": "/etc/passwd"},
    "file URI outside": {"uri": "file:///etc/passwd"},
    "file URI of another machine": {"uri": "file://evil/etc/passwd"},
    "upward": {"uri": "../secret.csv"},
    "upward in the middle": {"uri": "data/../../secret.csv"},
    "escaping link": {"uri": "link.csv"},
    "escaping folder link": {"uri": "up/secret.csv"},
    "pipe": {"uri": "pipe.csv"},
    "folder": {"uri": "folder.csv"},
    "device": {"uri": "/dev/zero"},
    "newline": {"uri": "a\nb.csv"},
    "no URI": {"uri": "http://["},
}


@pytest.mark.parametrize("case", REFUSED)
def test_hostile_sources_are_refused(bench: Bench, case: str) -> None:
    """Nothing outside of the roots is read, nothing hangs, and the reason is said."""
    (bench.root.parent / "secret.csv").write_bytes(csv())
    (bench.root / "link.csv").symlink_to(bench.root.parent / "secret.csv")
    (bench.root / "up").symlink_to(bench.root.parent)
    (bench.root / "folder.csv").mkdir()
    os.mkfifo(bench.root / "pipe.csv")
    subject = bench.fetch(datasets=(dataset(REFUSED[case]),))
    assert subject.data == {}
    assert problem(subject, "evaluation").code == "refused"


UNREACHABLE = {
    "code": ({"tags": {"mlflow.source.name": "train.py"}}, "without its rows"),
    "metadata service": ({"url": "http://169.254.169.254/latest/meta-data"}, "not fetched from the network"),
    "bucket": ({"uri": "s3://bucket/test.csv"}, "not fetched from the network"),
    "gone": ({"uri": "gone.csv"}, "does not exist below"),
    "not JSON": ("{", "without its rows"),
    "deep JSON": ("[" * 60_000, "without its rows"),
    "long name": ({"uri": "x" * 5000 + ".csv"}, "can't be read"),
    "pickle": ({"uri": "t.pkl"}, "not a table that we read"),
}


@pytest.mark.parametrize("case", UNREACHABLE)
def test_unreachable_sources_are_said(bench: Bench, case: str) -> None:
    """The problem says why the logged dataset could not be used and shows what to write into agent.yaml."""
    (bench.root / "t.pkl").write_bytes(b"\x80\x04.")
    source, words = UNREACHABLE[case]
    found = problem(bench.fetch(datasets=(dataset(source),)), "evaluation")
    assert words in found.what
    assert found.code == "missing"
    assert "evaluation: {artifact: data/test.csv}" in found.remedy


def test_same_relative_source_below_two_roots_is_ambiguous(bench: Bench) -> None:
    """Two files of that name are two candidates."""
    other = bench.root.parent / "other"
    other.mkdir()
    for root in (other, bench.root):
        (root / "t.csv").write_bytes(csv())
    found = problem(bench.fetch(datasets=(dataset({"uri": "t.csv"}),), roots=[other, bench.root]), "evaluation")
    assert "exists more than once" in found.what


def test_evaluation_never_uses_the_training_data(bench: Bench) -> None:
    """Neither a training dataset, nor a source shared with one, nor a training file is evaluation data."""
    (bench.root / "all.csv").write_bytes(csv())
    train = dataset({"uri": "all.csv"}, context="train", name="train")
    test = dataset({"uri": "all.csv"}, name="test", frame=FRAME.head(2))
    for datasets in ((train,), (train, test)):
        subject = bench.fetch(datasets=datasets, files={"train.csv": csv(), "train_test.csv": csv(), "data.csv": csv()})
        assert subject.data == {}
        assert problem(subject, "evaluation").code == "missing"
    both = Needs({Split.TRAINING: SplitNeeds(), Split.EVALUATION: SplitNeeds()})
    subject = bench.fetch(both, datasets=(train,))
    assert set(subject.data) == {"training"}
    assert set(subject.problems) == {"evaluation"}


def test_data_artifacts_by_name(bench: Bench) -> None:
    """Exactly one file with a telling name is the data of its split; our own files are none."""
    files = {
        "d/X-Train.parquet": parquet(),
        "d/my_test_set.csv": csv(),
        "venturalitica/p/a/test.csv": b"",
        "latest.csv": b"",
    }
    both = Needs({Split.TRAINING: SplitNeeds(), Split.EVALUATION: SplitNeeds()})
    subject = bench.fetch(both, files=files)
    assert subject.problems == {}
    assert subject.data["training"].name == "d/X-Train.parquet"
    assert subject.data["evaluation"].name == "d/my_test_set.csv"


def test_ambiguous_artifacts_are_listed(bench: Bench) -> None:
    """Features and labels in two files are two candidates."""
    found = problem(bench.fetch(files={"X_test.csv": csv(), "y_test.csv": csv()}), "evaluation")
    assert found.code == "ambiguous"
    assert "X_test.csv" in found.what
    assert "y_test.csv" in found.what


def test_logged_table_with_predictions(bench: Bench) -> None:
    """The last resort: a `log_table` JSON that has the prediction column; other JSON is passed over."""
    table = {"columns": ["sex", "class", "prediction"], "data": [["m", 1, 2], ["f", 2, 2]]}
    files = {
        "scored.json": json.dumps(table).encode(),
        "plain.json": json.dumps({"columns": ["sex"], "data": [["m"]]}).encode(),
        "strange.json": b"[[[",
        "unlogged.json": json.dumps(table).encode(),
    }
    logged = ("scored.json", "plain.json", "strange.json", "gone.json")
    subject = bench.fetch(PREDICTED, files=files, tables=logged)
    assert subject.data["evaluation"].name == "scored.json"
    assert subject.data["evaluation"].format == "json-split"
    assert subject.binding["prediction"].column == "prediction"
    assert bench.fetch(PREDICTED, files=files).data == {}


def test_hostile_artifact_name_is_refused(bench: Bench) -> None:
    """A candidate with a newline in its path is refused, not skipped."""
    found = problem(bench.fetch(files={"data\n/test.csv": csv()}), "evaluation")
    assert found.code == "refused"
    assert "\n" not in found.what


def test_unreadable_data_is_a_problem_with_its_line(bench: Bench) -> None:
    """A broken CSV is said with the line, and nothing is bound to it."""
    subject = bench.fetch(files={"test.csv": b"sex,class\nm,1\nf\n"})
    assert "line 3" in problem(subject, "evaluation").what
    assert subject.problems["evaluation"].code == "unreadable"
    assert subject.binding == {}


# -- roles, needs and the store ------------------------------------------------------------------------------------


def test_unbound_role_is_a_problem_of_its_own(bench: Bench) -> None:
    """The other roles and the data stay."""
    needs = Needs({Split.EVALUATION: SplitNeeds(frozenset({"sex", "race"}), frozenset({"class"}))})
    subject = bench.fetch(needs, files={"test.csv": csv()})
    assert problem(subject, "role:race").code == "missing"
    assert set(subject.binding) == {"sex", "class"}


def test_role_is_only_needed_where_a_control_looks(bench: Bench) -> None:
    """Training data without the group column is fine when only evaluation controls ask for it."""
    needs = Needs({Split.EVALUATION: SplitNeeds(frozenset({"sex"})), Split.TRAINING: SplitNeeds()})
    files = {"test.csv": csv(), "train.csv": csv(FRAME.drop(columns="sex"))}
    assert bench.fetch(needs, files=files).problems == {}
    needs = Needs(dict.fromkeys(Split, SplitNeeds(frozenset({"sex"}))))
    assert "training data" in problem(bench.fetch(needs, files=files), "role:sex").what


def test_needs_of_controls() -> None:
    """Each kind of metric asks for what it measures; skipped controls ask for nothing."""
    require = Requirement(Op.GE, 0.5)
    needs = Needs.of(
        [
            Control("a", "accuracy", require),
            Control("b", "disparate_impact", require, role="sex"),
            Control("c", "disparate_impact", require, role="age", on=Split.TRAINING, of=Outcome.LABELS, target="y"),
            Control("d", "data_completeness", require, on=Split.TRAINING),
            Control("e", "roc_auc", require, role="race", skip="only in operation"),
        ]
    )
    assert needs.splits == {
        Split.EVALUATION: SplitNeeds(frozenset({"sex"}), frozenset({"target"}), frozenset({"prediction"})),
        Split.TRAINING: SplitNeeds(frozenset({"age"}), frozenset({"y"})),
    }
    assert needs.predictions == {"prediction"}


def test_store_trouble_is_not_a_problem_of_the_run(bench: Bench) -> None:
    """An absent store and a deleted run are raised, never written into the subject."""
    run: Run = bench.store.add(finished("gone"), {"test.csv": csv()})
    bench.store.down = True
    with pytest.raises(StoreUnavailable):
        fetch_subject(bench.store, run, EVALUATION, DataPlan(), bench.cache, roots=[])
    bench.store.down = False
    bench.store.change("gone", deleted=True)
    with pytest.raises(RunGone):
        fetch_subject(bench.store, run, EVALUATION, DataPlan(), bench.cache, roots=[])


def test_fetching_twice_gives_the_same_subject(bench: Bench, saved_models: Models) -> None:
    """Same run, same subject, one copy."""
    run = bench.store.add(finished("r", models=(READY,)), {"test.csv": csv()}, {"m-1": saved_models["skops"]})
    first, second = (fetch_subject(bench.store, run, PREDICTED, DataPlan(), bench.cache, roots=[]) for _ in range(2))
    assert first == second
    assert len(list((bench.cache.root / "entries").iterdir())) == 2
    with bench.cache.use(first):
        assert first.model is not None
        assert Path(first.model.path, first.model.file).stat().st_size > 0
