"""Addresses inside the trackers' own UIs, as these read them. Pure. Ids and paths come from whoever trains, so every
part is quoted; what can't be one part of an address even so has no link, and no link is the empty text."""

from __future__ import annotations

from urllib.parse import quote, urlencode, urlsplit

FAILING = "tags.`venturalitica.status` = 'fail'"
"""MLflow's filter of the runs whose verdict is `fail`."""


def mlflow_experiment(ui: str, experiment: str) -> str:
    """The list of an experiment's runs."""
    return _below(ui, "#/experiments", _part(experiment), "runs")


def mlflow_filtered(ui: str, experiment: str, wanted: str = FAILING) -> str:
    """The list of those runs of an experiment that MLflow's search filter `wanted` selects."""
    found = mlflow_experiment(ui, experiment)
    return found and f"{found}?{urlencode({'searchFilter': wanted}, quote_via=quote)}"


def mlflow_run(ui: str, experiment: str, run: str) -> str:
    return _below(ui, "#/experiments", _part(experiment), "runs", _part(run))


def mlflow_artifact(ui: str, experiment: str, run: str, path: str) -> str:
    """One artifact of a run, previewed where MLflow can; `path` is relative to the run's artifacts."""
    return _below(ui, "#/experiments", _part(experiment), "runs", _part(run), "artifacts", _path(path))


def wandb_project(app: str, entity: str, project: str) -> str:
    """`app` is the address of the server's UI."""
    return _below(app, _part(entity), _part(project))


def wandb_run(app: str, entity: str, project: str, run: str) -> str:
    return _below(wandb_project(app, entity, project), "runs", _part(run))


def wandb_file(run_link: str, path: str) -> str:
    """A file of the run that `run_link` shows."""
    return _below(run_link, "files", _path(path))


def project_of(run_link: str) -> str:
    """The project of the W&B run that `run_link` shows."""
    project, between, _ = run_link.rpartition("/runs/")
    return project if between else ""


def _below(base: str, *parts: str) -> str:
    if urlsplit(base).scheme not in ("http", "https") or not all(parts):
        return ""
    return "/".join((base.rstrip("/"), *parts))


def _part(name: str) -> str:
    """One part of an address; empty for what browsers would read as a step up or no step."""
    return "" if name in (".", "..") else quote(name, safe="")


def _path(path: str) -> str:
    parts = [_part(part) for part in path.split("/")]
    return "/".join(parts) if all(parts) else ""
