"""What people can do about a problem is said in the words of the tracker that they log to."""

from __future__ import annotations

from dataclasses import dataclass

from venturalitica_agent.domain.policy import Split
from venturalitica_agent.domain.run import Run


@dataclass(frozen=True, slots=True)
class Advice:
    """Halves of sentences and lines of agent.yaml for one kind of tracker.

    Attributes:
        log_model, log_dataset, log_file: how training code logs one.
        ready: how the tracker says that a model was completely logged.
        data: split -> the example of where agent.yaml may find it.
        other_data: the other ways to say it.
    """

    log_model: str
    log_dataset: str
    log_file: str
    ready: str
    data: dict[Split, str]
    other_data: str


_MLFLOW = Advice(
    log_model="call mlflow.sklearn.log_model (or autolog) in the training run",
    log_dataset="log it with mlflow.log_input(dataset, context=…)",
    log_file="log the file itself with mlflow.log_artifact",
    ready="READY",
    data={Split.EVALUATION: "{artifact: data/test.csv}", Split.TRAINING: "{artifact: data/train.csv}"},
    other_data="{dataset: <name or context>} or {file: <path>}",
)
_WANDB = Advice(
    log_model='log an artifact of type "model" with one model file in it (.joblib, .skops, .ubj, .onnx …) from the '
    "training run",
    log_dataset='log or use it as an artifact of type "dataset" that holds the file',
    log_file="log an artifact that holds the file itself with run.log_artifact",
    ready="COMMITTED",
    data={Split.EVALUATION: '{wandb: "evalset:latest"}', Split.TRAINING: '{wandb: "trainset:latest"}'},
    other_data='{wandb: "evalset:v3/test.csv"} or {dataset: <name or context>} or {file: <path>}',
)


def advice_for(run: Run) -> Advice:
    """The words of the tracker that the run is logged to."""
    return _WANDB if run.artifact_uri.startswith("wandb") else _MLFLOW


def say_where(advice: Advice, split: Split, there: str = "") -> str:
    """The remedy that shows which line of agent.yaml says where a split is; `there` in place of the example."""
    return (
        f"say in agent.yaml where the {split} data is:\n  data:\n    {split}: {there or advice.data[split]}"
        f"   # or {advice.other_data}"
    )
