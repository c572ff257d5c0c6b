"""From a run and a policy to measurements: fetch what the policy looks at, have the model answer, measure.

The pipeline's middle, where three stages and the sandbox meet; the stages don't know each other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
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
from venturalitica_agent.errors import PermanentError, RunChanged, RunGone, SandboxError, SandboxUnavailable
from venturalitica_agent.stores.base import Store
from venturalitica_agent.telemetry import SILENT, Telemetry

if TYPE_CHECKING:
    import pandas as pd

    from venturalitica_agent.evaluate.rows import Rows
    from venturalitica_agent.evaluate.sample import Cells, Sample
    from venturalitica_agent.evaluate.stress import AskedAgain, Stress
    from venturalitica_agent.fetch.cache import Cache
    from venturalitica_agent.sandbox.handoff import Features
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
# What can be met by rows that are read in pieces, where the whole table doesn't fit into memory.
_BY_PIECES = _BY_COLUMN | {Need.ROWS, Need.SPLITS, Need.SIGNATURE}


def measure_run(
    task: AuditTask,
    policy: Policy,
    run: Run,
    store: Store,
    cache: Cache,
    sandbox: Sandbox,
    *,
    roots: Sequence[Path],
    in_force: Collection[str] = (),
    telemetry: Telemetry = SILENT,
) -> tuple[Subject, list[Measurement | Unmeasured], tuple[str, ...]]:
    """One result for every control that applies at training time, and what a reader of them should know.

    Args:
        roots: local folders that dataset files of the run may be read from.
        in_force: SHA-256 of every policy that this run is audited under.
    """
    from venturalitica_agent.evaluate.background import Background
    from venturalitica_agent.evaluate.families import measure_all
    from venturalitica_agent.evaluate.measure import unmeasured
    from venturalitica_agent.evaluate.sample import build_sample, sample_of_audit
    from venturalitica_agent.fetch.declaration import check_usable, read_declaration
    from venturalitica_agent.fetch.parquet import TOO_LARGE
    from venturalitica_agent.fetch.problems import as_problem
    from venturalitica_agent.fetch.subject import fetch_subject

    needs = Needs.of(policy.controls)
    try:
        declaration = read_declaration(store, run, cache)
        if declaration is not None:
            check_usable(declaration)
    except (RunGone, RunChanged):
        raise
    except PermanentError as error:
        problem = as_problem(error)
        undone = [unmeasured(c, problem) for c in policy.controls if not c.skip]
        return Subject(problems={"declaration": problem}), list[Measurement | Unmeasured](undone), ()
    with telemetry.stage("fetch"):
        subject = fetch_subject(store, run, needs, task.plan, cache, roots=roots, declaration=declaration)
    found: dict[str, Measurement | Unmeasured] = {}
    notes: list[str] = []
    if declaration is not None:
        notes += declaration.remarks(task.plan, in_force)
        task = replace(task, plan=declaration.under(task.plan))
    unread: dict[str, Problem] = {}
    of_audit = [c for c in policy.controls if not c.skip and METRICS[c.metric].of_audit]
    ready = [m.name for m in run.models if m.ready]
    named = declaration is not None and declaration.model is not None
    if subject.model is not None and named:
        notes.append(f"audited is {subject.model.name!r}, the model that the training code declares")
    elif subject.model is not None and len(ready) > 1:
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
            with telemetry.stage("read"):
                frame = _read(split, data, subject, whole=by_column != controls)
            rows = None
            if isinstance(frame, Problem) and by_column != controls:
                large = frame.code == TOO_LARGE
                able = [c for c in controls if _needs(c) <= _BY_PIECES] if large else by_column
                if able:
                    found |= {c.id: unmeasured(c, frame) for c in controls if c not in able}
                    controls, rows = able, _in_pieces(split, data) if large else None
                    frame = _read(split, data, subject, whole=False)
            if isinstance(frame, Problem):
                unread[split.value] = frame
                found |= {c.id: unmeasured(c, frame) for c in controls}
                continue
            with telemetry.stage("predict"):
                predictions, again, subject = _ask_model(task, sandbox, subject, data, controls, wanted, frame, split)
            cells = _missing_cells(split, data, controls)
            training = _training_rows(controls, subject)
            if isinstance(training, Problem):
                unread[Split.TRAINING.value] = training
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
                behind = replace(sample.background, logged=run.metrics, rows=rows)
                behind = behind if training is None else replace(behind, training=training)
                sample = replace(sample, background=behind)
                notes += [f"{split.value}: {note}" for about in sample.notes.values() for note in about]
                asked = [c for c in controls if (c.target, c.prediction) == (target, prediction)]
                sample = replace(sample, told=_ask_metrics(sandbox, asked, sample))
                with telemetry.stage("measure"):
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
    from venturalitica_agent.fetch.problems import as_problem
    from venturalitica_agent.fetch.tables import read_table, readable_columns

    path, bound = Path(data.path), {b.column for b in subject.binding.values()}
    try:
        if whole:
            return read_table(path, data.format)
        return read_table(path, data.format, [c for c in readable_columns(path, data.format) if c in bound])
    except PermanentError as error:  # damage that only reading every page shows
        return _about(split, as_problem(error))


def _in_pieces(split: Split, data: DataSubject) -> Rows:
    """The rows of a table that is too large to be held; they are read whenever they are asked for."""
    from venturalitica_agent.evaluate.rows import Rows
    from venturalitica_agent.evaluate.undefined import Undefined
    from venturalitica_agent.fetch.tables import read_pieces, readable_columns

    path = Path(data.path)

    def pieces(names: Sequence[str]) -> Iterator[pd.DataFrame]:
        try:
            yield from read_pieces(path, data.format, names)
        except PermanentError as error:
            problem = _about(split, Problem(error.what, error.remedy))
            raise Undefined(problem.what, remedy=problem.remedy) from error

    return Rows(readable_columns(path, data.format), data.rows, pieces)


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


def _training_rows(controls: Sequence[Control], subject: Subject) -> Rows | Problem | None:
    """The rows of the training data, or why there are none; None where no control compares the two tables."""
    from venturalitica_agent.evaluate.rows import Rows
    from venturalitica_agent.fetch.parquet import TOO_LARGE
    from venturalitica_agent.fetch.problems import as_problem
    from venturalitica_agent.fetch.tables import read_table

    if not any(Need.SPLITS in METRICS[c.metric].needs for c in controls):
        return None
    data = subject.data.get(Split.TRAINING.value)
    if data is None:
        return _about(Split.TRAINING, subject.problems.get(Split.TRAINING.value) or Problem("there are none"))
    try:
        return Rows.of(read_table(Path(data.path), data.format))
    except PermanentError as error:  # damage that only reading every page shows
        problem = as_problem(error)
        return _in_pieces(Split.TRAINING, data) if problem.code == TOO_LARGE else _about(Split.TRAINING, problem)


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


def _ask_model(
    task: AuditTask,
    sandbox: Sandbox,
    subject: Subject,
    data: DataSubject,
    controls: Sequence[Control],
    wanted: SplitNeeds,
    frame: pd.DataFrame,
    split: Split,
) -> tuple[Predictions | None, dict[Stress, AskedAgain | Problem], Subject]:
    """What the sandboxed model says of the rows, if a control wants that, and of disturbed rows, for each way of
    disturbing them that a control asks for. It is started once for all of them, and never sees outcomes.

    Returns:
        The predictions, the answers by stress, and the subject, with the problem "model" if there are no predictions.
    """
    from venturalitica_agent.evaluate.stress import AskedAgain, Stressed, disturb, stress_of, taken
    from venturalitica_agent.evaluate.undefined import Undefined

    needed = bool(wanted.predictions - set(subject.binding))
    outcomes = _outcome_columns(task, subject, wanted)
    model, problem = subject.model, subject.problems.get("model")
    again: dict[Stress, AskedAgain | Problem] = {}
    stressed: dict[Stress, Stressed] = {}
    for stress in dict.fromkeys(map(stress_of, controls)):
        if stress is None:
            continue
        if model is None or problem:
            again[stress] = problem or Problem("there is no model to ask again")
            continue
        try:
            features = frame.drop(columns=outcomes, errors="ignore")
            stressed[stress] = disturb(features, stress, inputs=model.inputs, digest=subject.data[split].file.sha256)
        except Undefined as nothing:
            again[stress] = Problem(nothing.what, nothing.remedy)
    if model is None or not (needed or stressed):
        return None, again, subject
    try:
        disturbed = [rows.features for rows in stressed.values()]
        answered, others = sandbox.predict_also(model, _features(data, outcomes), disturbed)
    except PermanentError as error:  # also damage in a column that only the model looks at
        if not needed:
            return None, again | {stress: _unanswered(error, split, stress) for stress in stressed}, subject
        problem = _unanswered(error, split)
        subject = replace(subject, problems={**subject.problems, "model": problem})
        return None, again | dict.fromkeys([*again, *stressed], problem), subject
    for (stress, rows), after in zip(stressed.items(), others, strict=True):
        if isinstance(after, Predictions):
            again[stress] = AskedAgain(rows, taken(answered, rows.rows), after)
        else:
            again[stress] = _unanswered(after, split, stress)
    return answered if needed else None, again, subject


def _features(data: DataSubject, outcomes: Sequence[str]) -> Features:
    from venturalitica_agent.fetch.tables import read_batches, readable_columns
    from venturalitica_agent.sandbox.handoff import Features

    path = Path(data.path)
    columns = tuple(c for c in readable_columns(path, data.format) if c not in outcomes)
    return Features(columns, data.rows, partial(read_batches, path, data.format))


def _unanswered(error: PermanentError, split: Split, stress: Stress | None = None) -> Problem:
    """Why there are no predictions for the rows, or for disturbed ones."""
    if isinstance(error, SandboxUnavailable):
        return Problem(f"sandbox unavailable: {error.what}", error.remedy, code="sandbox")
    if not isinstance(error, SandboxError):
        return _about(split, Problem(error.what, error.remedy))
    if stress is not None:
        what = f"asked again about rows with {stress.words}, the model gave no predictions: {error.what}"
        return Problem(what, error.remedy)
    return Problem(f"the model gave no predictions on {split.value} data: {error.what}", error.remedy)
