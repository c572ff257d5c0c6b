"""The demo on MLflow: two fresh local stores, and where to look at them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import yaml
from rich.console import Console

from venturalitica_agent.demo.scene import HERE, environment
from venturalitica_agent.errors import PermanentError
from venturalitica_agent.settings import Settings, load_settings

_UI = {"sqlite": "http://127.0.0.1:5000", "files": "http://127.0.0.1:5001"}
_FAILS_ON_PURPOSE = "train_failing.py"
_OUTPUT = "training.log"


class MlflowScene:
    """See `Scene`. A job is (script, store)."""

    opening = "Training with scripts that import mlflow and scikit-learn only …"
    backlog: Sequence[tuple[str, ...]] = (
        ("train_logistic.py", "sqlite"),
        ("train_forest.py", "sqlite"),
        ("train_boosting.py", "sqlite"),
        ("train_scorecard.py", "sqlite"),
        ("train_without_data.py", "sqlite"),
        (_FAILS_ON_PURPOSE, "sqlite"),
        ("train_logistic.py", "files"),
        ("train_scorecard.py", "files"),
    )
    live: tuple[str, ...] = ("train_fair.py", "sqlite")
    filter = "tags.venturalitica.status = 'fail'"
    links = True

    def __init__(self) -> None:
        self._trainer: subprocess.Popen[str] | None = None

    def configure(self, folder: Path) -> Settings:
        """The example's own agent.yaml, with the demo's two stores in it."""
        with (folder / _OUTPUT).open("wb") as output:
            self._trainer = subprocess.Popen(
                [sys.executable, "-P", str(Path(__file__).with_name("trainer.py"))],
                cwd=folder,
                env=environment({}),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
            )
        shutil.copytree(HERE / "examples" / "german_credit", folder / "training")
        shutil.copytree(HERE / "policies" / "credit-scoring", folder / "policies" / "credit-scoring")
        document = yaml.safe_load((folder / "training" / "agent.yaml").read_text())
        document["stores"] = [
            {"mlflow": "sqlite:///mlflow.db", "ui": _UI["sqlite"]},
            {"mlflow": "./file-store", "ui": _UI["files"]},
        ]
        document["policies"] = "./policies"
        document["settle"] = "2s"
        (folder / "agent.yaml").write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
        (folder / "file-store").mkdir()
        return load_settings(folder / "agent.yaml", env=environment({}), cwd=folder)

    def train_backlog(self, folder: Path) -> None:
        for job in self.backlog:
            self.train(folder, *job)

    def train(self, folder: Path, *job: str) -> None:
        script, store = job
        uri = f"sqlite:///{folder / 'mlflow.db'}" if store == "sqlite" else str(folder / "file-store")
        status = self._run(
            {
                "script": str(folder / "training" / script),
                "environment": environment({"MLFLOW_TRACKING_URI": uri, "MLFLOW_ALLOW_FILE_STORE": "true"}),
                "output": str(folder / _OUTPUT),
            }
        )
        if (status != "0") != (script == _FAILS_ON_PURPOSE):
            said = (folder / _OUTPUT).read_text(errors="replace")
            raise PermanentError(
                f"{script} ended with code {status or 'unknown'}",
                subject=str(folder),
                remedy=f"its last words were: {said[-500:]}",
            )

    def _run(self, job: dict[str, object]) -> str:
        """The exit status of the job's process; empty when the trainer itself has ended."""
        assert self._trainer is not None  # noqa: S101 -- for the type checker: `configure` comes first
        assert self._trainer.stdin is not None  # noqa: S101 -- PIPE was asked for
        assert self._trainer.stdout is not None  # noqa: S101
        with suppress(BrokenPipeError):
            self._trainer.stdin.write(json.dumps(job) + "\n")
            self._trainer.stdin.flush()
        return self._trainer.stdout.readline().strip()

    def see(self, folder: Path, out: Console) -> None:
        mlflow = Path(sys.executable).parent / "mlflow"
        out.print("\nSee it in MLflow's own UI (one line for each of the two stores):", style="bold")
        out.print(f"  {mlflow} ui --port 5000 --backend-store-uri sqlite:///{folder / 'mlflow.db'}", soft_wrap=True)
        files = f"{mlflow} ui --port 5001 --backend-store-uri {folder / 'file-store'}"
        out.print(f"  MLFLOW_ALLOW_FILE_STORE=true {files}", soft_wrap=True)
        out.print("then open the experiment and type this filter:")
        out.print(f"  {self.filter}")
        out.print(
            f"or go there: {_UI['sqlite']}/#/experiments/1/runs?searchFilter={quote(self.filter)}", soft_wrap=True
        )

    def close(self) -> None:
        if self._trainer is not None:
            self._trainer.communicate()  # its stdin ends, and so does it
