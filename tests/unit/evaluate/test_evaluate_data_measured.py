"""The metrics that need more than one sample, from a run in a store to measurements: fetching, binding, both tables."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import roc_auc_score

from venturalitica_agent.domain.job import AuditTask
from venturalitica_agent.domain.run import LoggedDataset, LoggedModel, Run
from venturalitica_agent.domain.subject import ColumnBinding, DataPlan, DataRef, DigestCheck, Subject
from venturalitica_agent.domain.verdict import Measurement, Unmeasured
from venturalitica_agent.fetch import parquet, parquet_batches
from venturalitica_agent.fetch.cache import Cache
from venturalitica_agent.fetch.digests import pandas_digest
from venturalitica_agent.measuring import measure_run
from venturalitica_agent.policy import parse_policy
from venturalitica_agent.sandbox.launcher import Sandbox
from venturalitica_agent.stores.memory import MemoryStore, finished

POLICY = """
policy: data
version: 1.0.0
controls:
- {id: repeats, metric: duplicate_rows, require: "<= 0.01"}
- {id: overlap, metric: split_overlap, require: "== 0"}
- {id: fits, metric: schema_match, require: ">= 1"}
- {id: women, metric: representation_gap, role: gender, require: "<= 0.1", shares: {f: 0.5, m: 0.5}}
- {id: k, metric: k_anonymity, require: ">= 5", columns: [gender, zip]}
- {id: l, metric: l_diversity, require: ">= 2", columns: zip, sensitive: illness, on: training}
- {id: told, metric: declared_difference, require: "<= 0.02", logged: test_accuracy, of_metric: accuracy}
- {id: whole, metric: evidence_completeness, require: ">= 1"}
"""


def table(seed: int, rows: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, rows)
    return pd.DataFrame(
        {
            "income": rng.normal(size=rows),
            "zip": rng.integers(0, 4, rows),
            "sex": rng.choice(["f", "m"], rows),
            "illness": rng.choice(["x", "y", "z"], rows),
            "y": y,
            "answer": np.where(rng.random(rows) < 0.8, y, 1 - y),
        }
    )


TRAINING = table(1, 500)
TEST = pd.concat([table(2, 290), TRAINING[:10]], ignore_index=True)
MODEL = {
    "flavors": {
        "python_function": {"loader_module": "mlflow.sklearn", "model_path": "model.pkl"},
        "sklearn": {"pickled_model": "model.pkl", "serialization_format": "pickle"},
    },
    "signature": {
        "inputs": json.dumps([{"name": "income", "type": "double"}, {"name": "zip", "type": "string"}]),
    },
}
PLAN = DataPlan(
    {"evaluation": DataRef("artifact", "data/test.csv"), "training": DataRef("artifact", "data/train.csv")},
    {
        "target": ColumnBinding("target", "y", "declared"),
        "prediction": ColumnBinding("prediction", "answer", "declared"),
        "gender": ColumnBinding("gender", "sex", "declared"),
    },
)


def logged(name: str, frame: pd.DataFrame) -> LoggedDataset:
    """A dataset as MLflow records it with `from_pandas` and `log_input`."""
    return LoggedDataset(
        name=name, digest=pandas_digest(frame), context=name, source_type="local",
        source=json.dumps({"uri": f"data/{name}.csv"}), schema="", profile=json.dumps({"num_rows": len(frame)}),
    )  # fmt: skip


def csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False).encode()


def measured(
    tmp_path: Path, *, files: dict[str, bytes] | None = None, plan: DataPlan = PLAN, policy: str = POLICY, **run: Any
) -> tuple[Subject, dict[str, Measurement | Unmeasured]]:
    """What the policy's controls measure. The predictions are a column, so no model ever runs."""
    store, no_sandbox = MemoryStore(), Sandbox.__new__(Sandbox)
    model = {"MLmodel": yaml.safe_dump(MODEL).encode(), "model.pkl": pickle.dumps({})}
    fields: dict[str, Any] = {"metrics": {"test_accuracy": 0.95}}
    fields["models"] = (LoggedModel("model", "memory:/models/m-1", model_id="m-1"),)
    kept: Run = store.add(
        finished("r", end_time=4_102_444_800_000, **fields | run),
        files or {"data/test.csv": csv(TEST), "data/train.csv": csv(TRAINING)},
        {"m-1": model},
    )
    rules = parse_policy(policy.encode(), "data.yaml")
    task = AuditTask("data", rules.digest, plan)
    subject, results, _ = measure_run(task, rules, kept, store, Cache(tmp_path / "cache"), no_sandbox, roots=[])
    return subject, {result.control: result for result in results}


