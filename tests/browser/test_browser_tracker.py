"""The page's links opened in MLflow's own UI: they show the run, its failing neighbours, and the report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from support.audited import audited_state
from support.trackers import SERVER_GROUP

from venturalitica_agent.domain.verdict import Status

if TYPE_CHECKING:
    from conftest import Serve, Server
    from playwright.sync_api import Browser, Page

pytestmark = SERVER_GROUP
PATIENCE = 30_000


@pytest.fixture(scope="module")
def page(
    mlflow_server: Server, serve: Serve, chromium: Browser, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Page]:
    """The page of a run that failed and is on MLflow's server with its evidence, beside one that passed."""
    from mlflow import MlflowClient

    folder: Path = tmp_path_factory.mktemp("linked")
    state = audited_state(folder / "agent", uri=mlflow_server.uri, ui=mlflow_server.uri)
    client = MlflowClient(mlflow_server.uri)
    experiment = client.create_experiment(f"linked-{folder.name}")
    for name, status in (("boosted-trees", Status.FAIL), ("plain-logistic", Status.PASS)):
        run = client.create_run(experiment, run_name=name).info.run_id
        decision = state.keep(run, status, name=name, experiment=f"linked-{folder.name}", experiment_id=experiment)
        for path, content in state.bundle(decision).files.items():
            (folder / run / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / run / path).write_bytes(content)
        client.log_artifacts(run, str(folder / run))
        client.set_tag(run, "venturalitica.status", status.value)
        client.set_terminated(run)
    base = serve(state)
    with chromium.new_context(locale="en-GB") as context:
        page = context.new_page()
        page.goto(f"{base}/runs?status=fail")
        page.get_by_role("link", name="boosted-trees").click()
        page.wait_for_selector("h1")
        yield page


@pytest.fixture
def opened(page: Page) -> Iterator[Page]:
    """The run's page again after a test went away from it."""
    at = page.url
    yield page
    page.goto(at)


def test_the_link_to_the_run_shows_the_run(opened: Page) -> None:
    opened.get_by_role("link", name="Open the run in the tracker").click()
    expect(opened.get_by_role("heading", name="boosted-trees")).to_be_visible(timeout=PATIENCE)


def test_the_link_to_the_failing_runs_shows_these_only(opened: Page) -> None:
    opened.get_by_role("link", name="Failing runs of this experiment").click()
    expect(opened.get_by_role("link", name="boosted-trees")).to_be_visible(timeout=PATIENCE)
    assert opened.get_by_role("link", name="plain-logistic").count() == 0


@pytest.mark.parametrize("report", ["report.html", "report.md"])
def test_the_link_to_a_report_shows_it_in_mlflows_preview(opened: Page, report: str) -> None:
    opened.get_by_role("link", name=report).click()
    words = opened.get_by_text("Selection rate of female is 0.519").first
    if report.endswith(".html"):
        words = opened.frame_locator("iframe").get_by_text("Selection rate of female is 0.519").first
    expect(words).to_be_visible(timeout=PATIENCE)
