"""The service against a real tracking server: it polls, audits, tags by HTTP, and survives the server's absence."""

from __future__ import annotations

from itertools import pairwise

import pytest
import training
from mlflow import MlflowClient
from workplace import AUDITS, Workplace, eventually

pytestmark = pytest.mark.xdist_group("mlflow-server")


def test_a_tracking_server_is_polled_and_tagged(place: Workplace, mlflow_server) -> None:  # type: ignore[no-untyped-def]
    """Backlog, live run, outage and return; the filter in MLflow finds exactly the failing runs."""
    uri = mlflow_server.uri
    place.configure([f"{uri}\n    poll: 1s"], audits=AUDITS)
    good = training.train(uri)
    before = training.run_info(uri, good)
    with place.service():
        eventually(lambda: training.status(uri, good) == "pass", workplace=place)
        bad = training.train(uri, good=False)
        eventually(lambda: training.status(uri, bad) == "fail", workplace=place)
        mlflow_server.stop()
        place.await_log("store.down")
        mlflow_server.start()
        late = training.train(uri, good=False, name="while it was away")
        eventually(lambda: training.status(uri, late) == "fail", workplace=place)
        # Once an outage: a server that ends answers some, cuts others off, and may look up in between.
        told = [e["event"] for e in place.events("store.down", "store.up")]
        assert told[-2:] == ["store.down", "store.up"]
        assert all(one != other for one, other in pairwise(told)), told
    assert training.search(uri, "fail") == {bad, late}
    assert training.search(uri, "pass") == {good}
    assert training.run_info(uri, good) == before
    for run in (good, bad, late):
        assert len(training.evidence_folders(uri, run)) == 1
    (output,) = MlflowClient(uri).get_run(bad).outputs.model_outputs
    assert MlflowClient(uri).get_logged_model(output.model_id).tags["venturalitica.status"] == "fail"