def test_everything_that_a_run_holds_is_measured(tmp_path: Path) -> None:
    subject, found = measured(tmp_path)
    values = {name: m.value for name, m in found.items() if isinstance(m, Measurement)}
    assert set(values) == set(found), found
    classes = TEST.groupby(["sex", "zip"]).size()
    assert values["repeats"] == TEST.duplicated().mean()
    assert values["overlap"] == pytest.approx(10 / 300)
    assert values["fits"] == 0.5
    assert values["women"] == pytest.approx(abs((TEST.sex == "f").mean() - 0.5))
    assert (values["k"], values["l"]) == (classes.min(), TRAINING.groupby("zip").illness.nunique().min())
    assert values["told"] == pytest.approx(0.95 - (TEST.y == TEST.answer).mean())
    assert subject.data["evaluation"].check is DigestCheck.UNCHECKABLE
    whole = found["whole"]
    assert isinstance(whole, Measurement)
    # The model, two tables, two digests, and gender, zip, illness, target and prediction; nobody logged a digest.
    assert (whole.n, whole.value) == (10, 0.8)
    assert "the digest of the training data (the run logged no digest for this data)" in whole.notes[0]


LARGE = """
policy: p
version: 1
controls:
- {id: repeats, metric: duplicate_rows, require: "<= 0.01"}
- {id: by, metric: duplicate_rows, require: "<= 0.01", columns: [zip, illness]}
- {id: overlap, metric: split_overlap, require: "== 0"}
- {id: fits, metric: schema_match, require: ">= 1"}
- {id: flips, metric: flip_rate_noise, require: "<= 0.1"}
"""


