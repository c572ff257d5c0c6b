"""What the W&B tests of one process share, as it costs seconds: a server on which the real SDK has trained."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.wandb_training import train
from wandb_server import WandbServer


def training() -> None:
    """A small run, `finished`."""
    from pathlib import Path

    import joblib
    import wandb

    run = wandb.init(
        id="finished", name="first", tags=["baseline"], config={"lr": 0.1}, group="loans", job_type="train"
    )
    for step in range(3):
        run.log({"loss": 1 / (step + 1)})
    joblib.dump({"weights": [0.1, 0.2]}, "model.joblib")
    Path("test.csv").write_bytes(b"age,approved\n31,1\n52,0\n")
    data = wandb.Artifact("evalset", "dataset", metadata={"rows": 2})
    data.add_file("test.csv")
    run.log_artifact(data, aliases=["test"])
    model = wandb.Artifact("loan-model", "model")
    model.add_file("model.joblib")
    run.log_artifact(model)
    run.log({"predictions": wandb.Table(columns=["y", "p"], data=[[1, 0.9], [0, 0.2]])})
    run.summary["accuracy"] = 0.75
    run.finish()


def rich_training() -> None:
    """A run with everything, `rich` in the project `audits`, which also uses what a run of `sources` logged."""
    import joblib
    import numpy as np
    import pandas as pd
    import wandb
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"sex": rng.choice(["f", "m"], 200), "x": rng.normal(size=200)})
    frame["y"] = (frame["x"] + rng.normal(size=200) > 0).astype(int)
    frame.to_csv("evalset.csv", index=False)
    joblib.dump(LogisticRegression().fit(frame[["x"]], frame["y"]), "loan.joblib")

    with wandb.init(project="sources", id="source") as source:
        raw = wandb.Artifact("raw", "dataset", digest_algorithm="XXH128")
        raw.add_file("evalset.csv", name="deep/train.csv")
        source.log_artifact(raw).wait()

    run = wandb.init(
        project="audits",
        id="rich",
        name="with everything",
        notes="keep this",
        tags=["baseline", "team:risk"],
        group="loans",
        job_type="train",
        config={"lr": 0.1, "layers": [8, 4], "opt": {"name": "adam", "eps": 1e-300}},
    )
    run.use_artifact("acme/sources/raw:v0")
    run.log({"loss": 0.5})
    data = wandb.Artifact("evalset", "dataset")
    data.add_file("evalset.csv", name="test.csv")
    data.add_reference("http://127.0.0.1:1/none.csv", checksum=False)
    run.log_artifact(data, aliases=["best"])
    model = wandb.Artifact("loan", "model")
    model.add_file("loan.joblib", name="model.joblib")
    run.log_artifact(model)
    run.log({"predictions": wandb.Table(columns=["y", "p"], data=[[1, 0.9], [0, 0.2]])})
    run.summary.update({"accuracy": 0.1 + 0.2, "steps": 2**53 + 1, "nan": float("nan"), "inf": float("inf")})
    run.summary["per_group"] = {"f": {"tpr": 0.5}}
    run.finish()


@dataclass(frozen=True)
class Training:
    """The server after training; `folder` is where the script ran and left its files."""

    server: WandbServer
    folder: Path


@contextmanager
def trained_server(folder: Path) -> Iterator[Training]:
    script = "\n".join(map(inspect.getsource, (training, rich_training))) + "\ntraining()\nrich_training()\n"
    with WandbServer(folder / "server", xxhash=True) as server:
        train(server, folder / "training", script)
        yield Training(server, folder / "training")
