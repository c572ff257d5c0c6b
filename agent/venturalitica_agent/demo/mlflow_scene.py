"""The demo on MLflow: two fresh local stores, and where to look at them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import yaml
from rich.console import Console

from venturalitica_agent.demo.scene import HERE, environment, run_script
from venturalitica_agent.settings import Settings, load_settings

_UI = {"sqlite": "http://127.0.0.1:5000", "files": "http://127.0.0.1:5001"}
_FAILS_ON_PURPOSE = "train_failing.py"


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

    def configure(self, folder: Path) -> Settings:
        """The example's own agent.yaml, with the demo's two stores in it."""
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
        """Two scripts at a time. SQLite locks a fresh database while it is created: only one script may meet it so."""
        creating, *in_database = (job for job in self.backlog if job[1] == "sqlite")
        with ThreadPoolExecutor(max_workers=2) as pool:
            created = pool.submit(self.train, folder, *creating)
            others = [pool.submit(self.train, folder, *job) for job in self.backlog if job[1] == "files"]
            created.result()
            others += [pool.submit(self.train, folder, *job) for job in in_database]
            for trained in others:
                trained.result()

    def train(self, folder: Path, *job: str) -> None:
        script, store = job
        uri = f"sqlite:///{folder / 'mlflow.db'}" if store == "sqlite" else str(folder / "file-store")
        env = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_ALLOW_FILE_STORE": "true"}
        run_script(folder, [str(folder / "training" / script)], env, fails=script == _FAILS_ON_PURPOSE)

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
        """Nothing was started."""
