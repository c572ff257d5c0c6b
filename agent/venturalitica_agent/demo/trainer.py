"""Runs training scripts one after another, each in a process of its own, forked from this one, which has MLflow and
scikit-learn imported: that import is most of the time that the training of a small model takes.

It is a script, and imports nothing of the agent. Each line on stdin is a job, `{"script": path, "environment": {...},
"output": path}`; the exit status of the script's process is the line that answers it. `output` gets what it prints.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import sys
from pathlib import Path

_SLOW = (
    "alembic.command",
    "git",
    "mlflow.models.display_utils",
    "mlflow.models.signature",
    "mlflow.pyfunc",
    "mlflow.sklearn",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_workspace_store",
    "skops.io",
    "sklearn.compose",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "sklearn.model_selection",
    "sklearn.naive_bayes",
    "sklearn.pipeline",
    "sqlalchemy.dialects.sqlite",
)


def main() -> None:
    for name in _SLOW:
        importlib.import_module(name)
    # MLflow looks through every installed package before it logs a first model, and remembers what it found.
    importlib.import_module("mlflow.utils.requirements_utils").warn_dependency_requirement_mismatches(["scikit-learn"])
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(job["script"], job["environment"], job["output"])
            return
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _become(script: str, environment: dict[str, str], output: str) -> None:
    """What `python script` would do from here on; returning ends the process."""
    with Path(output).open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [script]
    sys.path.insert(0, str(Path(script).parent))
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
