"""The compose file that we give away: everything that it names is there, and the agent takes its configuration."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

from venturalitica_agent.policy.load import load_policies
from venturalitica_agent.settings import load_settings

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "compose"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]


def mounts() -> list[tuple[str, str]]:
    return [tuple(volume.split(":")[:2]) for service in SERVICES.values() for volume in service["volumes"]]


def test_every_file_that_is_mounted_exists_and_every_volume_is_declared() -> None:
    for source, _ in mounts():
        assert (FOLDER / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
    assert (FOLDER / SERVICES["agent"]["build"]["context"] / "Dockerfile").exists()


def test_the_agent_takes_the_configuration_and_the_policy_that_are_mounted(tmp_path: Path) -> None:
    for source, target in mounts():
        if source.startswith("."):
            inside = tmp_path / Path(target).relative_to("/work")
            inside.parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (FOLDER / source).is_dir() else shutil.copy
            copy(FOLDER / source, inside)
    settings = load_settings(tmp_path / "agent.yaml", env={}, cwd=tmp_path)
    port = SERVICES["mlflow"]["ports"][0].rpartition(":")[2]
    assert [store.uri for store in settings.stores] == [f"http://mlflow:{port}"]
    assert SERVICES["agent"]["ports"][0].endswith(f":{settings.web.port}")
    assert settings.web.host == "0.0.0.0"
    assert str(settings.web.token_file) == "/run/secrets/web_token"
    assert SERVICES["agent"]["secrets"] == list(COMPOSE["secrets"]) == ["web_token"]
    assert {name for audit in settings.audits for name in audit.policies} <= {
        policy.id for policy in load_policies(settings.policies)
    }


def test_every_container_is_held_short_and_comes_from_the_image_that_is_built_here() -> None:
    for service in SERVICES.values():
        assert service["image"] == "venturalitica-agent"
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
