"""Everything of MLflow's package that we use, and the only module that imports it.

Importing it takes seconds and 130 MB, so it is only imported inside functions. There is one door on purpose: two
threads that enter MLflow by different sub-modules at once break its circular imports, for good.
"""

import os

# Our own back-off decides (mlflow's default is 7 retries with minutes between); the file store is refused by default
# since MLflow 3.13 although it still holds most people's runs. MLflow reads some of these while it is imported.
for _name, _value in {
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # A tracking server is asked at the address that the configuration names, and can't send us to another one.
    "MLFLOW_ALLOW_HTTP_REDIRECTS": "false",
}.items():
    os.environ.setdefault(_name, _value)

from mlflow import MlflowClient  # noqa: E402
from mlflow.artifacts import download_artifacts, list_artifacts  # noqa: E402
from mlflow.entities import RunTag, ViewType  # noqa: E402
from mlflow.exceptions import MlflowException, RestException  # noqa: E402
from mlflow.utils import yaml_utils  # noqa: E402

from venturalitica_agent.stores.mlflow_yaml import BoundedLoader  # noqa: E402

yaml_utils.YamlSafeLoader = BoundedLoader  # the file store's records are written by whoever trains

__all__ = [
    "MlflowClient",
    "MlflowException",
    "RestException",
    "RunTag",
    "ViewType",
    "download_artifacts",
    "list_artifacts",
]
