"""A file store whose meta.yaml is rewritten in place without a pause, as MLflow rewrites it at each status change."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import training
from workplace import Workplace, eventually

# What MLflow's file store does at an update: truncate, then one write. Slowly enough to be seen empty.
WRITER = """
import sys, time
path, content = sys.argv[1], open(sys.argv[1]).read()
while True:
    with open(path, "w") as file:
        time.sleep(0.0005)
        file.write(content)
    time.sleep(0.001)
"""


def test_a_run_that_is_rewritten_in_a_loop_is_audited_once_and_rightly(place: Workplace) -> None:
    """No wrong and no lost audit, during the loop or after it."""
    uri = str(place.folder / "mlruns")
    place.configure([uri])
    run, quiet = training.train(uri, good=False), training.train(uri)
    (meta,) = Path(uri).glob(f"*/{run}/meta.yaml")
    whole = meta.read_text()
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(meta)])
    try:
        with place.service():
            eventually(lambda: training.status(uri, quiet) == "pass", workplace=place)
            tag = meta.parent / "tags" / "venturalitica.status"
            eventually(tag.exists, 60, place)
            writer.kill()
            writer.wait()
            meta.write_text(whole)
            eventually(lambda: place.here("status")["due"] == 0, workplace=place)
            published = [e["run"] for e in place.events("audit.published")]
    finally:
        writer.kill()
    assert training.status(uri, run) == "fail"
    assert sorted(published) == sorted([run, quiet])
    assert len(training.evidence_folders(uri, run)) == 1
    (store,) = place.here("status")["stores"]
    assert store["runs"] == {"done": 2}