def test_tables_too_large_to_be_held_are_compared_row_by_row_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pieces of 16 rows, with values that are missing in some pieces only; a number key stays visible as one."""

    def parquet_of(frame: pd.DataFrame, name: str) -> bytes:
        large = frame.assign(key=np.arange(len(frame)) + (2**53 if name == "train" else 0), yes=frame["y"] == 1)
        large["zip"] = large["zip"].where(large.index > 40)  # a float where one is missing
        large["yes"] = large["yes"].where(large.index % 100 > 3)  # an object where one is missing
        large.to_parquet(tmp_path / name, index=False)
        return (tmp_path / name).read_bytes()

    refs = {split: DataRef("artifact", f"data/{split}.parquet") for split in ("evaluation", "training")}
    again = pd.concat([TEST, TEST[:30]], ignore_index=True)
    files = {refs["evaluation"].value: parquet_of(again, "test"), refs["training"].value: parquet_of(TRAINING, "train")}
    plan, no_flips = replace(PLAN, data=refs), LARGE.rpartition("- {id: flips")[0]
    _, whole = measured(tmp_path, files=files, plan=plan, policy=no_flips)
    monkeypatch.setattr(parquet, "MAX_CELLS", 1500)
    monkeypatch.setattr(parquet_batches, "_BATCH_CELLS", 16 * 8)
    _, pieces = measured(tmp_path, files=files, plan=plan, policy=LARGE)
    flips = pieces.pop("flips")
    assert isinstance(flips, Unmeasured)
    assert "330 rows x 8 columns are too many cells" in flips.reason
    assert pieces == whole
    notes = [note for m in pieces.values() if isinstance(m, Measurement) for note in m.notes]
    assert sum("'key' alone differs in every row" in note for note in notes) == 2


def test_a_logged_dataset_proves_its_digest(tmp_path: Path) -> None:
    policy = 'policy: p\nversion: 1\ncontrols:\n- {id: k, metric: k_anonymity, require: ">= 2", columns: zip}\n'
    policy += '- {id: whole, metric: evidence_completeness, require: ">= 1"}\n'
    plan = replace(PLAN, data={"evaluation": DataRef("artifact", "data/test.csv")})
    frame = pd.read_csv(pd.io.common.BytesIO(csv(TEST)))
    subject, found = measured(tmp_path, plan=plan, policy=policy, datasets=(logged("test", frame),))
    assert subject.data["evaluation"].check is DigestCheck.MATCH, subject.data["evaluation"].check_reason
    whole = found["whole"]
    assert isinstance(whole, Measurement)
    assert (whole.value, whole.n, whole.notes) == (1.0, 3, ())
    assert subject.model is None  # nobody asked for it


def test_without_training_data_the_overlap_is_not_zero(tmp_path: Path) -> None:
    _, found = measured(tmp_path, files={"data/test.csv": csv(TEST)})
    overlap, told, whole = found["overlap"], found["told"], found["whole"]
    assert isinstance(overlap, Unmeasured)
    assert overlap.reason.startswith("the training data can't be used: ")
    assert overlap.remedy
    assert isinstance(found["l"], Unmeasured)
    assert isinstance(told, Measurement)
    assert isinstance(whole, Measurement)
    assert whole.value == pytest.approx(6 / 10)
    assert "the training data (" in whole.notes[0]
    assert "the column of illness (it is bound to no column)" in whole.notes[0]


def test_damaged_training_data_are_neither_compared_nor_complete(tmp_path: Path) -> None:
    parquet = b"PAR1" + bytes(40) + b"PAR1"
    plan = replace(PLAN, data=PLAN.data | {"training": DataRef("artifact", "data/train.parquet")})
    _, found = measured(tmp_path, files={"data/test.csv": csv(TEST), "data/train.parquet": parquet}, plan=plan)
    assert isinstance(found["overlap"], Unmeasured)
    whole = found["whole"]
    assert isinstance(whole, Measurement)
    assert whole.value < 1


def test_no_model_no_signature(tmp_path: Path) -> None:
    """The predictions are there all the same, so everything else is measured."""
    _, found = measured(tmp_path, models=())
    fits, whole = found["fits"], found["whole"]
    assert isinstance(fits, Unmeasured)
    assert "logged no model" in fits.reason
    assert isinstance(found["told"], Measurement)
    assert isinstance(whole, Measurement)
    assert "the model (the run logged no model)" in whole.notes[0]


def test_a_policy_of_completeness_alone_is_not_complete(tmp_path: Path) -> None:
    policy = 'policy: p\nversion: 1\ncontrols: [{id: whole, metric: evidence_completeness, require: ">= 1"}]\n'
    subject, found = measured(tmp_path, policy=policy)
    assert isinstance(found["whole"], Unmeasured)
    assert not subject.data


SCORED = """
policy: scored
version: 1.0.0
controls:
- {id: auc, metric: roc_auc, require: ">= 0.5"}
"""


@pytest.mark.parametrize("models", [None, ()], ids=["beside a model", "without one"])
def test_a_logged_score_is_used_where_the_predictions_are_a_column(
    tmp_path: Path, models: tuple[LoggedModel, ...] | None
) -> None:
    """Declared it is bound beside the prediction; it is also an outcome, which no model may see."""
    rng = np.random.default_rng(3)
    frame = TEST.assign(chance=(rng.random(len(TEST)) + TEST["y"] / 2) / 1.5)
    columns = {**PLAN.columns, "score": ColumnBinding("score", "chance", "declared")}
    files = {"data/test.csv": csv(frame), "data/train.csv": csv(TRAINING)}
    more = {} if models is None else {"models": models}
    plan = replace(PLAN, columns=columns)
    subject, found = measured(tmp_path, files=files, policy=SCORED, plan=plan, **more)
    assert subject.binding["score"].column == "chance"
    assert isinstance(found["auc"], Measurement)
    assert found["auc"].value == pytest.approx(roc_auc_score(frame["y"], frame["chance"]), abs=1e-12)
