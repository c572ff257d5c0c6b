"""Gradient boosting, logged by MLflow's autologging; only the data files are logged by hand."""

import mlflow
from data import CATEGORICAL, EXPERIMENT, NUMERIC, TARGET, load, log_split, split
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

train, test = split(load())
test_features = test.drop(columns=TARGET)

model = make_pipeline(
    ColumnTransformer(
        [("category", OneHotEncoder(handle_unknown="ignore"), CATEGORICAL), ("number", "passthrough", NUMERIC)]
    ),
    GradientBoostingClassifier(random_state=0),
)

mlflow.set_experiment(EXPERIMENT)
mlflow.sklearn.autolog()
with mlflow.start_run(run_name="gradient-boosting"):
    log_split(train, test)
    model.fit(train.drop(columns=TARGET), train[TARGET])
    model.score(test_features, test[TARGET])  # autologging records it, under the variable's name
