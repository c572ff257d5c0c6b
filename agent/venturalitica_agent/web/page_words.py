"""The closed vocabularies of the pages (statuses, lights, phases, kinds) and what a reader sees in their place.

Messages are marked for the catalogue with `_`; they are translated where they are shown.
"""

from __future__ import annotations

from collections.abc import Mapping


def _(message: str) -> str:
    """Mark a message for the catalogue."""
    return message


STATUSES: Mapping[str, str] = {
    "error": _("error"),
    "fail": _("fail"),
    "inconclusive": _("inconclusive"),
    "warn": _("warn"),
    "pass": _("pass"),
    "stale": _("stale"),
    "skip": _("skip"),
    "waived": _("waived"),
    "pending": _("pending"),
    "running": _("running"),
    "ignored": _("ignored"),
    "stuck": _("stuck"),
    "gone": _("gone"),
    "settling": _("settling"),
    "due": _("due"),
    "claimed": _("being audited"),
    "done": _("audited"),
}
"""Verdicts' statuses from the worst on, and where a run without a verdict stands."""

MEANINGS: Mapping[str, str] = {
    "error": _("At least one control could not be evaluated, so there is no verdict on it."),
    "fail": _("At least one control is not met."),
    "inconclusive": _("The data do not say clearly whether every control is met; more rows would."),
    "warn": _("A control that only warns is not met; nothing that blocks is."),
    "pass": _("Every control that was evaluated meets its requirement."),
    "stale": _("The model or the data changed after the audit; the next audit says what holds now."),
    "skip": _("No control counts: each that applied is skipped or waived."),
    "waived": _("Every control that applied is waived."),
    "pending": _("The run ended and is about to be audited."),
    "settling": _("The run ended; late metrics and datasets may still arrive before it is audited."),
    "due": _("The run ended and is about to be audited."),
    "claimed": _("The audit of this run is under way."),
    "running": _("The run has not ended yet."),
    "ignored": _("The run is not to be audited."),
    "stuck": _("No verdict could be written on this run."),
    "gone": _("The run is no longer in its store."),
}

LIGHTS: Mapping[str, str] = {
    "green": _("Everything evaluated passed"),
    "amber": _("Not settled"),
    "red": _("Action needed"),
    "grey": _("Nothing evaluated yet"),
}

KINDS: Mapping[str, str] = {
    "mlflow": _("MLflow"),
    "wandb": _("Weights & Biases"),
    "wandb_offline": _("Weights & Biases, offline folder"),
    "folder": _("Folder"),
}

HOW_BOUND: Mapping[str, str] = {
    "declared": _("declared in agent.yaml"),
    "run": _("declared by the training run"),
    "policy": _("named by the policy"),
    "name": _("column of that name"),
    "inferred": _("inferred from a synonym"),
}

RELATIONS: Mapping[str, str] = {
    "earlier": _("an earlier audit of this run"),
    "same model": _("a run with the same model"),
    "same data": _("a run with the same data"),
}

CHECKS: Mapping[str, str] = {
    "match": _("agrees"),
    "mismatch": _("disagrees"),
    "uncheckable": _("can't be checked"),
}

PARTS: Mapping[str, str] = {
    "model": _("model"),
    "evaluation": _("evaluation data"),
    "training": _("training data"),
}

SEVERITIES: Mapping[str, str] = {
    "low": _("low severity"),
    "medium": _("medium severity"),
    "high": _("high severity"),
    "critical": _("critical severity"),
}

ORIGINS: Mapping[str, str] = {
    "environment": _("from the environment"),
    ".env": _("from the .env file"),
    "netrc": _("from netrc"),
}

DECIDED: Mapping[str, str] = {
    "interval": _("the whole interval"),
    "point": _("the value alone"),
}
