"""A table's rows with their numbers disturbed, to ask a model again: with noise on them, or with some of them missing.

Only numbers are disturbed; text, booleans, dates and categories stay. The outcome is a function of the table, the
stress and the table's digest, so an audit that is repeated disturbs the same cells in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import sha256
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from venturalitica_agent.domain.metric import METRICS, Need
from venturalitica_agent.domain.policy import Control
from venturalitica_agent.domain.subject import Predictions
from venturalitica_agent.evaluate.undefined import Undefined

MOST_ROWS = 10_000
"""So many rows are asked again; of a larger table, so many drawn at random."""
_EXACT = 2.0**53
"""Whole numbers from here on are identifiers: a float doesn't hold them."""


class Kind(StrEnum):
    NOISE = "noise"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Stress:
    """What is done to the numbers of a table.

    Attributes:
        size: of noise its standard deviation, in those of the column; of missing values a cell's chance to be one.
    """

    kind: Kind
    size: float

    @property
    def words(self) -> str:
        return "noise on their numbers" if self.kind is Kind.NOISE else "missing numbers"


@dataclass(frozen=True, slots=True, eq=False)
class Stressed:
    """Disturbed rows.

    Attributes:
        features: what the model is asked about: all columns, also those that stay.
        rows: (n,) the places of these rows in the table, ascending; of: rows of the whole table.
        columns: names of the columns that can be disturbed. changed: share of their cells that were.
        seed: of the random numbers.
    """

    features: pd.DataFrame
    rows: NDArray[np.int64]
    of: int
    columns: tuple[str, ...]
    changed: float
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class AskedAgain:
    """What a model answered about the same rows before and after they were disturbed."""

    stressed: Stressed
    before: Predictions
    after: Predictions


def stress_of(control: Control) -> Stress | None:
    """The stress that the control's metric asks for; None for a metric that asks for none."""
    needs = METRICS[control.metric].needs
    if Need.NOISE in needs and control.noise is not None:
        return Stress(Kind.NOISE, control.noise)
    if Need.GAPS in needs and control.missing is not None:
        return Stress(Kind.MISSING, control.missing)
    return None


def disturb(features: pd.DataFrame, stress: Stress, *, inputs: Sequence[str] = (), digest: str = "") -> Stressed:
    """At most `MOST_ROWS` rows of `features`, disturbed.

    Noise is Gaussian, kept inside the range that the column has. A column of whole numbers keeps whole numbers: a
    disturbed value is rounded up or down by chance, in proportion to its fraction, so that its mean size of change
    stays that of the noise. A column of two values is a category, and one of a single value has no spread: noise
    leaves both alone.

    Args:
        features: what the model is asked about; column names must be distinct.
        inputs: columns that the model takes; empty when it doesn't say: all.
        digest: of the table; part of the seed.

    Raises:
        Undefined: no cell can be disturbed, or none happened to be.
    """
    if not features.columns.is_unique:
        raise Undefined("the data has several columns of the same name", remedy="rename them in the data")
    seed = int.from_bytes(sha256(f"{digest} {stress.kind} {stress.size!r}".encode()).digest()[:4], "big")
    rng = np.random.default_rng(seed)
    n = len(features)
    rows = np.sort(rng.choice(n, MOST_ROWS, replace=False)) if n > MOST_ROWS else np.arange(n)
    before = features.iloc[rows].reset_index(drop=True)
    names, changes, disturbed = [], 0, {}
    for name in inputs or features.columns:
        if name not in features.columns or not _is_number(features[name]):
            continue
        column = before[name]
        if stress.kind is Kind.MISSING:
            gone = (rng.random(len(rows)) < stress.size) & column.notna().to_numpy()
            new, hit = column.mask(gone), gone
        else:
            found = _noisy(column, features[name], stress.size, rng)
            if found is None:
                continue
            new, hit = found
        names.append(name)
        disturbed[name] = new
        changes += int(hit.sum())
    if not changes:
        raise Undefined(
            f"none of the {len(names)} columns of numbers could be disturbed",
            remedy="remove the control, or audit on data with numbers that the model looks at",
        )
    return Stressed(
        features=before.assign(**disturbed),
        rows=rows,
        of=n,
        columns=tuple(names),
        changed=changes / (len(rows) * len(names)),
        seed=seed,
    )


def _is_number(column: pd.Series[Any]) -> bool:
    types = pd.api.types
    return types.is_numeric_dtype(column.dtype) and not (
        types.is_bool_dtype(column.dtype) or types.is_complex_dtype(column.dtype)
    )


def _noisy(
    column: pd.Series[Any], whole: pd.Series[Any], size: float, rng: np.random.Generator
) -> tuple[pd.Series[Any], NDArray[np.bool_]] | None:
    """`column`, a part of `whole`, with noise, and which cells changed; None where noise means nothing."""
    known = whole.to_numpy(dtype=float, na_value=np.nan)
    known = known[np.isfinite(known)]
    if not len(known):
        return None
    low, high = known.min(), known.max()
    if not ((known > low) & (known < high)).any() or max(abs(low), abs(high)) >= _EXACT:
        return None
    old = column.to_numpy(dtype=float, na_value=np.nan)
    noise = rng.normal(0.0, size * known.std(), len(old))
    dice = rng.random(len(old))
    if (known == np.floor(known)).all():
        noise = np.floor(noise + dice)  # up with the chance that its fraction is
    new = np.where(np.isfinite(old), np.clip(old + noise, low, high), old)
    moved = np.isfinite(old) & (new != old)
    return column.mask(moved, pd.Series(new).astype(column.dtype)), moved


def taken(answer: Predictions, rows: NDArray[np.int64]) -> Predictions:
    """The part of an answer that is about these rows."""
    return replace(
        answer,
        n=len(rows),
        codes=None if answer.codes is None else answer.codes[rows],
        numbers=None if answer.numbers is None else answer.numbers[rows],
        scores=None if answer.scores is None else answer.scores[rows],
    )
