"""The files for many machines that we give away: what they name is there, and the commands are the program's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from venturalitica_agent.cli import app
from venturalitica_agent.settings import load_settings
from venturalitica_agent.settings.environment import PREFIX

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FOLDER = EXAMPLES / "kubernetes"
DOCUMENTS = list(yaml.safe_load_all((FOLDER / "venturalitica.yaml").read_text(encoding="utf-8")))
DEPLOYMENTS = {d["metadata"]["name"]: d["spec"] for d in DOCUMENTS if d["kind"] == "Deployment"}
SCALERS = [d["spec"] for d in DOCUMENTS if d["kind"] == "HorizontalPodAutoscaler"]
THREE = yaml.safe_load((EXAMPLES / "compose" / "three-workers.yaml").read_text(encoding="utf-8"))
ONE = yaml.safe_load((EXAMPLES / "compose" / "compose.yaml").read_text(encoding="utf-8"))
COMMANDS = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def pod(name: str) -> dict[str, Any]:
    return dict(DEPLOYMENTS[name]["template"]["spec"])


def test_two_may_notice_and_the_number_of_those_that_only_execute_follows_the_load() -> None:
    assert [pod(name)["containers"][0]["args"] for name in DEPLOYMENTS] == [["run"], ["worker"]]
    assert {"run", "worker"} <= COMMANDS
    assert DEPLOYMENTS["venturalitica-agent"]["replicas"] == 2
    assert "replicas" not in DEPLOYMENTS["venturalitica-worker"]  # the scaler's number would be put back at each apply
    assert [scaler["scaleTargetRef"]["name"] for scaler in SCALERS] == ["venturalitica-worker"]
    assert all(spec["strategy"]["type"] == "Recreate" for spec in DEPLOYMENTS.values())


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_every_pod_has_the_state_the_key_and_the_same_configuration(name: str, tmp_path: Path) -> None:
    spec = pod(name)
    volumes = {volume["name"] for volume in spec["volumes"]}
    for container in spec["initContainers"] + spec["containers"]:
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        assert container["image"] == "venturalitica-agent"
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    (container,) = spec["containers"]
    (tmp_path / "agent.yaml").write_bytes((FOLDER / "agent.yaml").read_bytes())
    given = {one["name"]: "postgresql://agent:secret@db/state" for one in container["env"]}
    assert set(given) == {f"{PREFIX}STATE"}
    settings = load_settings(tmp_path / "agent.yaml", env=given, cwd=tmp_path)
    assert settings.state.startswith("postgresql://")
    keys = settings.cache.folder.parent / "keys"
    assert f"/work/{keys.relative_to(tmp_path)}/signing.pem" in spec["initContainers"][0]["command"][-1]
    selected = DEPLOYMENTS[name]["selector"]["matchLabels"]
    assert selected == DEPLOYMENTS[name]["template"]["metadata"]["labels"]


def test_the_page_is_asked_where_it_is_served(tmp_path: Path) -> None:
    (container,) = pod("venturalitica-agent")["containers"]
    (tmp_path / "agent.yaml").write_bytes((FOLDER / "agent.yaml").read_bytes())
    settings = load_settings(tmp_path / "agent.yaml", env={}, cwd=tmp_path)
    assert container["ports"] == [{"name": "page", "containerPort": settings.web.port}]
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "page"}
    assert "livenessProbe" not in pod("venturalitica-worker")["containers"][0]


def test_three_workers_beside_the_composed_agent_have_what_it_has() -> None:
    worker, agent = THREE["services"]["worker"], ONE["services"]["agent"]
    assert worker["command"] == ["worker"]
    assert worker["deploy"]["replicas"] == 3
    for key in ("volumes", "secrets", "read_only", "cap_drop", "security_opt", "image"):
        assert worker[key] == agent[key]
    assert worker["env_file"] == THREE["services"]["agent"]["env_file"]
    for source in (volume.partition(":")[0] for volume in worker["volumes"]):
        assert (EXAMPLES / "compose" / source).exists() if source.startswith(".") else source in ONE["volumes"]
