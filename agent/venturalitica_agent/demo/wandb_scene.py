"""The demo on Weights & Biases: the real SDK trains and the real agent audits, on a server that stands in for W&B's.

The stand-in speaks W&B's protocol on this machine, so the demo needs no account and nothing leaves the machine.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml
from rich.console import Console
from rich.text import Text

from venturalitica_agent.demo.scene import HERE, environment, run_script
from venturalitica_agent.errors import PermanentError
from venturalitica_agent.logging import clean
from venturalitica_agent.settings import Settings, load_settings
from venturalitica_agent.stores.opening import WandbServer
from venturalitica_agent.stores.wandb_artifacts import pages

_PROJECT = "loan-german-credit"
_RUNS = """
query Runs($entity: String!, $project: String!, $cursor: String) {
  project(name: $project, entityName: $entity) {
    runs(after: $cursor, order: "+created_at") {
      edges { node { displayName state tags } }
      pageInfo { endCursor hasNextPage }
    }
  }
}
"""


class WandbScene:
    """See `Scene`. A job is the arguments of `train.py`."""

    opening = (
        "This runs against a stand-in for the W&B server, on this machine: it speaks W&B's protocol, needs no account, "
        "and nothing leaves the machine. W&B's own SDK trains; the agent is the one that you would run.\n"
        "Training with a script that imports wandb and scikit-learn only …"
    )
    backlog: Sequence[tuple[str, ...]] = (
        ("logistic",),
        ("scorecard",),
        ("forest", "--without-data"),
        ("logistic", "--fail"),
    )
    live: tuple[str, ...] = ("forest",)
    filter = '{"tags": "vl:fail"}'
    links = False  # the stand-in has no pages

    def __init__(self) -> None:
        self._server: subprocess.Popen[str] | None = None
        self._settings: Settings | None = None
        self._access: dict[str, str] = {}

    def configure(self, folder: Path) -> Settings:
        """The example's own agent.yaml and training script; the key is where people keep it, in `.env`."""
        self._start(folder)
        shutil.copytree(HERE / "examples", folder / "training")
        shutil.copytree(HERE / "policies" / "credit-scoring", folder / "policies" / "credit-scoring")
        document = yaml.safe_load((HERE / "examples" / "german_credit_wandb" / "agent.yaml").read_text())
        document["stores"] = [{"wandb": f"{self._access['entity']}/{_PROJECT}", "poll": "2s"}]
        document["policies"] = "./policies"
        document["settle"] = "2s"
        (folder / "agent.yaml").write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
        lines = f"WANDB_API_KEY={self._access['key']}\nWANDB_BASE_URL={self._access['url']}\n"
        (folder / ".env").write_text(lines)
        self._settings = load_settings(folder / "agent.yaml", env=environment({}), cwd=folder)
        return self._settings

    def _start(self, folder: Path) -> None:
        command = [sys.executable, "-m", "venturalitica_agent.wandb_server", "--folder", str(folder / "server")]
        with (folder / "server.log").open("wb") as log:
            self._server = subprocess.Popen(
                command, cwd=folder, env=environment({}), stdout=subprocess.PIPE, stderr=log, text=True
            )
        line = self._server.stdout.readline() if self._server.stdout else ""
        if not line:
            raise PermanentError(
                "the stand-in server did not start", subject=str(folder), remedy=f"see {folder / 'server.log'}"
            )
        self._access = json.loads(line)

    def train_backlog(self, folder: Path) -> None:
        with ThreadPoolExecutor(max_workers=2) as pool:
            for trained in [pool.submit(self.train, folder, *job) for job in self.backlog]:
                trained.result()

    def train(self, folder: Path, *job: str) -> None:
        env = {
            "WANDB_BASE_URL": self._access["url"],
            "WANDB_API_KEY": self._access["key"],
            "WANDB_ENTITY": self._access["entity"],
            "WANDB_PROJECT": _PROJECT,
            "WANDB_SILENT": "true",
            "WANDB_ERROR_REPORTING": "false",
            **{f"WANDB_{name}_DIR": str(folder / "wandb") for name in ("CACHE", "CONFIG", "DATA")},
        }
        script = folder / "training" / "german_credit_wandb" / "train.py"
        run_script(folder, [str(script), *job], env, fails="--fail" in job)

    def see(self, folder: Path, out: Console) -> None:  # noqa: ARG002 - other scenes tell where to look
        """What the server holds now, as anybody's W&B client would read it."""
        if self._settings is None:
            return
        server = WandbServer(self._settings)
        where = {"entity": self._access["entity"], "project": _PROJECT}
        out.print("\nWhat the server has on its runs now:", style="bold")
        for node in pages(server.http, _RUNS, where, "runs"):
            line = f"  {clean(node['displayName']):22} {clean(node['state']):10} {clean(', '.join(node['tags']))}"
            out.print(Text(line), soft_wrap=True)
        out.print("In the W&B UI the same runs are found with the filter `Tags: vl:fail`, in its API with")
        out.print(f"  wandb.Api().runs(path, filters={self.filter})")
        out.print("On your own project it takes two lines: WANDB_API_KEY=… in .env, and in agent.yaml")
        out.print("  stores: [{wandb: entity/project}]")

    def close(self) -> None:
        if self._server is not None:
            self._server.send_signal(signal.SIGTERM)
            self._server.wait(timeout=30)
