"""Makes of a failure that the worker reports a sentence for a person, and what to do about it."""

from __future__ import annotations

from venturalitica_agent.domain.subject import ModelSubject
from venturalitica_agent.errors import SandboxError, SandboxKilled
from venturalitica_agent.sandbox.answer import Failure, printable
from venturalitica_agent.sandbox.profile import Limits


def explained(failure: Failure, model: ModelSubject, limits: Limits) -> SandboxError:
    """The error that tells a person why there are no predictions."""
    subject = printable(model.name, 200)
    if failure.of_memory:
        return SandboxKilled(
            f"the model ran out of memory (limit {limits.memory_bytes / (1 << 30):g} GiB)",
            limit="memory",
            subject=subject,
            remedy="Bind fewer rows of evaluation data, or raise the sandbox's memory limit.",
        )
    if failure.stage == "load":
        return SandboxError(
            f"the model file could not be loaded: {failure.message}", subject=subject, remedy=_load_remedy(model)
        )
    if failure.stage == "features":
        return SandboxError(
            f"the model's input columns could not be chosen: {failure.message}",
            subject=subject,
            remedy="Bind the data that the model was made for, or log the model with a signature.",
        )
    return SandboxError(
        f"the model could not predict: {failure.message}",
        subject=subject,
        remedy="Check that the bound data has the columns and kinds of values that the model was trained with.",
    )


def _load_remedy(model: ModelSubject) -> str:
    trained = ", ".join(f"{name} {version}" for name, version in sorted(model.environment.items())[:8])
    said = f" (it says: {printable(trained, 300)})" if trained else ""
    return (
        f"Install into the agent's environment the packages, in the versions, that the model was trained with{said}, "
        "or log the model without custom code."
    )
