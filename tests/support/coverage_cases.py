"""Populations of which the true value of a metric is known, to count how often its interval holds it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.special import expit, ndtr
from sklearn import metrics as sklearn

from venturalitica_agent.domain.policy import Control, Op, Requirement
from venturalitica_agent.evaluate.coding import Coded
from venturalitica_agent.evaluate.metrics import REGISTRY
from venturalitica_agent.evaluate.sample import Sample

Draw = Callable[[np.random.Generator], Sample]


@dataclass(frozen=True)
class Case:
    """One metric on samples of `rows` rows of one population; `truth` is its value in that population."""

    metric: str
    population: str
    rows: int
    truth: float
    draw: Draw

    def __str__(self) -> str:
        return f"{self.metric}, {self.population}, n={self.rows}"

    def covered(self, simulations: int, seed: int = 1) -> float:
        """Share of so many samples whose 95 % interval holds the truth."""
        rng = np.random.default_rng(seed)
        control = Control(self.metric, self.metric, Requirement(Op.GE, 0.0))
        inside = 0
        for _ in range(simulations):
            interval = REGISTRY[self.metric](control, self.draw(rng)).interval
            inside += interval.low <= self.truth <= interval.high
        return inside / simulations


def cases(rows: Sequence[int] = (100, 300, 1000)) -> list[Case]:
    """Every population, with samples of so many rows."""
    found: list[Case] = []
    for n in rows:
        for distance, share in product((0.5, 1.2, 2.0, 3.0), (0.1, 0.3, 0.5, 0.9)):
            found += _ranked(distance, share, n)
        for distance in (0.5, 2.0):
            found.append(_one_against_the_rest(distance, 4, n))
        for centre, width, zeal in ((0.0, 1.5, 1.0), (-2.5, 1.5, 1.0), (0.0, 1.5, 2.5), (0.0, 4.5, 1.0)):
            found += _probable(centre, width, zeal, n)
        for classes, right, skew in (
            (2, 0.85, 1), (2, 0.8, 9), (2, 0.97, 9), (3, 0.7, 3), (6, 0.6, 1), (6, 0.8, 4), (6, 0.97, 1), (10, 0.7, 1),
        ):  # fmt: skip
            found += _confused(classes, right, skew, n)
    return found


def _ranked(distance: float, share: float, n: int) -> list[Case]:
    """Normal scores of two classes, so far apart in standard deviations."""
    x = np.linspace(-9, 9 + distance, 400_001)
    above, above_too = ndtr(distance - x), ndtr(-x)
    precision = share * above / np.maximum(share * above + (1 - share) * above_too, 1e-300)
    density = np.exp(-((x - distance) ** 2) / 2) / np.sqrt(2 * np.pi)
    truth = {
        "roc_auc": float(ndtr(distance / np.sqrt(2))),
        "average_precision": float(np.trapezoid(precision * density, x)),
    }

    def draw(rng: np.random.Generator) -> Sample:
        codes = _two_of_each(rng, 2, [1 - share, share], n)
        return _sample(codes, 2, scores=rng.normal(distance * codes, 1.0))

    name = f"scores {distance:g} apart, {share:.0%} positive"
    return [Case(metric, name, n, value, draw) for metric, value in truth.items()]


def _one_against_the_rest(distance: float, classes: int, n: int) -> Case:
    def draw(rng: np.random.Generator) -> Sample:
        codes = _two_of_each(rng, classes, np.full(classes, 1 / classes), n)
        return _sample(codes, classes, chances=rng.normal(distance * np.eye(classes)[codes], 1.0))

    name = f"{classes} classes {distance:g} apart"
    return Case("roc_auc_ovr", name, n, float(ndtr(distance / np.sqrt(2))), draw)


def _probable(centre: float, width: float, zeal: float, n: int) -> list[Case]:
    """Normal log odds, which the model multiplies by `zeal`: 1 is calibrated, more is too sure of itself."""
    z = centre + width * np.linspace(-8, 8, 200_001)
    weight = np.exp(-(((z - centre) / width) ** 2) / 2)
    weight /= weight.sum()
    chance, told = expit(z), expit(zeal * z)
    bins = np.searchsorted(np.linspace(0, 1, 11)[1:-1], told)
    truth = {
        "brier": float((weight * (chance * (1 - told) ** 2 + (1 - chance) * told**2)).sum()),
        "log_loss": float(
            (weight * (chance * np.logaddexp(0, -zeal * z) + (1 - chance) * np.logaddexp(0, zeal * z))).sum()
        ),
        "ece": float(np.abs(np.bincount(bins, weight * (chance - told), 10)).sum()),
    }

    def draw(rng: np.random.Generator) -> Sample:
        z = rng.normal(centre, width, n)
        codes, told = (rng.random(n) < expit(z)).astype(np.int64), expit(zeal * z)
        return _sample(codes, 2, scores=told, chances=np.column_stack([1 - told, told]))

    name = f"log odds {centre:g} ± {width:g}, told times {zeal:g}"
    return [Case(metric, name, n, value, draw) for metric, value in truth.items()]


def _confused(classes: int, right: float, skew: float, n: int) -> list[Case]:
    """So many classes, the commonest `skew` times as common as the rarest, each recognised with the same chance."""
    share = np.geomspace(1, skew, classes)
    cells = np.full((classes, classes), (1 - right) / (classes - 1))
    np.fill_diagonal(cells, right)
    cells *= (share / share.sum())[:, None]
    labels, predictions = (axis.ravel() for axis in np.indices(cells.shape))
    weights = cells.ravel()
    truth = {
        "f1_macro": sklearn.f1_score(labels, predictions, average="macro", sample_weight=weights),
        "f1_weighted": sklearn.f1_score(labels, predictions, average="weighted", sample_weight=weights),
        "mcc": sklearn.matthews_corrcoef(labels, predictions, sample_weight=weights),
        "balanced_accuracy": sklearn.balanced_accuracy_score(labels, predictions, sample_weight=weights),
    }

    def draw(rng: np.random.Generator) -> Sample:
        counts = np.zeros(classes**2, dtype=np.int64)
        while not (_seen(counts, labels).all() and _seen(counts, predictions).sum() > 1):
            counts = rng.multinomial(n, weights)
        drawn = np.repeat(np.arange(classes**2), counts)
        return _sample(labels[drawn], classes, predictions=predictions[drawn])

    name = f"{classes} classes 1 to {skew:g}, {right:.0%} right"
    return [Case(metric, name, n, float(value), draw) for metric, value in truth.items()]


def _seen(counts: np.ndarray, classes: np.ndarray) -> np.ndarray:
    return np.bincount(classes, counts) > 0


def _two_of_each(rng: np.random.Generator, classes: int, shares: Sequence[float] | np.ndarray, n: int) -> np.ndarray:
    """Labels of which each class has two or more: a metric of ranks has no value without."""
    while True:
        codes = rng.choice(classes, n, p=shares)
        if np.bincount(codes, minlength=classes).min() >= 2:
            return codes


def _sample(
    codes: np.ndarray,
    classes: int,
    *,
    predictions: np.ndarray | None = None,
    scores: np.ndarray | None = None,
    chances: np.ndarray | None = None,
) -> Sample:
    values = tuple(range(classes))
    answers = None if predictions is None else Coded(predictions.astype(np.int64), values)
    return Sample(len(codes), Coded(codes.astype(np.int64), values), answers, scores, 1, {}, probabilities=chances)
