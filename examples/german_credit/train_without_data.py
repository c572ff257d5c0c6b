"""Naive Bayes on the numbers alone. It logs the model and not one row of data."""

import mlflow
from data import EXPERIMENT, NUMERIC, REQUIREMENTS, TARGET, load, split
from sklearn.compose import ColumnTransformer
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

train, test = split(load())
features = train.drop(columns=TARGET)

model = make_pipeline(ColumnTransformer([("number", StandardScaler(), NUMERIC)]), GaussianNB())

mlflow.set_experiment(EXPERIMENT)
with mlflow.start_run(run_name="naive-bayes-without-data"):
    model.fit(features, train[TARGET])
    mlflow.log_metric("test_accuracy", model.score(test.drop(columns=TARGET), test[TARGET]))
    mlflow.sklearn.log_model(
        model,
        name="model",
        signature=mlflow.models.infer_signature(features, model.predict(features)),
        pip_requirements=REQUIREMENTS,
    )
