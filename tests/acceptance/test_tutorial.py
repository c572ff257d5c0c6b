"""The tutorial, followed to the letter: its files and commands come from the page, in the page's order."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner
from workplace import ROOT, Workplace, environment

from venturalitica_agent.cli import app

PAGES = [ROOT / "docs" / name for name in ("tutorial.md", "tutorial.es.md")]
# MLflow is imported once for both trainings; each is the script from its first line to its last.
TRAINER = "import runpy, sys\nfor _ in sys.stdin: runpy.run_path('train.py'); print('trained', flush=True)"


def blocks(page: Path) -> list[tuple[str, str]]:
    """Each block of code with the mark above it, which is empty where there is none."""
    found = re.findall(r"(?:<!-- (.*?) -->\n)?```\w+\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return [(mark, text) for mark, text in found]


@pytest.fixture
def trainer(tmp_path: Path) -> Iterator[Callable[[], None]]:
    """Runs train.py in `tmp_path`, as often as it is called."""
    command = [sys.executable, "-c", TRAINER]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin
        assert process.stdout

        def train() -> None:
            assert process.stdin
            assert process.stdout
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "trained\n"

        yield train
        process.stdin.close()


def obey(block: str, folder: Path) -> str:
    """Run each line of a block: the agent's commands in this process, anything else in a shell. Returns the output."""
    said = ""
    for line in block.splitlines():
        if line.startswith("venturalitica-agent "):
            done = CliRunner().invoke(app, shlex.split(line)[1:], catch_exceptions=False)
            assert done.exit_code == 0, (line, done.output)
            said += done.output
        else:
            subprocess.run(["bash", "-ec", line], cwd=folder, check=True)
    return said


def test_both_languages_show_the_same_code() -> None:
    english, spanish = (blocks(page) for page in PAGES)
    assert english == spanish
    assert len(english) >= 10


def test_the_tutorial_leads_from_nothing_to_a_fail_and_then_to_a_pass(
    tmp_path: Path, trainer: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place, uri = Workplace(tmp_path), f"sqlite:///{tmp_path}/mlflow.db"
    said: list[str] = []
    service: subprocess.Popen[bytes] | None = None
    trained = 0
    try:
        for mark, text in blocks(PAGES[0]):
            if mark == "run: second terminal":
                assert text == "venturalitica-agent run\n"
                service = place.start(VENTURALITICA_SETTLE="0s")
                place.await_log("service.started")
            elif mark.startswith("write: "):
                (tmp_path / mark.removeprefix("write: ")).write_text(text, encoding="utf-8")
            elif mark.endswith(" training"):
                assert text == "python train.py\n"
                trainer()
                trained += 1
                place.await_log("audit.published", count=trained)
            elif mark == "run":
                said.append(obey(text, tmp_path))
            elif mark == "filter":
                found = MlflowClient(uri).search_runs(["1"], text.strip())
                assert [run.data.tags["venturalitica.failed"] for run in found] == ["age-impact-ratio,age-tpr-gap"]
                (path,) = tmp_path.glob(f"mlruns/*/{found[0].info.run_id}/artifacts/venturalitica/*/*/report.md")
                report = path.read_text(encoding="utf-8")
    finally:
        if service:
            service.terminate()
            service.wait(timeout=30)
    assert [event["status"] for event in place.events("audit.published")] == ["fail", "pass"]
    assert "credit-scoring@1.1.0" in said[0]
    page = PAGES[0].read_text(encoding="utf-8")
    quoted = " ".join(re.findall(r"^> (.*)$", page, re.MULTILINE)).split("** ", 1)[1]
    assert quoted in report.replace("&gt;", ">")
    assert " fail " in said[1]
    assert re.search(r" pass .*\n.* fail ", said[-2])
