"""Real offline runs of W&B, trained once per process; and logs written by hand, framed as W&B frames them."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from support.wandb_training import FOLDERS, QUICK

BLOCK = 32768
MAGIC = b":W&B\xe1\xbe\x00"

# Five runs in one process: one that ends well, two of one id in two projects, one that fails, one that is killed.
_TRAINING = """
import os, pickle, signal, time
from pathlib import Path
import wandb

Path("test.csv").write_text("age,job,class\\n" + "".join(f"{20 + i},{i % 3},{i % 2}\\n" for i in range(80)))
Path("saved.csv").write_text("a\\n1\\n")
Path("model.joblib").write_bytes(pickle.dumps({"coef": [0.1, 0.2]}))

run = wandb.init(project="credit", name="first", id="good", group="nightly", job_type="train",
                 tags=["team:risk", "baseline", "venturalitica.status:pass"], config={"lr": 0.1, "deep": {"a": [1, 2]}})
model = wandb.Artifact("loan-model", "model")
model.add_file("model.joblib")
run.log_artifact(model, aliases=["best"])
data = wandb.Artifact("evalset", "dataset")
data.add_file("test.csv")
data.add_reference("https://example.invalid/x.csv", name="web.csv", checksum=False)
run.log_artifact(data)
run.log({"acc": 0.5, "loss": float("nan"), "nested": {"x": 1.5}})
run.log({"acc": 0.95})
run.log({"preds": wandb.Table(columns=["age", "prediction"], data=[[30, 1], [40, 0]])})
run.save("saved.csv")
run.finish()

def twice(project, row, policy):
    run = wandb.init(project=project, id="twice")
    Path("more.csv").write_text(f"a\\n{row}\\n")
    more = wandb.Artifact("moreset", "dataset")
    more.add_file("more.csv", policy=policy)
    run.log_artifact(more)
    run.finish()
    return int(time.time())

second = twice("credit", 7, "mutable")
run = wandb.init(project="credit", id="bad")
run.finish(exit_code=1)
while int(time.time()) == second:  # a folder's name tells seconds
    time.sleep(0.05)
twice("other", 8, "immutable")

run = wandb.init(project="credit", id="killed")
log = next(Path(run.dir).parent.glob("*.wandb"))
while log.stat().st_size < 40_000:
    run.log({"step": 1})
os.kill(os.getpid(), signal.SIGKILL)
"""


@dataclass(frozen=True, slots=True)
class Offline:
    """A `wandb` folder with five offline runs, and where its training ran."""

    root: Path

    def run(self, name: str, nth: int = 0) -> str:
        """The store's id of the run that training called `name`."""
        return sorted(p.name for p in self.root.glob(f"offline-run-*-{name}"))[nth]

    def folder(self, name: str) -> Path:
        return self.root / self.run(name)

    def log(self, name: str) -> Path:
        return self.folder(name) / f"run-{name}.wandb"


def train_offline(folder: Path, script: str) -> int:
    """Run a training script with W&B offline, all of W&B's folders below `folder`; returns its exit code."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    here = {name: str(folder / name.lower()) for name in FOLDERS} | {"WANDB_DIR": str(folder)}
    env = kept | QUICK | here | {"WANDB_MODE": "offline", "HOME": str(folder)}
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, env=env, capture_output=True, timeout=120)
    if done.returncode > 0:
        raise AssertionError(done.stderr.decode())
    return done.returncode


@cache
def _trained() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="wandb-offline-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    train_offline(folder, _TRAINING)
    return folder


def copied_to(folder: Path) -> Offline:
    """A copy of the trained runs. The copies that W&B staged stay where they were: beside the trained original."""
    shutil.copytree(_trained() / "wandb", folder / "wandb", symlinks=True)
    return Offline(folder / "wandb")


def trained_beside() -> Path:
    """The folder that training ran in: test.csv, model.joblib, and W&B's staging folder."""
    return _trained()


# -- logs by hand -------------------------------------------------------------------------------------------------
def framed(records: Iterable[bytes]) -> bytes:
    """A log of these records, as W&B's own writer lays it out (source: leveldb's log_format.md, CRC-32 of zlib)."""
    out = bytearray(MAGIC)
    for record in records:
        position, begun = 0, False
        while True:
            left = BLOCK - len(out) % BLOCK
            if left < 7:
                out += bytes(left)
                left = BLOCK
            after = min(len(record), position + left - 7)
            form = {(True, True): 1, (True, False): 2, (False, False): 3, (False, True): 4}
            out += fragment(form[not begun, after == len(record)], record[position:after])
            position, begun = after, True
            if position == len(record):
                break
    return bytes(out)


def fragment(form: int, data: bytes) -> bytes:
    body = bytes([form]) + data
    return zlib.crc32(body).to_bytes(4, "little") + len(data).to_bytes(2, "little") + body
