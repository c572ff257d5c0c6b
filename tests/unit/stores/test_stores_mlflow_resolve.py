"""An MLflow store says of a W&B reference that it has none, and what to write instead."""

from __future__ import annotations

import pytest

from venturalitica_agent.errors import PermanentError
from venturalitica_agent.stores.mlflow_client import MlflowAccess


def test_artifacts_of_wandb_are_not_in_mlflow() -> None:
    with pytest.raises(PermanentError, match="no W&B artifacts") as refused:
        MlflowAccess("sqlite:////nowhere/mlflow.db").resolve("evalset:latest")
    assert "{artifact: …}" in refused.value.remedy
