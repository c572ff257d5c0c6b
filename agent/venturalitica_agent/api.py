"""What a package of metrics of your own needs of this one. Standard library only, and nothing else of the agent: this
file goes into the sandbox, where such metrics run; the agent itself never imports them.

    from venturalitica_agent.api import metric

    @metric(title="Mean cost of a decision, EUR", low=0, high=500, better="lower", needs=["labels", "predictions"])
    def expected_cost(labels, predictions):
        return 500 * ((labels == "bad") & (predictions == "good")).mean()

and in the package's pyproject.toml:

    [project.entry-points."venturalitica.metrics"]
    expected_cost = "acme_metrics:expected_cost"
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

GROUP = "venturalitica.metrics"
"""The group of entry points; the entry point's name is what a policy writes into `metric:`."""
ATTRIBUTE = "__venturalitica_metric__"
NEEDS = ("labels", "predictions", "scores", "truth", "estimates", "groups")


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a policy is checked against.

    Attributes:
        title: a few words for reports. description: the definition, and where it comes from.
        low, high: the range of possible values, both inclusive; may be infinite.
        better: "higher" or "lower".
        needs: which of NEEDS the function takes, each by its name, as a NumPy array with a value for each row: classes
            (`labels`, `predictions`), the score of the positive class (`scores`), numbers (`truth`, `estimates`), names
            of groups (`groups`). Rows that lack one of them are left out.
        positive: True when the function also takes `positive`, the positive class.
        of_counts: True when the order of rows doesn't matter and equal rows only count: faster to resample.
        interval: True when the function also takes `level` and returns (value, low, high), a confidence interval of
            that level. Otherwise it returns the value, and 1,000 resamples of the rows make the interval.
    """

    title: str
    low: float
    high: float
    better: str
    needs: tuple[str, ...]
    description: str = ""
    positive: bool = False
    of_counts: bool = False
    interval: bool = False


def metric(
    *,
    title: str,
    low: float,
    high: float,
    better: str,
    needs: Sequence[str],
    description: str = "",
    positive: bool = False,
    of_counts: bool = False,
    interval: bool = False,
) -> Callable[[F], F]:
    """Declare a function as a metric; see `Declaration`. The function itself stays as it is."""
    declaration = Declaration(
        title, float(low), float(high), better, tuple(needs), description, positive, of_counts, interval
    )

    def declare(function: F) -> F:
        setattr(function, ATTRIBUTE, declaration)
        return function

    return declare
