"""Verdicts on real stores: found by MLflow's own filter, on the models and their registered versions too."""

from __future__ import annotations

from typing import Any

import pytest
from support.trackers import Tracker
from support.verdicts import decision, policy, subject

from venturalitica_agent.attest.bundle import build_bundle
from venturalitica_agent.domain.verdict import Status
from venturalitica_agent.errors import RunChanged, RunGone
from venturalitica_agent.publish.writeback import publish


def verdict(tracker: Tracker, run_id: str, *statuses: Status, model_id: str = "", name: str = "") -> list[Any]:
    about = subject(model_id=model_id, name=name)
    given = decision(policy(), *statuses, run_id=run_id, store=tracker.store.id, about=about)
    return [(given, build_bundle(given, policy()))]


def test_mlflows_own_filter_finds_exactly_the_failing_runs(tracker: Tracker) -> None:
    statuses = [Status.FAIL, Status.PASS, Status.FAIL, Status.INCONCLUSIVE]
    made = {tracker.finished(f"run {i}"): s for i, s in enumerate(statuses)}
    untagged = tracker.finished("nobody's")
    before = {r: dict(tracker.client.get_run(r).info) for r in made}
    for run_id, status in made.items():
        publish(tracker.store, tracker.store.get_run(run_id), verdict(tracker, run_id, status))

    def found(words: str) -> set[str]:
        return {r.info.run_id for r in tracker.client.search_runs([tracker.experiment], words)}

    assert found("tags.venturalitica.status = 'fail'") == {r for r, s in made.items() if s is Status.FAIL}
    assert found("tags.`venturalitica.status` = 'pass'") == {r for r, s in made.items() if s is Status.PASS}
    assert found("tags.venturalitica.status IS NULL") == {untagged}
    assert {r: dict(tracker.client.get_run(r).info) for r in made} == before


def test_publishing_twice_is_publishing_once(tracker: Tracker) -> None:
    run_id = tracker.finished()
    run = tracker.store.get_run(run_id)
    tags = publish(tracker.store, run, verdict(tracker, run_id, Status.FAIL, Status.PASS))
    files = list(tracker.store.list_files(run_id))
    again = publish(tracker.store, tracker.store.get_run(run_id), verdict(tracker, run_id, Status.FAIL, Status.PASS))
    assert again == tags
    assert list(tracker.store.list_files(run_id)) == files
    assert tracker.store.look(run_id) == run.ref
    assert tags["venturalitica.failed"] == "control-0"


def test_the_audited_model_and_its_registered_version_carry_the_status(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracker.uri)  # MLflow's registry looks `models:/` up there
    run_id = tracker.start()
    model, other = tracker.log_model(run_id), tracker.log_model(run_id)
    tracker.end(run_id)
    registered = f"reg-{run_id}"
    tracker.client.create_registered_model(registered)
    sources = [f"models:/{model}", tracker.client.get_logged_model(model).artifact_location]
    versions = [tracker.client.create_model_version(registered, s, run_id, model_id=model) for s in sources]
    another = tracker.client.create_model_version(registered, f"models:/{other}", run_id, model_id=other)
    publish(
        tracker.store,
        tracker.store.get_run(run_id),
        verdict(tracker, run_id, Status.FAIL, model_id=model, name="classifier"),
    )
    tags = tracker.client.get_logged_model(model).tags
    assert (tags["venturalitica.status"], tags["venturalitica.policy"]) == ("fail", "credit@1.0.0")
    assert "venturalitica.status" not in tracker.client.get_logged_model(other).tags
    for version in versions:
        assert tracker.client.get_model_version(registered, version.version).tags["venturalitica.status"] == "fail"
    assert "venturalitica.status" not in tracker.client.get_model_version(registered, another.version).tags


def test_a_version_of_an_mlflow_2_model_carries_the_status(tracker: Tracker) -> None:
    run_id = tracker.start()
    tracker.log_files(run_id, {"model/MLmodel": b"flavors: {}\n"})
    tracker.end(run_id)
    registered = f"reg-{run_id}"
    tracker.client.create_registered_model(registered)
    source = f"{tracker.client.get_run(run_id).info.artifact_uri}/model"
    version = tracker.client.create_model_version(registered, source, run_id)
    run = tracker.store.get_run(run_id)
    publish(tracker.store, run, verdict(tracker, run_id, Status.PASS, name="model"))
    assert tracker.client.get_model_version(registered, version.version).tags["venturalitica.status"] == "pass"


@pytest.mark.parametrize("what", ["inputs", "resumed", "deleted"])
def test_a_run_that_changed_during_its_audit_keeps_its_tags(tracker: Tracker, what: str) -> None:
    run_id = tracker.finished()
    run = tracker.store.get_run(run_id)
    match what:
        case "inputs":
            tracker.log_dataset(run_id)
        case "resumed":
            tracker.client.update_run(run_id, status="RUNNING")
        case _:
            tracker.client.delete_run(run_id)
    with pytest.raises(RunGone if what == "deleted" else RunChanged):
        publish(tracker.store, run, verdict(tracker, run_id, Status.PASS))
    assert "venturalitica.status" not in tracker.client.get_run(run_id).data.tags
