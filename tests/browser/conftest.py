"""One Chromium per module, and the real server of the status page on states that the agent's own code wrote."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from support.audited import AuditedState, audited_state

from venturalitica_agent.domain.ledger import Phase
from venturalitica_agent.domain.verdict import Status
from venturalitica_agent.web.server import PageServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HOSTILE = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>\u202egnp.exe' + "A" * 5000


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium. Without it these tests fail: `scripts/bootstrap dev` installs it.

    Not for the session: Playwright leaves an event loop running in this thread, and the engine of an audit that a
    later test runs in this process refuses to start under one.
    """
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium")
    assert program, "chromium is not installed; run `scripts/bootstrap dev`, or `apt-get install chromium`"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


Serve = Callable[[AuditedState], str]


@pytest.fixture(scope="session")
def serve() -> Iterator[Serve]:
    """Serves a state until the end of the session; returns the address of its pages, without a slash at its end."""
    with ExitStack() as served:

        def started(state: AuditedState) -> str:
            server = PageServer(state.settings)
            server.start()
            served.callback(state.engine.dispose)
            served.callback(server.stop)
            return server.url.rstrip("/")

        yield started


@pytest.fixture(scope="session")
def nothing(tmp_path_factory: pytest.TempPathFactory, serve: Serve) -> str:
    """A service that saw no run."""
    return serve(audited_state(tmp_path_factory.mktemp("nothing") / "agent"))


@pytest.fixture(scope="session")
def one(tmp_path_factory: pytest.TempPathFactory, serve: Serve) -> str:
    """One run, of a hostile name, that fails."""
    state = audited_state(tmp_path_factory.mktemp("one") / "agent")
    state.audit(1, Status.PASS, Status.FAIL, Status.INCONCLUSIVE, Status.ERROR, name=HOSTILE)
    return serve(state)


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory, serve: Serve) -> str:
    """10,000 runs: the last 120 audited, one stuck, three due, the others ended badly."""
    state = audited_state(tmp_path_factory.mktemp("many") / "agent")
    outcomes = [(Status.PASS,), (Status.PASS, Status.FAIL), (Status.INCONCLUSIVE,), (Status.PASS, Status.WARN)]
    for number in range(120):
        state.audit(number, *outcomes[number % 4])
    state.see(Phase.STUCK, range(120, 121), "the tag could not be written")
    state.see(Phase.DUE, range(121, 124))
    state.see(Phase.IGNORED, range(124, 10_000), "FAILED in the store")
    return serve(state)


def run_page(base: str, store: str, number: int = 1) -> str:
    return f"{base}/runs/{store}/{number:032x}"
