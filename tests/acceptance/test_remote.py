"""The service against a real tracking server: it polls, audits, tags by HTTP, and survives the server's absence."""

from __future__ import annotations

import time
from itertools import count, cycle, pairwise

import pytest
import training
from mlflow import MlflowClient
from support.odd_server import Answer, Handler, odd_server, passing_to
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
        def told() -> list[str]:
            return [e["event"] for e in place.events("store.down", "store.up")]

        eventually(lambda: told()[-2:] == ["store.down", "store.up"], workplace=place)
        assert all(one != other for one, other in pairwise(told())), told()
    assert training.search(uri, "fail") == {bad, late}
    assert training.search(uri, "pass") == {good}
    assert training.run_info(uri, good) == before
    for run in (good, bad, late):
        assert len(training.evidence_folders(uri, run)) == 1
    (output,) = MlflowClient(uri).get_run(bad).outputs.model_outputs
    assert MlflowClient(uri).get_logged_model(output.model_id).tags["venturalitica.status"] == "fail"


def test_a_server_in_trouble_is_waited_for_and_nothing_is_lost(place: Workplace, mlflow_server) -> None:  # type: ignore[no-untyped-def]
    """It answers with 503, with what is no answer and with half an answer; then late, refusing the first writes."""
    direct = mlflow_server.uri
    table = training.table().assign(prediction=training.table().y)
    own = passing_to(direct)
    wrong: list[Answer] = [
        lambda handler: handler.say(503, b"<html>try later</html>"),
        lambda handler: handler.say(200, b"\xff\x00<html>captive portal</html>", Content_Type="text/html"),
        lambda handler: handler.say(200, b'{"experiments": [{"experi', Content_Type="application/json"),
    ]
    answers = cycle(wrong)
    refused = count()

    def unwell(handler: Handler) -> None:
        time.sleep(0.3)
        if (handler.command == "PUT" or "log-batch" in handler.path) and next(refused) < 2:
            handler.say(500, b"no space")
        else:
            own(handler)

    with odd_server() as server:
        server.answer = own
        place.configure([f"{server.url}\n    poll: 1s"], audits=AUDITS + "      prediction: prediction\n")
        with place.service():
            place.await_log("store.up")
            server.answer = lambda handler: next(answers)(handler)
            asked = len(server.seen)
            runs = [training.log_table(direct, table, into="tiny-trouble")]
            eventually(lambda: len(server.seen) >= asked + 4, workplace=place)
            place.await_log("store.down")
            assert training.status(direct, runs[0]) is None
            server.answer = unwell
            runs.append(training.log_table(direct, table, into="tiny-trouble"))
            for run in runs:
                eventually(lambda run=run: training.status(direct, run) == "pass", workplace=place)
    assert next(refused) > 2
    assert len(place.events("store.down")) == 1
    assert [len(training.evidence_folders(direct, run)) for run in runs] == [1, 1]
    told = [(event["run"], event["status"]) for event in place.events("audit.published") if event["run"] in runs]
    assert sorted(told) == sorted((run, "pass") for run in runs)
