"""What `init` writes: every shipped policy can be the first one, and agent.yaml is held to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from venturalitica_agent.errors import ConfigError
from venturalitica_agent.policy.load import load_policies
from venturalitica_agent.settings import default_agent_yaml, load_settings
from venturalitica_agent.starter import write_starter

SHIPPED = sorted(p.name for p in (Path(__file__).parents[2] / "policies").iterdir() if p.is_dir())


@pytest.mark.parametrize("policy", SHIPPED)
def test_any_shipped_policy_can_be_the_first(policy: str, tmp_path: Path) -> None:
    written = write_starter(tmp_path, default_agent_yaml(), policy=policy)
    assert [p.relative_to(tmp_path).as_posix() for p in written] == [
        "agent.yaml",
        f"policies/{policy}/README.md",
        f"policies/{policy}/{policy}.yaml",
    ]
    settings = load_settings(None, env={}, cwd=tmp_path)
    (loaded,) = load_policies(settings.policies)
    assert (loaded.id,) == settings.audits[0].policies == (policy,)


def test_a_policy_that_is_not_shipped_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'hiring'") as caught:
        write_starter(tmp_path, default_agent_yaml(), policy="hirring")
    assert "data-only" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []
