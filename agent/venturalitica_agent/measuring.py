"""From a run and a policy to measurements: fetch what the policy looks at, have the model answer, measure.

The pipeline's middle, where three stages and the sandbox meet; the stages don't know each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from venturalitica_agent.domain.job import AuditTask
from venturalitica_agent.domain.metric import METRICS, Need
from venturalitica_agent.domain.needs import SCORE, Needs, SplitNeeds, measured
from venturalitica_agent.domain.own_metric import Told
from venturalitica_agent.domain.policy import Control, Policy, Split
from venturalitica_agent.domain.run import Run
from venturalitica_agent.domain.subject import DataSubject, Predictions, Problem, Subject
from venturalitica_agent.domain.verdict import Measurement, Unmeasured
from venturalitica_agent.errors import PermanentError, SandboxError, SandboxUnavailable
from venturalitica_agent.stores.base import Store

if TYPE_CHECKING:
    import pandas as pd

    from venturalitica_agent.evaluate.sample import Cells, Sample
    from venturalitica_agent.evaluate.stress import AskedAgain, Stress
    from venturalitica_agent.fetch.cache import Cache
    from venturalitica_agent.sandbox.launcher import Sandbox

# What can be met by the columns that are bound to roles, and by the model's answers; any other need is the whole table.
_BY_COLUMN = frozenset(
    {
        Need.LABELS,
        Need.PREDICTIONS,
        Need.OUTCOME,
        Need.SCORES,
        Need.PROBABILITIES,
        Need.TRUTH,
        Need.ESTIMATES,
        Need.GROUPS,
        Need.CELLS,
        Need.COLUMNS,
        Need.SENSITIVE,
        Need.SHARES,
        Need.LOGGED,
    }
)


def measure_run(
    task: AuditTask, policy: Policy, run: Run, store: Store, cache: Cache, sandbox: Sandbox, *, roots: Sequence[Path]
) -> tuple[Subject, list[Measurement | Unmeasured], tuple[str, ...]]:
    """One result for every control that applies at training time, and what a reader of them should know.

    Args:
        roots: local folders that dataset files of the run may be read from.
    """
    from venturalitica_agent.evaluate.background import Background
    from venturalitica_agent.evaluate.families import measure_all
    from venturalitica_agent.evaluate.measure import unmeasured
    from venturalitica_agent.evaluate.sample import build_sample, sample_of_audit
    from venturalitica_agent.fetch.subject import fetch_subject

    needs = Needs.of(policy.controls)
    subject = fetch_subject(store, run, needs, task.plan, cache, roots=roots)
    found: dict[str, Measurement | Unmeasured] = {}
    notes: list[str] = []
    unread: dict[str, Problem] = {}
    of_audit = [c for c in policy.controls if not c.skip and METRICS[c.metric].of_audit]
    ready = [m.name for m in run.models if m.ready]
    if subject.model is not None and len(ready) > 1:
        notes.append(f"the run logged {len(ready)} models; audited is {subject.model.name!r}, the last one")
    with cache.use(subject):
        for split, wanted in needs.splits.items():
            controls = [c for c in policy.controls if c.on is split and not c.skip and c not in of_audit]
            by_column = [c for c in controls if _needs(c) <= _BY_COLUMN]
            if not controls:
                continue  # another table's controls look at it
            data = subject.data.get(split)
            if data is None:
                problem = _about(split, subject.problems.get(split) or Problem("there are none"))
                found |= {c.id: unmeasured(c, problem) for c in controls}
                continue
            frame = _read(split, data, subject, whole=by_column != controls)
            if isinstance(frame, Problem) and by_column and by_column != controls:  # maybe too large to be held whole
                found |= {c.id: unmeasured(c, frame) for c in controls if c not in by_column}
                controls = by_column
                frame = _read(split, data, subject, whole=False)
            if isinstance(frame, Problem):
                unread[split.value] = frame
                found |= {c.id: unmeasured(c, frame) for c in controls}
                continue
            predictions = None
            if wanted.predictions - set(subject.binding):
                outcomes = _outcome_columns(task, subject, wanted)
                predictions, subject = _predict(sandbox, subject, data, outcomes, split)
            cells = _missing_cells(split, data, controls)
            training = _training_table(controls, subject)
            if isinstance(training, Problem):
                unread[Split.TRAINING.value] = training
            again = _ask_again(task, sandbox, subject, controls, wanted, frame, predictions, split)
            for target, prediction in sorted({(c.target, c.prediction) for c in controls}):
                sample = build_sample(
                    frame,
                    subject,
                    predictions,
                    target=target,
                    prediction=prediction,
                    columns=data.columns,
                    cells=cells,
                    asked=frozenset[Need]().union(*map(_needs, controls)),
                )
                sample = replace(sample, asked_again=again)
                behind = replace(sample.background, logged=run.metrics)
                behind = behind if training is None else replace(behind, training=training)
                sample = replace(sample, background=behind)
                notes += [f"{split.value}: {note}" for about in sample.notes.values() for note in about]
                asked = [c for c in controls if (c.target, c.prediction) == (target, prediction)]
                sample = replace(sample, told=_ask_metrics(sandbox, asked, sample))
                found |= measure_all(asked, sample)
    whole = replace(subject, problems={**unread, **subject.problems})
    found |= measure_all(
        of_audit, sample_of_audit(Background(subject=whole, needs=needs, since=task.since, started=run.ref.start_time))
    )
    subject = replace(subject, metrics=_origins(policy.controls))
    return subject, [found[c.id] for c in policy.controls if not c.skip], tuple(dict.fromkeys(notes))


def _needs(control: Control) -> frozenset[Need]:
    return frozenset(METRICS[control.metric].needs | measured(control).needs)


def _read(split: Split, data: DataSubject, subject: Subject, *, whole: bool) -> pd.DataFrame | Problem:
    """The columns that are bound to roles, or the whole table, which must then fit into memory."""
    from venturalitica_agent.fetch.tables import read_table, readable_columns

    path, bound = Path(data.path), {b.column for b in subject.binding.values()}
    try:
        if whole:
            return read_table(path, data.format)
        return read_table(path, data.format, [c for c in readable_columns(path, data.format) if c in bound])
    except PermanentError as error:  # damage that only reading every page shows
        return _about(split, Problem(error.what, error.remedy))


def _missing_cells(split: Split, data: DataSubject, controls: Sequence[Control]) -> Cells | Problem:
    """Of all columns, also those that nobody looks at otherwise; they are counted only where a control asks."""
    from venturalitica_agent.evaluate.sample import Cells
    from venturalitica_agent.fetch.tables import missing_cells

    if not any(Need.CELLS in _needs(c) for c in controls):
        return Problem("the missing cells were not counted")
    try:
        return Cells(*missing_cells(Path(data.path), data.format))
    except PermanentError as error:
        return _about(split, Problem(error.what, error.remedy))


def _training_table(controls: Sequence[Control], subject: Subject) -> pd.DataFrame | Problem | None:
    """The training data, or why there are none; None where no control compares the two tables."""
    from venturalitica_agent.fetch.tables import read_table

    if not any(Need.SPLITS in METRICS[c.metric].needs for c in controls):
        return None
    data = subject.data.get(Split.TRAINING.value)
    if data is None:
        return _about(Split.TRAINING, subject.problems.get(Split.TRAINING.value) or Problem("there are none"))
    try:
        return read_table(Path(data.path), data.format)
    except PermanentError as error:  # damage that only reading every page shows
        return _about(Split.TRAINING, Problem(error.what, error.remedy))


def _about(split: Split, problem: Problem) -> Problem:
    return replace(problem, what=f"the {split.value} data can't be used: {problem.what}")


def _outcome_columns(task: AuditTask, subject: Subject, wanted: SplitNeeds) -> list[str]:
    """Columns of truth, logged predictions and scores: never in the sandbox, where a model could copy them."""
    roles = {"target", "prediction", SCORE} | wanted.targets | wanted.predictions
    bound = {**task.plan.columns, **subject.binding}
    return sorted({bound[role].column for role in roles if role in bound})


def _origins(controls: Sequence[Control]) -> dict[str, str]:
    """Which packages bring those metrics of the controls that aren't ours."""
    return {c.metric: METRICS[c.metric].origin for c in controls if not c.skip and METRICS[c.metric].origin}


def _ask_metrics(sandbox: Sandbox, controls: Sequence[Control], sample: Sample) -> dict[str, Told | Problem]:
    """What metrics of users' packages say of a sample, by control; they run in the sandbox."""
    from venturalitica_agent.evaluate.families import levels
    from venturalitica_agent.evaluate.metrics.own import handed
    from venturalitica_agent.evaluate.undefined import Undefined
    from venturalitica_agent.sandbox.own_metrics import measure

    told: dict[str, Told | Problem] = {}
    for control in controls:
        if METRICS[control.metric].origin:
            try:
                told[control.id] = measure(sandbox, control.metric, handed(control, sample, levels(control, controls)))
            except (Undefined, SandboxError, SandboxUnavailable) as error:
                told[control.id] = Problem(error.what, error.remedy)
    return told


def _ask_again(
    task: AuditTask,
    sandbox: Sandbox,
    subject: Subject,
    controls: Sequence[Control],
    wanted: SplitNeeds,
    frame: pd.DataFrame,
    answered: Predictions | None,
    split: Split,
) -> dict[Stress, AskedAgain | Problem]:
    """What the model says of disturbed rows, for each way of disturbing them that a control asks for.

    Args:
        answered: its predictions for the rows of `frame`, where it was asked already.
    """
    from venturalitica_agent.evaluate.stress import AskedAgain, disturb, stress_of, taken
    from venturalitica_agent.evaluate.undefined import Undefined

    found: dict[Stress, AskedAgain | Problem] = {}
    stresses = [stress for stress in dict.fromkeys(map(stress_of, controls)) if stress is not None]
    if not stresses:
        return found
    features, model = frame.drop(columns=_outcome_columns(task, subject, wanted), errors="ignore"), subject.model
    for stress in stresses:
        if model is None or "model" in subject.problems:
            found[stress] = subject.problems.get("model") or Problem("there is no model to ask again")
            continue
        try:
            stressed = disturb(features, stress, inputs=model.inputs, digest=subject.data[split].file.sha256)
            answered = answered or sandbox.predict(model, features)
            again = sandbox.predict(model, stressed.features)
            found[stress] = AskedAgain(stressed, taken(answered, stressed.rows), again)
        except SandboxUnavailable as error:
            found[stress] = Problem(f"sandbox unavailable: {error.what}", error.remedy, code="sandbox")
        except SandboxError as error:
            what = f"asked again about rows with {stress.words}, the model gave no predictions: {error.what}"
            found[stress] = Problem(what, error.remedy)
        except Undefined as nothing:
            found[stress] = Problem(nothing.what, nothing.remedy)
    return found


def _predict(
    sandbox: Sandbox, subject: Subject, data: DataSubject, outcomes: Sequence[str], split: Split
) -> tuple[Predictions | None, Subject]:
    """Predictions of the sandboxed model, which never sees `outcomes`. A failure is the subject's problem "model"."""
    from venturalitica_agent.fetch.tables import read_batches, readable_columns
    from venturalitica_agent.sandbox.handoff import Features

    if subject.model is None:
        return None, subject
    try:
        path = Path(data.path)
        columns = tuple(c for c in readable_columns(path, data.format) if c not in outcomes)
        features = Features(columns, data.rows, partial(read_batches, path, data.format))
        return sandbox.predict(subject.model, features), subject
    except SandboxUnavailable as error:
        problem = Problem(f"sandbox unavailable: {error.what}", error.remedy, code="sandbox")
    except SandboxError as error:
        problem = Problem(f"the model gave no predictions on {split.value} data: {error.what}", error.remedy)
    except PermanentError as error:  # damage in a column that only the model looks at
        problem = _about(split, Problem(error.what, error.remedy))
    return None, replace(subject, problems={**subject.problems, "model": problem})
