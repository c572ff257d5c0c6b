"""Rows that are there twice: within one table, or in the training data and in those that are to test it."""

from __future__ import annotations

from collections.abc import Sequence

from venturalitica_agent.domain.policy import Control
from venturalitica_agent.domain.subject import Problem
from venturalitica_agent.evaluate.coding import listing
from venturalitica_agent.evaluate.metrics.estimate import Estimate, census
from venturalitica_agent.evaluate.rows import Rows, among, is_number, repeats
from venturalitica_agent.evaluate.sample import Sample
from venturalitica_agent.evaluate.undefined import Undefined


def duplicate_rows(control: Control, sample: Sample) -> Estimate:
    """Rows equal to an earlier one / rows: a census of this table, so exact.

    A row is all of its columns, or those that the control names.
    """
    table = sample.background.table
    names = _names(control, sample, table.columns)
    repeated = repeats(table.hashes(names))
    value = repeated / sample.n
    return Estimate(
        value=value,
        interval=census(value, control.level),
        n=sample.n,
        notes=(f"{repeated} of {sample.n} rows repeat an earlier one", *_about(table, names)),
    )


def split_overlap(control: Control, sample: Sample) -> Estimate:
    """Evaluation rows that are in the training data too / evaluation rows: a census of these tables, so exact.

    A row is every column that both tables have, or those that the control names.
    """
    evaluation, training = sample.background.table, sample.background.training
    if isinstance(training, Problem):
        raise Undefined(training.what, remedy=training.remedy)
    names = _names(control, sample, [c for c in evaluation.columns if c in set(training.columns)])
    ours, theirs = evaluation.types(names), training.types(names)
    numbers = [name for name in names if is_number(ours[name]) is not is_number(theirs[name])]
    seen = among(evaluation.hashes(names, numbers), training.hashes(names, numbers))
    value = seen / sample.n
    return Estimate(
        value=value,
        interval=census(value, control.level),
        n=sample.n,
        notes=(
            f"{seen} of {sample.n} evaluation rows are among the {training.n} training rows",
            *_about(evaluation, names, [c for c in evaluation.columns if c not in set(names)]),
        ),
    )


def _names(control: Control, sample: Sample, usual: Sequence[str]) -> list[str]:
    """The columns that make a row."""
    names = [sample.background.name_of(role) for role in control.columns] or list(usual)
    if not names:
        raise Undefined(
            "there is no column to compare rows by", remedy="audit on tables that have the same column names"
        )
    for name in names:
        if list(usual).count(name) != 1:
            what = f"the data have no column {name!r} to compare rows by, or more than one"
            raise Undefined(what, remedy="give each column a name of its own, or name others in `columns:`")
    return names


def _about(table: Rows, names: Sequence[str], left_out: Sequence[str] = ()) -> Sequence[str]:
    """What a row was taken to be, and which columns alone make every row another one."""
    notes = [f"rows are compared by {len(names)} columns" + (f", without {listing(left_out)}" if left_out else "")]
    keys = table.keys(names) if table.n > 1 else []
    if keys:
        notes.append(
            f"{listing(keys)} alone {'differs' if len(keys) == 1 else 'differ'} in every row: if that identifies rows, "
            "equal rows go unseen; name the other columns in `columns:`"
        )
    return notes
