"""Keys of a control whose metric asks the model again about disturbed rows: how much is disturbed, what counts."""

from __future__ import annotations

from dataclasses import dataclass, replace

from venturalitica_agent.domain.metric import METRICS, MetricSpec, Need
from venturalitica_agent.domain.policy import Control
from venturalitica_agent.strict_yaml import Fields, shown


@dataclass(frozen=True, slots=True)
class StressKey:
    """A number: for metrics with one of `needs`, with its usual value and the range that it may have."""

    needs: frozenset[Need]
    usual: float
    low: float
    high: float
    what: str


STRESS_KEYS = {
    "noise": StressKey(
        frozenset({Need.NOISE}), 0.05, 0.0001, 10.0, "Noise on numbers, in standard deviations of their column."
    ),
    "missing": StressKey(frozenset({Need.GAPS}), 0.05, 0.0001, 0.9999, "Chance of a number to be taken away."),
    "tolerance": StressKey(
        frozenset({Need.NOISE, Need.GAPS}),
        0.1,
        0.0,
        10.0,
        "How far a predicted quantity may move, in standard deviations of the predictions.",
    ),
}


def may_have(spec: MetricSpec, key: str) -> bool:
    return bool(spec.needs & STRESS_KEYS[key].needs)


def read_stress_keys(fields: Fields, control: Control) -> Control:
    """The control with these keys, each at its usual value where it isn't written; mistakes are noted in `fields`."""
    spec = METRICS.get(control.metric)
    found: dict[str, float | None] = {}
    for name, key in STRESS_KEYS.items():
        number = fields.number(name, key.usual, key.low, key.high)
        meant = spec is not None and may_have(spec, name)
        found[name] = number if meant else None
        if spec is not None and not meant and name in fields:
            fields.complain(name, f"{spec.name} doesn't look at {shown(name)}: remove it")
    return replace(control, **found)  # type: ignore[arg-type]  # these three are numbers or None
