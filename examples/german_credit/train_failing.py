"""A run that fails: the categories were not encoded, so `fit` raises and MLflow marks the run FAILED."""

import mlflow
from data import EXPERIMENT, TARGET, load, log_split, split
from sklearn.linear_model import LogisticRegression

train, test = split(load())

mlflow.set_experiment(EXPERIMENT)
with mlflow.start_run(run_name="forgot-the-encoder"):
    log_split(train, test)
    LogisticRegression().fit(train.drop(columns=TARGET), train[TARGET])
