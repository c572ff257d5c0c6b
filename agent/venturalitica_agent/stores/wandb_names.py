"""Names as W&B has them: which are names at all, and how we write the files of artifacts as paths. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from venturalitica_agent.errors import PermanentError

_LONGEST = 128
_REFERENCE = re.compile(r"(?:(?:([^/:]+)/)?([^/:]+)/)?([^/:]+):([^/:]+)(?:/(.+))?")
_VERSIONED = re.compile(r"((?:[^/:]+/[^/:]+/)?[^/:]+:v(?:0|[1-9][0-9]*))/(.+)")


def is_name(name: object) -> bool:
    """Whether it can be the name of a run, a project or an artifact: none of them may hold what ends a part of a path
    (source: wandb.sdk.wandb_settings, validate_run_id and validate_project)."""
    return (
        isinstance(name, str)
        and 0 < len(name) <= _LONGEST
        and name.isprintable()
        and not set("/:?#") & set(name)
        and name not in (".", "..")
    )


@dataclass(frozen=True, slots=True)
class Reference:
    """An artifact by name: `name` in `entity`/`project`, the version that `alias` means, maybe a file in it."""

    entity: str
    project: str
    name: str
    alias: str
    path: str = ""

    @staticmethod
    def of(text: str, entity: str, project: str) -> Reference:
        """`name:alias`, `project/name:alias` or `entity/project/name:alias`, with `/path` behind it if one is meant.

        Raises:
            PermanentError: it is written otherwise.
        """
        found = _REFERENCE.fullmatch(text)
        if found is None:
            raise PermanentError(
                "is not the name of a W&B artifact",
                subject=text[:200],
                remedy="write name:alias, e.g. evalset:latest or entity/project/evalset:v3",
            )
        return Reference(found[1] or entity, found[2] or project, found[3], found[4], found[5] or "")


def split_path(path: str) -> tuple[str, str]:
    """`evalset:v3/folder/test.csv` as (`evalset:v3`, `folder/test.csv`); ("", path) for a file of the run itself."""
    found = _VERSIONED.fullmatch(path)
    return (found[1], found[2]) if found else ("", path)
