"""Rows that are there twice: within one table, or in the training data and in those that are to test it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from venturalitica_agent.domain.policy import Control
from venturalitica_agent.domain.subject import Problem
from venturalitica_agent.evaluate.coding import listing
from venturalitica_agent.evaluate.metrics.estimate import Estimate, census
from venturalitica_agent.evaluate.rows import is_number, row_hashes
from venturalitica_agent.evaluate.sample import Sample
from venturalitica_agent.evaluate.undefined import Undefined


def duplicate_rows(control: Control, sample: Sample) -> Estimate:
    """Rows equal to an earlier one / rows: a census of this table, so exact.

    A row is all of its columns, or those that the control names.
    """
    frame = sample.background.frame
    frame = frame[_names(control, sample, list(frame.columns))]
    hashes = row_hashes(frame)
    repeated = sample.n - len(np.unique(hashes))
    value = repeated / sample.n
    return Estimate(
        value=value,
        interval=census(value, control.level),
        n=sample.n,
        notes=(f"{repeated} of {sample.n} rows repeat an earlier one", *_about(frame)),
    )


def split_overlap(control: Control, sample: Sample) -> Estimate:
    """Evaluation rows that are in the training data too / evaluation rows: a census of these tables, so exact.

    A row is every column that both tables have, or those that the control names.
    """
    evaluation, training = sample.background.frame, sample.background.training
    if isinstance(training, Problem):
        raise Undefined(training.what, remedy=training.remedy)
    names = _names(control, sample, [c for c in evaluation.columns if c in set(training.columns)])
    ours, theirs = evaluation[names], training[names]
    numbers = [name for name in names if is_number(ours[name]) is not is_number(theirs[name])]
    seen = np.isin(row_hashes(ours, numbers), row_hashes(theirs, numbers))
    value = float(seen.mean())
    return Estimate(
        value=value,
        interval=census(value, control.level),
        n=sample.n,
        notes=(
            f"{int(seen.sum())} of {sample.n} evaluation rows are among the {len(theirs)} training rows",
            *_about(ours, evaluation),
        ),
    )


def _names(control: Control, sample: Sample, usual: list[str]) -> list[str]:
    """The columns that make a row."""
    names = [sample.background.name_of(role) for role in control.columns] or usual
    if not names:
        raise Undefined(
            "there is no column to compare rows by", remedy="audit on tables that have the same column names"
        )
    for name in names:
        if usual.count(name) != 1:
            what = f"the data have no column {name!r} to compare rows by, or more than one"
            raise Undefined(what, remedy="give each column a name of its own, or name others in `columns:`")
    return names


def _about(rows: pd.DataFrame, table: pd.DataFrame | None = None) -> Sequence[str]:
    """What a row was taken to be, and which columns alone make every row another one."""
    left_out = [c for c in (rows if table is None else table).columns if c not in set(rows.columns)]
    notes = [f"rows are compared by {rows.shape[1]} columns" + (f", without {listing(left_out)}" if left_out else "")]
    # A number with a fraction may well be another one in each row; a name, a key or a row number is no measurement.
    keys = [n for n in rows.columns if not pd.api.types.is_float_dtype(rows[n].dtype) and rows[n].is_unique]
    if keys and len(rows) > 1:
        notes.append(
            f"{listing(keys)} alone {'differs' if len(keys) == 1 else 'differ'} in every row: if that identifies rows, "
            "equal rows go unseen; name the other columns in `columns:`"
        )
    return notes
