"""The sandbox proves itself, keeps workers warm, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sklearn.linear_model import LogisticRegression

from venturalitica_agent.errors import SandboxClosed, SandboxUnavailable
from venturalitica_agent.sandbox import process, profile
from venturalitica_agent.sandbox.launcher import Limits, Sandbox


def slots(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("slot-*"))


def test_probe_says_what_holds(sandbox) -> None:
    info = sandbox.probe()
    assert (info.tier, info.profile) == ("bwrap", "root" if os.geteuid() == 0 else "userns")
    assert "2048 MiB" in info.detail


def test_profile_of_an_ordinary_user_works(tmp_path, save, frame, labels, monkeypatch) -> None:
    """The variant with a user namespace passes the canary and predicts, whoever runs the tests."""
    monkeypatch.setattr(profile, "variant", lambda: "userns")
    model = LogisticRegression().fit(frame[["age"]], labels)
    with Sandbox(workdir=tmp_path / "work") as sandbox:
        assert sandbox.probe().profile == "userns"
        assert sandbox.predict(save(model), frame).score_classes == ("bad", "good")


@pytest.mark.parametrize(
    ("removed", "added", "hole"),
    [
        (("--unshare-net", "--seccomp"), (), "the host's loopback answers"),
        (("--unshare-pid",), (), "other processes can be seen"),
        (("--seccomp",), (), "the system-call filter is off; sockets can be made"),
        ((), ("--setenv", "WANDB_API_KEY", "x"), "the environment holds WANDB_API_KEY"),
        ((), ("--tmpfs", "/in"), "the sandbox ended while starting"),
    ],
)
def test_canary_finds_a_weaker_profile(tmp_path, monkeypatch, removed, added, hole) -> None:
    """Each protection that is taken away is noticed and named; then there is no sandbox."""
    whole = profile.command

    def weaker(*args, **kwargs):
        words = whole(*args, **kwargs)
        for flag in removed:
            at = words.index(flag)
            del words[at : at + (1 if flag.startswith("--unshare") else 2)]
        at = words.index("--chdir")
        return [*words[:at], *added, *words[at:]]

    monkeypatch.setattr(process, "command", weaker)
    with Sandbox(workdir=tmp_path) as sandbox, pytest.raises(SandboxUnavailable) as caught:
        sandbox.probe()
    assert hole in caught.value.what


def test_no_model_is_loaded_where_the_canary_finds_a_hole(tmp_path, save, frame, labels, monkeypatch) -> None:
    whole = profile.command
    monkeypatch.setattr(process, "command", lambda *a, **k: [w for w in whole(*a, **k) if w != "--unshare-pid"])
    model = save(LogisticRegression().fit(frame[["age"]], labels))
    with Sandbox(limits=Limits(wall_seconds=17), workdir=tmp_path / "work") as sandbox:
        with pytest.raises(SandboxUnavailable, match="other processes can be seen"):
            sandbox.predict(model, frame)
        with pytest.raises(SandboxUnavailable, match="other processes can be seen"):
            sandbox.run(tmp_path / "script.py", lambda _: None, who="a metric")


def test_missing_bubblewrap_names_the_package(tmp_path, save, frame, monkeypatch) -> None:
    """Without the tool there is no prediction at all, and the remedy is a command."""
    monkeypatch.setattr(profile.shutil, "which", lambda tool, path: None)
    with Sandbox(workdir=tmp_path / "work") as sandbox:
        for call in (sandbox.probe, sandbox.warm, lambda: sandbox.predict(save(LogisticRegression()), frame)):
            with pytest.raises(SandboxUnavailable, match="bwrap is not installed") as caught:
                call()
            assert "apt-get install bubblewrap" in caught.value.remedy
        assert slots(tmp_path / "work") == []


def test_sandbox_that_does_not_start_says_its_last_words(tmp_path, save, frame, monkeypatch) -> None:
    monkeypatch.setattr(
        process,
        "command",
        lambda *_, **__: ["/bin/sh", "-c", "echo 'No permissions to create new namespace' >&2; exit 1"],
    )
    with Sandbox(workdir=tmp_path / "work") as sandbox:
        with pytest.raises(
            SandboxUnavailable, match="ended while starting: No permissions to create new namespace"
        ) as caught:
            sandbox.predict(save(LogisticRegression()), frame)
        assert "docker run" in caught.value.remedy or "sysctl" in caught.value.remedy


def test_warming_is_idempotent_and_survives_the_thread_that_asked(tmp_path, save, frame, labels, no_leftovers) -> None:
    """The kernel ends a worker with the thread that started it, so that must not be the caller's."""
    work = tmp_path / "work"
    with Sandbox(workdir=work) as sandbox:
        callers = [threading.Thread(target=sandbox.warm) for _ in range(3)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        time.sleep(0.2)
        first = slots(work)
        assert len(first) == 1
        assert [worker.alive for worker in sandbox._waiting] == [True]
        sandbox.predict(save(LogisticRegression().fit(frame[["age"]], labels)), frame)
        second = slots(work)
        assert len(second) == 1
        assert second != first, "used once, and replaced"
        sandbox.cool()
        assert slots(work) == []
    no_leftovers(tmp_path)
    assert list(work.glob("sandbox-*")) == []
    sandbox.close()


def test_dead_warm_worker_is_replaced(tmp_path, save, frame, labels) -> None:
    with Sandbox(workdir=tmp_path / "work", warm=1) as sandbox:
        os.kill(sandbox._waiting[0]._process.pid, signal.SIGKILL)
        sandbox._waiting[0]._process.wait()
        answer = sandbox.predict(save(LogisticRegression().fit(frame[["age"]], labels)), frame)
    assert answer.n == 100


def test_killed_agent_takes_its_workers_along_and_the_next_one_cleans_up(tmp_path, no_leftovers) -> None:
    code = (
        "import sys, time; from pathlib import Path; from venturalitica_agent.sandbox.launcher import Sandbox\n"
        "s = Sandbox(workdir=Path(sys.argv[1]), warm=2); print('up', flush=True); time.sleep(60)"
    )
    agent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert agent.stdout is not None
    assert agent.stdout.readline() == b"up\n"
    with Sandbox(workdir=tmp_path):
        assert len(slots(tmp_path)) == 2, "the living agent's folders are left alone"
    agent.kill()
    agent.wait()
    agent.stdout.close()
    with Sandbox(workdir=tmp_path):
        no_leftovers(tmp_path)


def test_closed_umask_of_a_service_does_not_lock_the_model_out(tmp_path, save, frame, labels) -> None:
    """systemd's UMask=0077 must not make the slot unreadable for the uid that the model runs under."""
    subject = save(LogisticRegression().fit(frame[["age"]], labels))
    before = os.umask(0o077)
    try:
        with Sandbox(workdir=tmp_path / "work") as sandbox:
            sandbox.probe()
            assert sandbox.predict(subject, frame).n == 100
    finally:
        os.umask(before)


def test_closed_sandbox_predicts_nothing(tmp_path, save, frame) -> None:
    sandbox = Sandbox(workdir=tmp_path / "work")
    sandbox.close()
    with pytest.raises(SandboxClosed, match="the sandbox is closed"):
        sandbox.predict(save(LogisticRegression()), frame)
