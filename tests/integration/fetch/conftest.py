"""Real models, saved by MLflow once per session as folders of files."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

Files = dict[str, bytes]


@pytest.fixture(scope="session")
def saved_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Files]:
    """Serialization format -> the files that `mlflow.sklearn.save_model` wrote, of a model on columns age and job."""
    import mlflow.sklearn
    import pandas as pd
    from mlflow.models import infer_signature
    from sklearn.linear_model import LogisticRegression

    features = pd.DataFrame({"age": [20.0, 30, 40, 50], "income": [1.0, 0, 1, 0]})
    labels = [0, 1, 1, 0]
    model = LogisticRegression().fit(features, labels)
    root = tmp_path_factory.mktemp("models")
    found = {}
    for form in ("cloudpickle", "skops"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mlflow.sklearn.save_model(
                model,
                root / form,
                serialization_format=form,
                signature=infer_signature(features, model.predict(features)),
                pip_requirements=["scikit-learn==1.9.1", "numpy>=2"],
            )
        found[form] = files_below(root / form)
    return found


def files_below(folder: Path) -> Files:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
