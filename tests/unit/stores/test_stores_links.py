"""Links into trackers' own UIs: whatever ids and paths are, they stay one part of an address on the tracker's host."""

from __future__ import annotations

from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from venturalitica_agent.stores import links

UI = "http://tracker.example:5000/mlflow"
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
    lambda t: t not in (".", "..")
)


@settings(max_examples=50)
@given(names, names)
def test_an_mlflow_run_is_found_by_its_ids_whatever_they_hold(experiment: str, run: str) -> None:
    base, _, route = links.mlflow_run(UI, experiment, run).partition("#")
    assert base == f"{UI}/"
    assert [unquote(part) for part in route.split("/")] == ["", "experiments", experiment, "runs", run]


@settings(max_examples=50)
@given(names, names, names, names)
def test_a_wandb_run_is_on_the_server_whatever_its_names_hold(entity: str, project: str, run: str, file: str) -> None:
    run_link = links.wandb_run("https://wandb.example", entity, project, run)
    parts = urlsplit(links.wandb_file(run_link, "a/" + file.replace("/", "")) or run_link)
    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("https", "wandb.example", "", "")
    assert [unquote(part) for part in parts.path.split("/")][1:5] == [entity, project, "runs", run]
    assert links.project_of(run_link) == links.wandb_project("https://wandb.example", entity, project)


def test_the_list_of_failing_runs_carries_the_filter_where_the_ui_reads_it() -> None:
    base, _, query = links.mlflow_filtered(UI, "7").partition("?")
    assert base == f"{UI}/#/experiments/7/runs"
    assert parse_qs(query) == {"searchFilter": ["tags.`venturalitica.status` = 'fail'"]}


def test_an_artifact_keeps_its_folders() -> None:
    link = links.mlflow_artifact(UI, "7", "r", "venturalitica/credit/1 2/report.md")
    assert link == f"{UI}/#/experiments/7/runs/r/artifacts/venturalitica/credit/1%202/report.md"


@pytest.mark.parametrize("ui", ["", "javascript:alert(1)", "file:///etc", "/relative"])
def test_there_is_no_link_into_a_ui_that_is_not_on_the_web(ui: str) -> None:
    assert links.mlflow_run(ui, "7", "r") == links.mlflow_filtered(ui, "7") == links.wandb_run(ui, "e", "p", "r") == ""


@pytest.mark.parametrize("odd", ["", ".", ".."])
def test_there_is_no_link_by_a_name_that_browsers_take_for_a_step(odd: str) -> None:
    assert links.wandb_run("https://wandb.example", "e", "p", odd) == ""
    assert links.mlflow_artifact(UI, "7", "r", f"a/{odd}/b") == ""
