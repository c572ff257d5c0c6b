"""How much a model's answers move when the numbers it is given are disturbed. It is asked again, in the sandbox."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from venturalitica_agent.domain.policy import Control
from venturalitica_agent.domain.subject import Predictions, Problem
from venturalitica_agent.evaluate.coding import listing
from venturalitica_agent.evaluate.intervals import Floats
from venturalitica_agent.evaluate.metrics.estimate import Estimate
from venturalitica_agent.evaluate.metrics.performance import proportion
from venturalitica_agent.evaluate.sample import Sample
from venturalitica_agent.evaluate.stress import MOST_ROWS, AskedAgain, Kind, Stress, stress_of
from venturalitica_agent.evaluate.undefined import Undefined, given

_LISTED = 6


def flip_rate_noise(control: Control, sample: Sample) -> Estimate:
    """Share of rows whose prediction changes when Gaussian noise is added to their numbers; Wilson interval.

    The noise of a column has `control.noise` times its standard deviation. A predicted quantity counts as changed when
    it moves by more than `control.tolerance` times the standard deviation of the predictions.
    """
    return _flips(control, sample)


def flip_rate_missing(control: Control, sample: Sample) -> Estimate:
    """Share of rows whose prediction changes when each number is missing with the chance `control.missing`; Wilson
    interval. Predicted quantities as for noise. A model that refuses missing values has no such share."""
    return _flips(control, sample)


def _flips(control: Control, sample: Sample) -> Estimate:
    stress = given(stress_of(control), "sizes of the disturbance")
    asked = sample.asked_again.get(stress)
    if isinstance(asked, Problem):
        raise Undefined(asked.what, remedy=asked.remedy)
    asked = given(asked, "answers to disturbed rows")
    changed = changes(asked, control.tolerance)
    n, flips = len(changed), int(changed.sum())

    def resample(rng: np.random.Generator, times: int) -> Floats:
        return rng.binomial(n, flips / n, times) / n

    found = proportion(control, flips, n, n, _notes(control, stress, asked), resample)
    # A larger table would be asked about no more rows than this.
    return found if n < MOST_ROWS else replace(found, growth=None)


def changes(asked: AskedAgain, tolerance: float | None) -> NDArray[np.bool_]:
    """(n,) whether the answer to each row is another one after the rows were disturbed.

    Raises:
        Undefined: the two answers are not of one kind.
    """
    before, after = asked.before, asked.after
    changed: NDArray[np.bool_]
    if before.numbers is not None and after.numbers is not None:
        allowed = given(tolerance, "tolerance") * float(before.numbers.std())
        changed = np.abs(after.numbers - before.numbers) > allowed
    else:
        changed = _classes(before) != _classes(after)
    return changed


def _classes(answer: Predictions) -> NDArray[Any]:
    if answer.values is None or answer.codes is None:
        raise Undefined(
            "the model answers once with classes and once with quantities",
            remedy="log a model whose predict() always returns one kind",
        )
    named = np.empty(len(answer.values), dtype=object)
    named[:] = answer.values
    return named[answer.codes]


def _notes(control: Control, stress: Stress, asked: AskedAgain) -> tuple[str, ...]:
    stressed = asked.stressed
    did = (
        f"got Gaussian noise of {stress.size:g} standard deviations"
        if stress.kind is Kind.NOISE
        else f"went missing with a chance of {stress.size:g}"
    )
    notes = [
        f"the numbers of {len(stressed.columns)} columns ({listing(stressed.columns, _LISTED)}) {did}: "
        f"{stressed.changed * 100:.3g} % of these cells changed; seed {stressed.seed}"
    ]
    if len(stressed.rows) < stressed.of:
        notes.append(f"{len(stressed.rows)} of {stressed.of} rows were drawn with that seed and asked again")
    if asked.before.numbers is not None:
        notes.append(f"a prediction counts as changed when it moves by over {control.tolerance:g} standard deviations")
    return tuple(notes)
