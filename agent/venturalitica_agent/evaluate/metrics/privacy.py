"""How well a row hides among others: classes of rows that agree in the columns by which somebody could be recognised.

All three are censuses of the table that was audited, so exact. They look at the columns' own values, never at groups or
bands that agent.yaml declares for them: those would hide rows that the table itself doesn't. A missing value is a value
like any other, for nobody can be sure that an attacker doesn't know it. No value is ever told: only counts are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from venturalitica_agent.domain.policy import Control
from venturalitica_agent.evaluate.metrics.estimate import Estimate, census
from venturalitica_agent.evaluate.sample import Sample
from venturalitica_agent.evaluate.undefined import Undefined

Codes = NDArray[np.int64]


def k_anonymity(control: Control, sample: Sample) -> Estimate:
    """Rows of the smallest class. Sweeney 2002."""
    return _smallest(control, sample, np.bincount(_classes(control, sample)))


def l_diversity(control: Control, sample: Sample) -> Estimate:
    """Fewest distinct sensitive values of a class. Machanavajjhala et al. 2007, distinct l-diversity.

    A missing sensitive value is none: a class that has no others has a diversity of 0.
    """
    classes, sensitive = _classes(control, sample), _codes(_sensitive(control), sample)
    known = sensitive >= 0
    pairs = np.unique(np.stack([classes[known], sensitive[known]]), axis=1)
    return _smallest(control, sample, np.bincount(pairs[0], minlength=classes.max() + 1))


def t_closeness(control: Control, sample: Sample) -> Estimate:
    """Largest total variation distance of a class's sensitive values from the table's. Li et al. 2007.

    That is the earth mover's distance where all values are equally far apart; for values with an order it is an upper
    bound of the ordered distance. Missing is a value of its own.
    """
    classes, sensitive = _classes(control, sample), _codes(_sensitive(control), sample) + 1
    overall = np.bincount(sensitive) / sample.n
    pairs, together = np.unique(np.stack([classes, sensitive]), axis=1, return_counts=True)
    sizes = np.bincount(classes)
    # Half the sum of |p - q|: over the values that a class has, and 1 - sum of q over those that it doesn't have.
    q = overall[pairs[1]]
    apart = np.bincount(pairs[0], weights=np.abs(together / sizes[pairs[0]] - q) - q)
    distances = np.clip((apart + 1) / 2, 0.0, 1.0)
    value = float(distances.max())
    return Estimate(
        value=value,
        interval=census(value, control.level),
        n=sample.n,
        notes=(f"{len(sizes)} classes of rows; the widest distance is that of a class of {sizes[distances.argmax()]}",),
    )


def _smallest(control: Control, sample: Sample, counts: Codes) -> Estimate:
    """The smallest of the classes' counts, and how many classes miss what is required of the smallest."""
    value = float(counts.min())
    require = control.require
    distinct, classes = np.unique(counts, return_counts=True)
    met = np.array([require.op.holds(float(count), require.threshold) for count in distinct])
    short = int(classes[~met].sum())
    notes = (f"{short} of {len(counts)} classes of rows are not {require}",) if short else ()
    return Estimate(value=value, interval=census(value, control.level), n=sample.n, notes=notes)


def _sensitive(control: Control) -> str:
    if control.sensitive is None:
        raise Undefined("the control names no sensitive column", remedy="add `sensitive:` to the control")
    return control.sensitive


def _classes(control: Control, sample: Sample) -> Codes:
    """(n,) the class of each row, from 0 without gaps."""
    if not control.columns:
        raise Undefined("the control names no quasi-identifiers", remedy="add `columns:` to the control")
    classes = np.zeros(sample.n, dtype=np.int64)
    for role in control.columns:
        own = _codes(role, sample) + 1
        _, classes = np.unique(classes * (own.max() + 1) + own, return_inverse=True)
    return classes


def _codes(role: str, sample: Sample) -> Codes:
    """(n,) a number for each distinct value; -1 = missing."""
    series: pd.Series[Any] = sample.background.column(role)
    try:
        codes, _ = pd.factorize(series, use_na_sentinel=True)
    except TypeError as error:
        raise Undefined(f"column {series.name!r} holds values that can't be compared, such as lists") from error
    return np.asarray(codes, dtype=np.int64)
