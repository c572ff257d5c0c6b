"""SIGTERM while a model takes its time: the service doesn't wait for it, and the run still gets its one verdict."""

from __future__ import annotations

import signal
import subprocess
import time
from types import FunctionType
from typing import Any

import mlflow
import training
from mlflow import MlflowClient
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from workplace import Workplace, eventually, stop

MODEL_SECONDS = 120


def slow_to_predict() -> Any:
    """A fitted pipeline whose first step sleeps when it predicts; its function is pickled whole, as a notebook's is."""
    frame = training.table()
    pipeline = make_pipeline(FunctionTransformer(), LogisticRegression()).fit(frame[["income"]], frame.y)
    source: dict[str, Any] = {"__name__": "a_notebook"}
    exec(f"def wait(table):\n    import time\n    time.sleep({MODEL_SECONDS})\n    return table", source)
    assert isinstance(source["wait"], FunctionType)
    pipeline[0].func = source["wait"]
    return pipeline


def sleeping_workers(service: int) -> bool:
    """Whether a process below the service has been in the sandbox long enough to have loaded the model."""
    shown = subprocess.run(["ps", "-eo", "ppid=,etimes=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in shown.splitlines()]
    return any(int(parent) == service and "bwrap" in words and int(age) >= 6 for parent, age, words in rows)


def log_slow_model(uri: str) -> str:
    """A run that ended, whose model is slow to predict."""
    run_id = training.train(uri, model=False)
    mlflow.set_tracking_uri(uri)
    with mlflow.start_run(run_id=run_id):
        mlflow.sklearn.log_model(
            slow_to_predict(), name="model", pip_requirements=["scikit-learn"], serialization_format="cloudpickle"
        )
    return run_id


def start_until_it_predicts(place: Workplace) -> subprocess.Popen[bytes]:
    service = place.start()
    try:
        place.await_log("audit.claimed")
        eventually(lambda: sleeping_workers(service.pid), 60, place)
    except BaseException:
        stop(service)
        raise
    return service


def assert_audited_once(place: Workplace, uri: str, run_id: str) -> None:
    """By the second attempt, whose sandbox has no time for the model."""
    assert training.status(uri, run_id) == "error"
    assert [event["run"] for event in place.events("audit.published")] == [run_id]
    assert len(training.evidence_folders(uri, run_id)) == 1


def test_a_stop_does_not_wait_for_a_model_and_loses_nothing(place: Workplace, uri: str) -> None:
    run_id = log_slow_model(uri)
    service = start_until_it_predicts(place)
    try:
        began = time.monotonic()
        service.send_signal(signal.SIGTERM)
        assert service.wait(timeout=60) == 0, place.log()
        print(f"stopped after {time.monotonic() - began:.1f} s")
    finally:
        stop(service)
    assert training.tags(uri, run_id) == {}
    assert training.evidence_folders(uri, run_id) == []
    assert MlflowClient(uri).get_run(run_id).info.status == "FINISHED"
    with place.service(VENTURALITICA_SANDBOX_WALL="3s"):
        eventually(lambda: training.status(uri, run_id) is not None, 90, place)
    assert_audited_once(place, uri, run_id)


def test_a_reload_takes_the_work_in_hand_along(place: Workplace, uri: str) -> None:
    run_id = log_slow_model(uri)
    service = start_until_it_predicts(place)
    try:
        config = place.folder / "agent.yaml"
        config.write_text(config.read_text() + "sandbox: {wall: 3s}\n")
        service.send_signal(signal.SIGHUP)
        eventually(lambda: training.status(uri, run_id) is not None, 90, place)
        place.await_log("audit.released")
        assert service.poll() is None
    finally:
        stop(service)
    assert service.returncode == 0
    assert_audited_once(place, uri, run_id)
