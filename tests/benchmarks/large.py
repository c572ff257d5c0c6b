"""What auditing a table costs that is larger than the memory it is given: resident memory and time of the real command.

`python -m tests.benchmarks large` writes about 5 GB of parquet to the temporary folder, and the agent as much again
twice: into its cache, and as the model's input.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import mlflow
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from mlflow import MlflowClient
from sklearn.linear_model import LogisticRegression
from workplace import AGENT, Workplace, environment

FEATURES = [f"x{i:02}" for i in range(38)]
_GROUP = 250_000

POLICY = """
policy: tiny
version: "1.0"
controls:
  - {id: accuracy, article: "15(1)", metric: accuracy, require: ">= 0.6"}
  - {id: f1, article: "15(1)", metric: f1_macro, require: ">= 0.6"}
  - {id: auc, article: "15(1)", metric: roc_auc, require: ">= 0.6"}
  - {id: impact, article: "10(2)(f)", metric: disparate_impact, role: gender, require: ">= 0.5"}
  - {id: odds, article: "10(2)(f)", metric: equalized_odds_diff, role: gender, require: "<= 0.2"}
  - {id: complete, article: "10(3)", metric: data_completeness, require: ">= 0.9"}
  - {id: repeats, article: "10(3)", metric: duplicate_rows, require: "<= 0.01"}
"""

AUDITS = """
policies: ./policies
settle: {settle}
audits:
  - name: tiny
    runs: {{experiment: "large"}}
    policy: tiny
    data:
      evaluation: {{file: large.parquet}}
    columns:
      target: {{column: y, positive: 1}}
      gender: sex
"""


def large(rows: int) -> None:
    """Prints the size of the table, the verdict, wall time and peak memory of the agent and of its sandbox."""
    with tempfile.TemporaryDirectory(prefix="bench-large-") as folder:
        place = Workplace(Path(folder))
        table = place.folder / "large.parquet"
        write(table, rows)
        place.configure([f"sqlite:///{folder}/mlflow.db"], policy=POLICY, audits=AUDITS)
        _train(place)
        size = table.stat().st_size
        print(f"large, {rows:,} rows x {len(FEATURES) + 2} columns, {size / 1e9:.1f} GB of parquet", flush=True)
        began = time.monotonic()
        process = subprocess.Popen(
            [*AGENT, "audit", "--json"],
            cwd=folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        with _Peaks(process.pid) as peaks:
            said, _ = process.communicate()
        took = time.monotonic() - began
        run = MlflowClient(place.uris[0]).search_runs(["1"])[0]
        ours = {k.removeprefix("venturalitica."): v for k, v in run.data.tags.items() if k.startswith("venturalitica.")}
        print(f"  exit {process.returncode}, status {ours.get('status')}, counts {ours.get('counts')}")
        print(f"  {took:.0f} s; at most {peaks.agent:.0f} MiB resident in the agent, {peaks.others:.0f} in the sandbox")
        if process.returncode != 0:
            print(json.dumps(ours, indent=1), said[-3000:], file=sys.stderr)


def write(path: Path, rows: int) -> None:
    """Random numbers, which don't compress; `y` follows from two of them, `sex` from none."""
    rng = np.random.default_rng(0)
    fields = [pa.field(name, pa.float64()) for name in FEATURES] + [
        pa.field("sex", pa.int64()),
        pa.field("y", pa.int64()),
    ]
    with pq.ParquetWriter(path, pa.schema(fields), use_dictionary=False, compression="snappy") as writer:
        for start in range(0, rows, _GROUP):
            n = min(_GROUP, rows - start)
            x = rng.normal(size=(len(FEATURES), n))
            y = (x[0] + x[1] + rng.normal(size=n) > 0).astype(np.int64)
            writer.write_table(pa.table([*x, rng.integers(0, 2, n), y], schema=pa.schema(fields)))


def _train(place: Workplace) -> None:
    head = next(pq.ParquetFile(place.folder / "large.parquet").iter_batches(20_000)).to_pandas()
    mlflow.set_tracking_uri(place.uris[0])
    client = MlflowClient()
    where = client.create_experiment("large", artifact_location=(place.folder / "artifacts").as_uri())
    with mlflow.start_run(experiment_id=where):
        fitted = LogisticRegression().fit(head[FEATURES], head["y"])
        mlflow.sklearn.log_model(
            fitted, name="model", pip_requirements=["scikit-learn"], serialization_format="cloudpickle"
        )


class _Peaks:
    """The highest resident memory of a process, and of any one below it, in MiB, looked at while it runs."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.agent = self.others = 0.0

    def __enter__(self) -> _Peaks:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.1):
            self.agent = max(self.agent, _peak(self._pid))
            self.others = max([self.others, *map(_peak, _below(self._pid))])


def _peak(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it has ended
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)


def _below(pid: int) -> list[int]:
    try:
        found = [
            int(p) for task in Path(f"/proc/{pid}/task").iterdir() for p in (task / "children").read_text().split()
        ]
    except OSError:  # it has ended
        return []
    return [*found, *(p for each in found for p in _below(each))]
