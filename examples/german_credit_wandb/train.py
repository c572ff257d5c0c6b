"""Trains one model on the German Credit data and logs it to Weights & Biases: `python train.py scorecard`.

Plain training code: the model is an artifact of type "model", the data it was split into one of type "dataset".
"""

from __future__ import annotations

import argparse
from pathlib import Path

import joblib
import pandas as pd
import wandb
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

SOURCE = Path(__file__).resolve().parent.parent / "german_credit" / "german_credit.csv"
TARGET = "class"
NUMERIC = [f"Attribute{i}" for i in (2, 5, 8, 11, 13, 16, 18)]
CATEGORICAL = [f"Attribute{i}" for i in range(1, 21) if f"Attribute{i}" not in NUMERIC]


def logistic() -> Pipeline:
    columns = [("category", OneHotEncoder(handle_unknown="ignore"), CATEGORICAL), ("number", StandardScaler(), NUMERIC)]
    return make_pipeline(ColumnTransformer(columns), LogisticRegression(max_iter=1000))


def forest() -> Pipeline:
    columns = [("category", OneHotEncoder(handle_unknown="ignore"), CATEGORICAL), ("number", "passthrough", NUMERIC)]
    return make_pipeline(ColumnTransformer(columns), RandomForestClassifier(min_samples_leaf=3, random_state=0))


def scorecard() -> Pipeline:
    """Of the old kind: a shallow tree over years of employment, age and housing."""
    code = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = [("code", code, ["Attribute7", "Attribute15"]), ("number", "passthrough", ["Attribute13"])]
    tree = DecisionTreeClassifier(max_depth=3, class_weight="balanced", random_state=0)
    return make_pipeline(ColumnTransformer(columns), tree)


MODELS = {"logistic": logistic, "forest": forest, "scorecard": scorecard}

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("model", choices=MODELS)
parser.add_argument("--without-data", action="store_true", help="log the model and not one row of data")
parser.add_argument("--fail", action="store_true", help="end with an error after training")
arguments = parser.parse_args()

frame = pd.read_csv(SOURCE)
train, test = train_test_split(frame, test_size=0.3, random_state=0, stratify=frame[TARGET])
model = MODELS[arguments.model]()

name = f"{arguments.model}-without-data" if arguments.without_data else arguments.model

with wandb.init(name=name, tags=["team:risk"], config={"model": arguments.model}) as run:
    model.fit(train.drop(columns=TARGET), train[TARGET])
    run.log({"test_accuracy": model.score(test.drop(columns=TARGET), test[TARGET])})
    if not arguments.without_data:
        data = wandb.Artifact("german-credit", type="dataset")
        with data.new_file("train.csv") as file:
            train.to_csv(file, index=False)
        with data.new_file("test.csv") as file:
            test.to_csv(file, index=False)
        run.log_artifact(data)
    artifact = wandb.Artifact("loan-model", type="model")
    with artifact.new_file("model.joblib", mode="wb") as file:
        joblib.dump(model, file)
    run.log_artifact(artifact)
    if arguments.fail:
        raise SystemExit("this run fails on purpose")
