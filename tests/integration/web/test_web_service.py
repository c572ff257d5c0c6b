"""The page as the service and `ui` serve it: real processes, real sockets."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.page_state import PageState
from typer.testing import CliRunner

from venturalitica_agent.cli import app
from venturalitica_agent.errors import ConfigError
from venturalitica_agent.state.services import holder_of
from venturalitica_agent.web.model import CheckView
from venturalitica_agent.web.server import PageServer
from venturalitica_agent.web.showing import served_already

pytestmark = pytest.mark.xdist_group("web-service")  # one service for all of them

SECONDS = 60.0
AGENT = (sys.executable, "-m", "venturalitica_agent")


def environment(folder: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return kept | {"XDG_RUNTIME_DIR": str(folder), "MLFLOW_ALLOW_FILE_STORE": "true"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def started(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    with (folder / "service.log").open("wb") as log:
        return subprocess.Popen([*AGENT, *words], cwd=folder, env=environment(folder), stdout=log, stderr=log)


def until(happened: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        found = happened()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def logged(folder: Path, event: str) -> dict[str, Any] | None:
    lines = (folder / "service.log").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines if line.startswith("{")]
    return next((found for found in events if found["event"] == event), None)


def told(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=SECONDS) as answer:
        return json.load(answer)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageState]:
    found = PageState(tmp_path_factory.mktemp("service") / "place", f"web: {{port: {free_port()}}}\n")
    yield found
    found.close()


@pytest.fixture(scope="module")
def service(place: PageState) -> Iterator[subprocess.Popen[bytes]]:
    """One service that serves the page."""
    process = started(place.settings.folder, "run")
    until(lambda: logged(place.settings.folder, "web.started"))
    yield process
    process.terminate()
    assert process.wait(SECONDS) == 0


def base(place: PageState) -> str:
    return f"http://127.0.0.1:{place.settings.web.port}/"


def test_the_service_serves_the_page_of_its_own_state(place: PageState, service: subprocess.Popen[bytes]) -> None:
    assert logged(place.settings.folder, "web.started")["url"] == base(place)  # type: ignore[index]
    until(lambda: told(f"{base(place)}api/v1/overview")["stores"][0]["ok"])
    assert told(f"{base(place)}readyz")["ready"] is True
    found = told(f"{base(place)}api/v1/integrations")
    assert found["service"] == f"process {service.pid} watches the stores and serves this page"
    assert holder_of(place.settings.folder / ".venturalitica" / "agent.lock") == service.pid


def test_doctor_looks_in_the_background(place: PageState, service: subprocess.Popen[bytes]) -> None:
    found = until(lambda: (page := told(f"{base(place)}api/v1/integrations"))["checked_at"] and page)
    checks = {check["name"]: CheckView(**check) for check in found["checks"]}
    assert checks["state"].ok
    assert checks["policies"].ok
    assert {"sandbox", "watch limits"} <= checks.keys()


def test_ui_opens_the_page_that_the_service_serves_already(
    place: PageState, service: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    browser.chmod(0o700)
    env = environment(tmp_path) | {"BROWSER": str(browser)}
    done = subprocess.run([*AGENT, "ui"], cwd=place.settings.folder, env=env, capture_output=True, timeout=SECONDS)
    assert (done.returncode, done.stdout.decode()) == (0, f"the service shows it at {base(place)}\n")
    assert (tmp_path / "opened").read_text() == f"{base(place)}\n"


def test_a_service_whose_port_is_taken_says_so_and_goes_on(
    place: PageState, service: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    other = PageState(tmp_path / "place", f"web: {{port: {place.settings.web.port}}}\n")
    process = started(other.settings.folder, "run")
    event = until(lambda: logged(other.settings.folder, "web.failed"))
    assert (event["subject"], event["remedy"]) == (f"127.0.0.1:{place.settings.web.port}", "set another `web.port`")
    until(lambda: logged(other.settings.folder, "store.up"))
    assert process.poll() is None
    assert served_already(other.settings) == ""  # what is served there is another state
    process.terminate()
    assert process.wait(SECONDS) == 0
    other.close()


@pytest.mark.parametrize("command", ["run", "ui"])
def test_nothing_is_served_to_other_machines_unasked(command: str, tmp_path: Path) -> None:
    state = PageState(tmp_path / "place", "web: {host: 0.0.0.0}\n")
    done = CliRunner().invoke(app, [command, "--config", str(state.settings.file)])
    assert isinstance(done.exception, ConfigError)  # exit code 2, as every mistake in the configuration
    assert "other machines could read the status page" in done.exception.what
    assert "web-password" in done.exception.remedy
    state.close()


def test_ui_serves_without_a_service_until_it_is_stopped(tmp_path: Path) -> None:
    state = PageState(tmp_path / "place", f"web: {{port: {free_port()}}}\n")
    process = started(state.settings.folder, "ui", "--no-browser")
    until(lambda: served_already(state.settings))
    assert told(f"{base(state)}api/v1/integrations")["service_running"] is False
    process.send_signal(signal.SIGINT)
    assert process.wait(SECONDS) in (0, 130)
    assert served_already(state.settings) == ""
    state.close()


def test_a_page_stops_at_once_and_frees_its_port(tmp_path: Path) -> None:
    state = PageState(tmp_path / "place")
    settings = replace(state.settings, web=replace(state.settings.web, port=free_port()))
    for _ in range(2):
        page = PageServer(settings)
        page.start()
        assert told(f"{page.url}healthz")["status"] == "alive"
        with pytest.raises(ConfigError, match="can't listen"):
            PageServer(settings)
        began = time.monotonic()
        page.stop()
        assert time.monotonic() - began < 5
    state.close()


def test_a_line_of_users_is_made_from_a_pipe() -> None:
    done = CliRunner().invoke(app, ["web-password", "ana"], input="correct horse\n")
    assert done.exit_code == 0
    assert done.stdout.startswith("ana:scrypt$")
    assert "correct horse" not in done.stdout
