"""An alias of MLflow's registry follows the verdicts: real runs, real audits, a real registry."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import training
from mlflow import MlflowClient
from workplace import Workplace

from venturalitica_agent.settings import load_settings
from venturalitica_agent.state.log import Log
from venturalitica_agent.state.opening import open_state

RULE = "promote:\n  - {model: 'loan*', alias: champion}\n"


def register(uri: str, run_id: str, model: str = "loan", source: str = "") -> str:
    client = MlflowClient(uri)
    if not client.search_registered_models(f"name = '{model}'"):
        client.create_registered_model(model)
    (output,) = client.get_run(run_id).outputs.model_outputs
    version = client.create_model_version(model, source or f"models:/{output.model_id}", run_id)
    return str(version.version)


def champion(uri: str, model: str = "loan") -> str | None:
    named = MlflowClient(uri).get_registered_model(model).aliases.get("champion")
    return None if named is None else str(named)


@pytest.mark.parametrize("kind", ["database", "folder"])
def test_an_alias_names_only_what_passed(place: Workplace, new_database: Callable[[Path], str], kind: str) -> None:
    uri = new_database(place.folder) if kind == "database" else str(place.folder / "mlruns")
    place.configure([uri])
    with (place.folder / "agent.yaml").open("a") as file:
        file.write(RULE)
    client = MlflowClient(uri)
    good, bad = training.train(uri), training.train(uri, good=False)
    first, second = register(uri, good), register(uri, bad)
    client.set_registered_model_alias("loan", "champion", first)
    client.set_registered_model_alias("loan", "other", second)
    place.here("audit", check=1)
    assert champion(uri) == first
    assert client.get_model_version("loan", first).tags["venturalitica.status"] == "pass"

    client.set_registered_model_alias("loan", "champion", second)
    place.here("audit", check=1)
    assert champion(uri) == first
    assert client.get_model_version("loan", second).tags["venturalitica.withheld"] == "champion"

    # What a version says of itself makes it no version of the model that passed.
    forged = register(uri, good, source=(place.folder / "elsewhere").as_uri())
    client.set_model_version_tag("loan", forged, "venturalitica.status", "pass")
    client.set_registered_model_alias("loan", "champion", forged)
    place.here("audit", check=1)
    assert champion(uri) == first

    # An alias that is set before the audit arrives with the verdict.
    later = training.train(uri)
    third = register(uri, later)
    client.set_registered_model_alias("loan", "champion", third)
    place.here("audit", check=1)
    assert champion(uri) == third
    assert client.get_registered_model("loan").aliases["other"] in (second, int(second))
    assert "venturalitica.withheld" not in client.get_model_version("loan", third).tags

    state = open_state(load_settings(None, env={}, cwd=place.folder).state)
    moves = [json.loads(e.content) for e in Log(state).entries() if json.loads(e.content)["kind"] == "promotion"]
    state.dispose()
    assert [(m["withheld"], m["version"], m["status"]) for m in moves] == [
        (second, first, "fail"),
        (forged, first, "no verdict"),
    ]


def test_without_a_version_that_may_have_it_the_alias_is_removed_until_one_passes(
    place: Workplace, new_database: Callable[[Path], str]
) -> None:
    uri = new_database(place.folder)
    place.configure([uri])
    with (place.folder / "agent.yaml").open("a") as file:
        file.write(RULE)
    client = MlflowClient(uri)
    run = training.train(uri)
    client.update_run(run, "RUNNING")
    version = register(uri, run)
    client.set_registered_model_alias("loan", "champion", version)
    place.here("audit", check=None)
    assert champion(uri) is None
    client.set_terminated(run)
    place.here("audit")
    assert champion(uri) == version
