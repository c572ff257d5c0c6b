"""Random forest on every attribute. Everything is logged by hand."""

import mlflow
from data import CATEGORICAL, EXPERIMENT, NUMERIC, REQUIREMENTS, TARGET, load, log_split, split
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

PARAMS = {"n_estimators": 200, "min_samples_leaf": 3, "random_state": 0}

train, test = split(load())
features = train.drop(columns=TARGET)

model = make_pipeline(
    ColumnTransformer(
        [("category", OneHotEncoder(handle_unknown="ignore"), CATEGORICAL), ("number", "passthrough", NUMERIC)]
    ),
    RandomForestClassifier(**PARAMS),
)

mlflow.set_experiment(EXPERIMENT)
with mlflow.start_run(run_name="random-forest"):
    log_split(train, test)
    mlflow.log_params(PARAMS)
    model.fit(features, train[TARGET])
    mlflow.log_metric("test_accuracy", model.score(test.drop(columns=TARGET), test[TARGET]))
    mlflow.sklearn.log_model(
        model,
        name="model",
        signature=mlflow.models.infer_signature(features, model.predict(features)),
        pip_requirements=REQUIREMENTS,
        serialization_format="cloudpickle",  # the default, skops, refuses tree ensembles
    )
