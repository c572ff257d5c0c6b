"""The first files of a new user: an agent.yaml with comments and a policy to own."""

from __future__ import annotations

from pathlib import Path

from venturalitica_agent.errors import ConfigError
from venturalitica_agent.strict_yaml import nearest

FIRST_POLICY = "credit-scoring"
_SHIPPED = Path(__file__).parent / "policies"


def write_starter(folder: Path, agent_yaml: str, *, policy: str = FIRST_POLICY) -> list[Path]:
    """Write agent.yaml, held to a shipped policy, and a copy of that policy into `folder`; refuses if either is there.

    Args:
        agent_yaml: the text to write, in which `policy: credit-scoring` gives way to the policy chosen.
    """
    shipped = sorted(p.name for p in _SHIPPED.iterdir() if p.is_dir())
    if policy not in shipped:
        close = nearest(policy, shipped)
        raise ConfigError(
            "is not a policy that we ship" + (f" (did you mean {close!r}?)" if close else ""),
            subject=policy,
            remedy=f"name one of {', '.join(shipped)}",
        )
    source = _SHIPPED / policy
    files = {folder / "agent.yaml": agent_yaml.replace(f"policy: {FIRST_POLICY}", f"policy: {policy}").encode()}
    files |= {folder / "policies" / policy / p.name: p.read_bytes() for p in sorted(source.iterdir()) if p.is_file()}
    there = [path for path in files if path.exists()]
    if there:
        raise ConfigError(
            "is already there and is not overwritten",
            subject=", ".join(str(p) for p in there),
            remedy="remove it first, or name another folder",
        )
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return list(files)
