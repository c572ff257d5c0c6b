"""From a run and a policy to measurements: fetch what the policy looks at, have the model answer, measure.

The pipeline's middle, where three stages and the sandbox meet; the stages don't know each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from venturalitica_agent.domain.job import AuditTask
from venturalitica_agent.domain.needs import Needs, SplitNeeds
from venturalitica_agent.domain.policy import Policy, Split
from venturalitica_agent.domain.run import Run
from venturalitica_agent.domain.subject import Predictions, Problem, Subject
from venturalitica_agent.domain.verdict import Measurement, Unmeasured
from venturalitica_agent.errors import PermanentError, SandboxError, SandboxUnavailable
from venturalitica_agent.stores.base import Store

if TYPE_CHECKING:
    import pandas as pd

    from venturalitica_agent.fetch.cache import Cache
    from venturalitica_agent.sandbox.launcher import Sandbox


def measure_run(
    task: AuditTask, policy: Policy, run: Run, store: Store, cache: Cache, sandbox: Sandbox, *, roots: Sequence[Path]
) -> tuple[Subject, list[Measurement | Unmeasured], tuple[str, ...]]:
    """One result for every control that applies at training time, and what a reader of them should know.

    Args:
        roots: local folders that dataset files of the run may be read from.
    """
    from venturalitica_agent.evaluate.families import measure_all
    from venturalitica_agent.evaluate.measure import unmeasured
    from venturalitica_agent.evaluate.sample import build_sample
    from venturalitica_agent.fetch.subject import fetch_subject
    from venturalitica_agent.fetch.tables import read_table

    needs = Needs.of(policy.controls)
    subject = fetch_subject(store, run, needs, task.plan, cache, roots=roots)
    found: dict[str, Measurement | Unmeasured] = {}
    notes: list[str] = []
    ready = [m.name for m in run.models if m.ready]
    if subject.model is not None and len(ready) > 1:
        notes.append(f"the run logged {len(ready)} models; audited is {subject.model.name!r}, the last one")
    with cache.use(subject):
        for split, wanted in needs.splits.items():
            controls = [c for c in policy.controls if c.on is split and not c.skip]
            data = subject.data.get(split)
            if data is None:
                problem = _about(split, subject.problems.get(split) or Problem("there are none"))
                found |= {c.id: unmeasured(c, problem) for c in controls}
                continue
            try:
                frame = read_table(Path(data.path), data.format)
            except PermanentError as error:  # damage that only reading every page shows
                problem = _about(split, Problem(error.what, error.remedy))
                found |= {c.id: unmeasured(c, problem) for c in controls}
                continue
            predictions = None
            if wanted.predictions - set(subject.binding):
                features = frame.drop(columns=_outcome_columns(task, subject, wanted), errors="ignore")
                predictions, subject = _predict(sandbox, subject, features, split)
            for target, prediction in sorted({(c.target, c.prediction) for c in controls}):
                sample = build_sample(frame, subject, predictions, target=target, prediction=prediction)
                notes += [f"{split.value}: {note}" for about in sample.notes.values() for note in about]
                asked = [c for c in controls if (c.target, c.prediction) == (target, prediction)]
                found |= measure_all(asked, sample)
    return subject, [found[c.id] for c in policy.controls if not c.skip], tuple(dict.fromkeys(notes))


def _about(split: Split, problem: Problem) -> Problem:
    return replace(problem, what=f"the {split.value} data can't be used: {problem.what}")


def _outcome_columns(task: AuditTask, subject: Subject, wanted: SplitNeeds) -> list[str]:
    """Columns of truth and of logged predictions: they never go into the sandbox, where a model could copy them."""
    roles = {"target", "prediction"} | wanted.targets | wanted.predictions
    bound = {**task.plan.columns, **subject.binding}
    return sorted({bound[role].column for role in roles if role in bound})


def _predict(
    sandbox: Sandbox, subject: Subject, features: pd.DataFrame, split: Split
) -> tuple[Predictions | None, Subject]:
    """Predictions of the sandboxed model. A failure becomes the subject's problem "model"."""
    if subject.model is None:
        return None, subject
    try:
        return sandbox.predict(subject.model, features), subject
    except SandboxUnavailable as error:
        problem = Problem(f"sandbox unavailable: {error.what}", error.remedy, code="sandbox")
    except SandboxError as error:
        problem = Problem(f"the model gave no predictions on {split.value} data: {error.what}", error.remedy)
    return None, replace(subject, problems={**subject.problems, "model": problem})
