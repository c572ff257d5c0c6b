"""The first files of a new user: an agent.yaml with comments and a policy to own."""

from __future__ import annotations

from pathlib import Path

from venturalitica_agent.errors import ConfigError

_SHIPPED = Path(__file__).parent / "policies"


def write_starter(folder: Path, agent_yaml: str, *, policy: str = "credit-scoring") -> list[Path]:
    """Write agent.yaml and a copy of a shipped policy into `folder`; refuses if either is there."""
    source = _SHIPPED / policy
    files = {folder / "agent.yaml": agent_yaml.encode()}
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
