"""Names of W&B artifacts as agent.yaml writes them, `evalset:latest` or `team/project/evalset:v3/test.csv`, and the one
table in an artifact that such a name means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from venturalitica_agent.domain.policy import Split
from venturalitica_agent.fetch.problems import Unfit, listed
from venturalitica_agent.stores.base import RemoteFile
from venturalitica_agent.strict_yaml import shown

_TABLES = (".csv", ".parquet", ".pq", ".table.json")


@dataclass(frozen=True, slots=True)
class Reference:
    """A version of an artifact, and maybe a file in it.

    Attributes:
        artifact: `[entity/project/]name:alias`, what `Store.resolve` takes.
        path: the file inside; empty when none is named.
    """

    artifact: str
    path: str = ""

    @staticmethod
    def of(text: str) -> Reference:
        """Raises Unfit when the text names no version: an audit must not depend on what is the default today."""
        artifact, path = inside(text)
        name, _, alias = artifact.partition(":")
        if not alias or not name or name.endswith("/"):
            raise Unfit(
                f"{shown(text)} in agent.yaml is no W&B artifact: it has no name or no version",
                remedy='write it as {wandb: "<artifact>:<version or alias>"}, for example {wandb: "evalset:latest"}, '
                "with /<file> behind it where the artifact has several",
                code="missing",
            )
        return Reference(artifact, path)


def inside(path: str) -> tuple[str, str]:
    """`[entity/project/]name:v3/folder/file.csv` as the artifact `…name:v3` and the path in it."""
    name, colon, rest = path.partition(":")
    version, _, file = rest.partition("/")
    return f"{name}{colon}{version}", file


def pick(reference: Reference, files: Sequence[RemoteFile], split: Split) -> RemoteFile:
    """The file that is named, else the only table among `files`.

    Raises:
        Unfit: there is none, or there are several.
    """
    by_path = {inside(f.path)[1]: f for f in files}
    if reference.path:
        found = [reference.path] if reference.path in by_path else []
    else:
        found = [path for path in by_path if path.casefold().endswith(_TABLES)]
    if len(found) == 1:
        return by_path[found[0]]
    if found:
        example = f"{reference.artifact}/{sorted(found)[0]}"
        raise Unfit(
            f"the W&B artifact {shown(reference.artifact)} has {len(found)} tables: {listed(sorted(found))}",
            remedy=f"name one in agent.yaml:\n  data:\n    {split}: {{wandb: {shown(example)}}}",
            code="ambiguous",
        )
    there = listed(sorted(by_path)) or "none"
    wanted = f"file {shown(reference.path)}" if reference.path else "table (.csv, .parquet or a wandb.Table)"
    raise Unfit(
        f"the W&B artifact {shown(reference.artifact)} has no {wanted}; its files are {there}",
        remedy="correct the reference in agent.yaml, or log an artifact that holds the table",
        code="missing",
    )
