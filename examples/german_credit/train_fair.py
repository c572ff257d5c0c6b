"""Logistic regression that never sees personal status and sex (Attribute9) or age (Attribute13)."""

import mlflow
from data import CATEGORICAL, EXPERIMENT, NUMERIC, REQUIREMENTS, TARGET, load, log_split, split
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

PROTECTED = ["Attribute9", "Attribute13"]

train, test = split(load())
features = train.drop(columns=[TARGET, *PROTECTED])

model = make_pipeline(
    ColumnTransformer(
        [
            ("category", OneHotEncoder(handle_unknown="ignore"), [c for c in CATEGORICAL if c not in PROTECTED]),
            ("number", StandardScaler(), [c for c in NUMERIC if c not in PROTECTED]),
        ]
    ),
    LogisticRegression(C=0.05, max_iter=1000),
)

mlflow.set_experiment(EXPERIMENT)
with mlflow.start_run(run_name="without-sex-and-age"):
    log_split(train, test)
    mlflow.log_params({"C": 0.05, "left_out": ",".join(PROTECTED)})
    model.fit(features, train[TARGET])
    mlflow.log_metric("test_accuracy", model.score(test[features.columns], test[TARGET]))
    mlflow.sklearn.log_model(
        model,
        name="model",
        signature=mlflow.models.infer_signature(features, model.predict(features)),
        pip_requirements=REQUIREMENTS,
    )
