"""What the log of an offline run tells, in the words that audits use. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from venturalitica_agent.domain.run import LoggedDataset
from venturalitica_agent.stores import wandb_facts as facts
from venturalitica_agent.stores.wandb_records import LoggedRun, StagedArtifact

_OURS = "venturalitica."


def own_tags(logged: LoggedRun) -> dict[str, str]:
    """The run's tags; none that look like ours, because those are not for whoever trains to set."""
    found = facts.flat_tags(logged.tags, logged.group, logged.job_type)
    return {name: value for name, value in found.items() if not name.startswith(_OURS)}


def datasets(key: str, artifact: StagedArtifact, root: str) -> Iterator[LoggedDataset]:
    """The data files of a dataset artifact; for one whose files can't be used, a dataset that says so when fetched.

    Args:
        key: the artifact's folder among the run's files. root: the run's `artifact_uri`.
    """
    if artifact.type != "dataset":
        return
    if artifact.problem:
        yield facts.dataset_of(artifact.name, "", "", only=True, aliases=artifact.aliases, source=f"{root}/{key}")
    files = ((file.path, file.digest) for file in artifact.files)
    yield from facts.datasets_of(artifact.name, files, aliases=artifact.aliases, folder=f"{root}/{key}")


def tables(logged: LoggedRun) -> Mapping[str, str]:
    """Path -> SHA-256 (hex; empty if unsaid) of the run's tables, as its summary has them: the last of each name."""
    found = {}
    for name, kind in logged.summary.items():
        table = name.removesuffix("._type")
        path, digest = logged.summary.get(f"{table}.path"), logged.summary.get(f"{table}.sha256")
        # The last piece of a table that was logged in pieces is not that table.
        whole = logged.summary.get(f"{table}.log_mode") != "INCREMENTAL"
        if table != name and kind == "table-file" and whole and isinstance(path, str) and facts.is_table(path):
            found[path] = digest if isinstance(digest, str) else ""
    return found
