"""A 95 % interval of a rate, a difference or a ratio covers the truth in 93 to 97 % of samples of 100 rows and more.

Those of other metrics cover it in 93 % and more: what `python -m tests.benchmarks coverage` says of
every population and 20,000 samples, some of the hard ones say here of fewer.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from support.coverage_cases import Case, cases

from venturalitica_agent.evaluate import intervals

SIMULATIONS = 20_000
RATES = (0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9)
PAIRS = [*product(RATES, RATES)]


def covered(low: np.ndarray, high: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return ((low <= truth) & (truth <= high)).mean(axis=0)


@pytest.mark.parametrize("n", [100, 300, 1000])
def test_proportions_cover(n: int) -> None:
    truth = np.array(RATES)
    k = np.random.default_rng(n).binomial(n, truth, (SIMULATIONS, len(truth)))
    found = covered(*intervals.wilson(k, n, 0.95), truth)
    assert found.min() >= 0.93, dict(zip(RATES, found, strict=True))
    assert found.max() <= 0.97


@pytest.mark.parametrize("sizes", [(100, 100), (100, 300), (300, 100), (1000, 1000)], ids=str)
def test_differences_and_ratios_cover(sizes: tuple[int, int]) -> None:
    first, second = np.array(PAIRS).T
    rng = np.random.default_rng(sizes)
    k1 = rng.binomial(sizes[0], first, (SIMULATIONS, len(PAIRS)))
    k2 = rng.binomial(sizes[1], second, (SIMULATIONS, len(PAIRS)))
    for method, truth in ((intervals.newcombe, first - second), (intervals.ratio, first / second)):
        found = covered(*method(k1, sizes[0], k2, sizes[1], 0.95), truth)
        assert found.min() >= 0.93, (method.__name__, PAIRS[int(found.argmin())], found.min())
        assert found.max() <= 0.97, (method.__name__, PAIRS[int(found.argmax())], found.max())


FEW = 500
NOISE = 3 * (0.93 * 0.07 / FEW) ** 0.5
HARD = (
    "scores 3 apart, 10% positive",
    "scores 0.5 apart, 90% positive",
    "4 classes 2 apart",
    "log odds 0 ± 4.5, told times 1",
    "6 classes 1 to 4, 80% right",
    "10 classes 1 to 1, 70% right",
)


@pytest.mark.parametrize("case", [case for case in cases((100,)) if case.population in HARD], ids=str)
def test_metrics_of_scores_and_of_many_classes_cover(case: Case) -> None:
    """Within three standard errors of what so few samples can say."""
    assert case.covered(FEW) >= 0.93 - NOISE
