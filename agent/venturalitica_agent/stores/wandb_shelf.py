"""Artifacts of offline runs by name. They have no version numbers before they are synced, so a version is called by the
beginning of its digest, which W&B keeps when it gives it a number: `evalset:0fc9a231c2a0`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from venturalitica_agent.errors import PermanentError, UntrustedInput
from venturalitica_agent.stores.base import RemoteFile
from venturalitica_agent.stores.wandb_records import LoggedRun, StagedArtifact

_REFERENCE = re.compile(r"(?:(?:([^/:]+)/)?([^/:]+)/)?([^/:]+):([^/:]+)(?:/(.+))?")
_NO_WORD = re.compile(r"[^\w.-]")
_VERSION = 12


@dataclass(frozen=True, slots=True)
class Reference:
    """`[[entity/]project/]name:alias[/path]`; what isn't said is empty."""

    entity: str
    project: str
    name: str
    alias: str
    path: str

    @staticmethod
    def of(text: str) -> Reference:
        """Raises PermanentError when the text is no name of an artifact, or one that only a server can know."""
        found = _REFERENCE.fullmatch(text)
        if found is None:
            raise PermanentError(
                "is not the name of a W&B artifact",
                subject=text[:200],
                remedy="write name:alias, e.g. evalset:latest or project/evalset:latest",
            )
        if re.fullmatch(r"v[0-9]+", found[4]):
            raise PermanentError(
                "offline runs have no version numbers; a server gives them when they are synced",
                subject=text[:200],
                remedy=f"name it by an alias or by its digest: {found[3]}:latest",
            )
        return Reference(*(part or "" for part in found.groups()))

    def means(self, artifact: StagedArtifact) -> bool:
        pinned = self.pinned and artifact.digest.startswith(self.alias)
        return artifact.name == self.name and (pinned or self.alias in artifact.aliases)

    @property
    def pinned(self) -> bool:
        """Whether it names a version by its digest."""
        return re.fullmatch(rf"[0-9a-f]{{{_VERSION},32}}", self.alias) is not None


def shelved(artifacts: Iterable[StagedArtifact]) -> dict[str, StagedArtifact]:
    """The artifacts by `name:<version>`, in the order in which each was logged last."""
    found: dict[str, StagedArtifact] = {}
    for artifact in artifacts:
        key = f"{_word(artifact.name)}:{_word(artifact.digest)[:_VERSION]}"
        same = found.get(key)
        if same is not None and same.digest != artifact.digest:
            key = f"{key}.{len(found)}"
        elif same is not None:
            del found[key]
            artifact = replace(artifact, aliases=(*same.aliases, *artifact.aliases))
        found[key] = artifact
    return found


def files_of(key: str, artifact: StagedArtifact) -> list[RemoteFile]:
    """Its files, as the paths by which they are fetched."""
    return [RemoteFile(f"{key}/{file.path}", None if file.ref else file.size) for file in artifact.files]


def newest(reference: Reference, runs: Iterable[LoggedRun]) -> tuple[str, StagedArtifact]:
    """The artifact that `reference` means, as (key, artifact).

    Args:
        runs: the last started first, all of one project.

    Raises:
        LookupError: none of them logged it. UntrustedInput: a damaged log leaves it open which is the newest.
    """
    for run in runs:
        for key, artifact in reversed(shelved(run.artifacts).items()):
            if reference.means(artifact):
                return key, artifact
        if run.damage and not reference.pinned:
            raise UntrustedInput(
                f"which version {reference.name}:{reference.alias} is can't be said, because a newer run may have "
                f"logged it: {run.damage}",
                subject=f"run {run.glimpse.run_id}",
                remedy="remove that run's folder, or name the version by its digest",
            )
    raise LookupError(reference.name)


def _word(text: str) -> str:
    """Text from a log as one plain part of a path."""
    return _NO_WORD.sub("_", text)[:128] or "_"
