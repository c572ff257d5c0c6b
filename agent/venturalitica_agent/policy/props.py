"""From the props of an SDK control to a `Control`: bindings, phases and enforcement in the SDK's words."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from venturalitica_agent.domain.metric import MetricSpec
from venturalitica_agent.domain.policy import Control, Enforcement, Outcome, Requirement, Source, Split
from venturalitica_agent.policy.rules import (
    DEFAULTS,
    complaints,
    decided,
    metric,
    needs_predictions,
    operator,
    outcome,
    role_name,
)
from venturalitica_agent.strict_yaml import BadValue, Fields, Scalar, printable, shown

_INFORMAL = ("label", "sort-id")  # OSCAL's own props of a catalog control; they measure nothing
_FOR_OTHER_METRICS = ("input.score", "input.cluster", "quasi_identifiers", "sensitive_attribute")
_PLACES = {"require": "threshold", "role": "input.dimension", "reference": "reference"}
_line_of_text = printable(500)


class Phase(StrEnum):
    TRAINING = "training"
    VALIDATION = "validation"
    MONITORING = "monitoring"
    INCIDENT = "incident"

    @property
    def skip(self) -> str:
        """Why a control of this phase isn't evaluated when a run ends; empty when it is."""
        if self in (Phase.TRAINING, Phase.VALIDATION):
            return ""
        return f"lifecycle phase {self.value}: it concerns a system in operation, not a training run"


class EnforcementMode(StrEnum):
    BLOCK = "block"
    WARN = "warn"
    MONITOR = "monitor"

    @property
    def enforcement(self) -> Enforcement:
        return Enforcement.REPORT if self is EnforcementMode.MONITOR else Enforcement(self.value)


def read_props(props: Fields | None, line: int) -> Control:
    """A control without its id; mistakes are noted in `props`."""
    if props is None:
        return replace(DEFAULTS, line=line)
    props.require("metric_key", "operator", "threshold")
    spec = props.read("metric_key", _sdk_metric, None)
    op = props.read("operator", operator, None)
    threshold = props.number("threshold", float("nan"), -1e15, 1e15)
    control = replace(
        DEFAULTS,
        metric=spec.name if spec else "",
        article=props.read("article", _line_of_text, ""),
        risk=props.read("risk_id", _line_of_text, ""),
        role=props.read("input.dimension", role_name, None),
        on=props.choice("data", Split, DEFAULTS.on),
        of=_outcome(props, spec),
        target=props.read("input.target", role_name, DEFAULTS.target),
        prediction=props.read("input.prediction", role_name, DEFAULTS.prediction),
        enforcement=props.choice("enforcement_mode", EnforcementMode, EnforcementMode.BLOCK).enforcement,
        source=Source("house", props.read("threshold_justification", _line_of_text, "")),
        skip=props.choice("lifecycle_phase", Phase, Phase.TRAINING).skip,
        line=line,
    )
    control = decided(props, control)
    for name in _INFORMAL:
        props.node(name)
    for name in _FOR_OTHER_METRICS:
        place = props.node(name)
        if spec and place:
            props.note(place, f"the prop {shown(name)} has no meaning for {spec.name}: remove it")
    readable = op is not None and threshold == threshold
    if op and readable:
        control = replace(control, require=Requirement(op, threshold))
    for part, wrong in complaints(control, spec) if spec else ():
        if readable or part != "require":
            props.complain(_PLACES[part], wrong)
    props.close(noun="prop")
    return control


def _sdk_metric(scalar: Scalar) -> MetricSpec:
    if scalar.text == "equalized_odds_ratio":
        raise BadValue(
            "'equalized_odds_ratio' is no ratio in the SDK but the sum of the TPR and FPR gaps (0 to 2); here the"
            " larger of the two gaps (0 to 1) is measured: review the threshold",
            "equalized_odds_diff",
        )
    return metric(scalar)


def _outcome(props: Fields, spec: MetricSpec | None) -> Outcome:
    """A control that names no prediction looks at the labels, as in the SDK."""
    named = "input.prediction" in props
    wanted = Outcome.PREDICTIONS if named else Outcome.LABELS
    if spec is None:
        return wanted
    if named and not needs_predictions(spec) and outcome(spec, wanted) is not wanted:
        props.complain(
            "input.prediction", f"{spec.name} looks at neither labels nor predictions: remove 'input.prediction'"
        )
    return outcome(spec, wanted)
