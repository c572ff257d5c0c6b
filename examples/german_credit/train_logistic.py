"""Logistic regression on every attribute. Everything is logged by hand."""

import mlflow
from data import CATEGORICAL, EXPERIMENT, NUMERIC, REQUIREMENTS, TARGET, load, log_split, split
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

train, test = split(load())
features = train.drop(columns=TARGET)

model = make_pipeline(
    ColumnTransformer(
        [("category", OneHotEncoder(handle_unknown="ignore"), CATEGORICAL), ("number", StandardScaler(), NUMERIC)]
    ),
    LogisticRegression(C=1.0, max_iter=1000),
)

mlflow.set_experiment(EXPERIMENT)
with mlflow.start_run(run_name="logistic-regression"):
    log_split(train, test)
    mlflow.log_param("C", 1.0)
    model.fit(features, train[TARGET])
    mlflow.log_metric("test_accuracy", model.score(test.drop(columns=TARGET), test[TARGET]))
    mlflow.sklearn.log_model(
        model,
        name="model",
        signature=mlflow.models.infer_signature(features, model.predict(features)),
        pip_requirements=REQUIREMENTS,
    )
