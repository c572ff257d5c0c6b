"""A scorecard of the old kind: a shallow tree over years of employment, age and housing."""

import mlflow
from data import EXPERIMENT, REQUIREMENTS, TARGET, load, log_split, split
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder
from sklearn.tree import DecisionTreeClassifier

train, test = split(load())
features = train[["Attribute7", "Attribute13", "Attribute15"]]

model = make_pipeline(
    ColumnTransformer(
        [
            (
                "code",
                OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
                ["Attribute7", "Attribute15"],
            ),
            ("number", "passthrough", ["Attribute13"]),
        ]
    ),
    DecisionTreeClassifier(max_depth=3, class_weight="balanced", random_state=0),
)

mlflow.set_experiment(EXPERIMENT)
with mlflow.start_run(run_name="scorecard"):
    log_split(train, test)
    mlflow.log_params({"max_depth": 3, "class_weight": "balanced"})
    model.fit(features, train[TARGET])
    mlflow.log_metric("test_accuracy", model.score(test[features.columns], test[TARGET]))
    mlflow.sklearn.log_model(
        model,
        name="model",
        signature=mlflow.models.infer_signature(features, model.predict(features)),
        pip_requirements=REQUIREMENTS,
        serialization_format="cloudpickle",
    )
