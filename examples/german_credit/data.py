"""The German Credit data, how it is split, and how a run records the split that it used."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import mlflow
import pandas as pd
from sklearn.model_selection import train_test_split

SOURCE = Path(__file__).resolve().with_name("german_credit.csv")
EXPERIMENT = "loan-german-credit"
TARGET = "class"
# Saying what a model needs spares MLflow from loading it in a process of its own to find out, each time.
REQUIREMENTS = mlflow.sklearn.get_default_pip_requirements(include_cloudpickle=True, include_skops=True)
NUMERIC = [f"Attribute{i}" for i in (2, 5, 8, 11, 13, 16, 18)]
CATEGORICAL = [f"Attribute{i}" for i in range(1, 21) if f"Attribute{i}" not in NUMERIC]

# What MLflow 3.17 says on every run, whatever the script does. Everything else stays visible.
warnings.filterwarnings("ignore", message=".*schema contains integer column", category=UserWarning)
warnings.filterwarnings("ignore", message="The specified dataset source can be interpreted", category=UserWarning)
warnings.filterwarnings("ignore", message="`y_pred` was renamed", category=FutureWarning)
logging.getLogger("mlflow.sklearn").addFilter(lambda record: "pickle or cloudpickle format" not in record.getMessage())
logging.getLogger("alembic").setLevel(logging.WARNING)


def load() -> pd.DataFrame:
    """All 1,000 applicants: Attribute1..Attribute20 and `class` (1 good, 2 bad)."""
    return pd.read_csv(SOURCE)


def split(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The same 700 training and 300 test rows every time, with the same share of bad credits in both."""
    train, test = train_test_split(frame, test_size=0.3, random_state=0, stratify=frame[TARGET])
    return train.reset_index(drop=True), test.reset_index(drop=True)


def log_split(train: pd.DataFrame, test: pd.DataFrame) -> None:
    """Keep both tables with the active run: as files `data/*.csv` and as the run's declared datasets."""
    for name, context, frame in (("train", "train", train), ("test", "eval", test)):
        mlflow.log_text(frame.to_csv(index=False), f"data/{name}.csv")
        dataset = mlflow.data.from_pandas(frame, source=str(SOURCE), targets=TARGET, name=f"german-credit-{name}")
        mlflow.log_input(dataset, context=context)
