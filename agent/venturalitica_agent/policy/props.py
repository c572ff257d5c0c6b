"""From the props of an SDK control to a `Control`: bindings, phases and enforcement in the SDK's words."""

from __future__ import annotations

import sys
from dataclasses import replace
from enum import StrEnum

from venturalitica_agent.domain.metric import MetricSpec
from venturalitica_agent.domain.policy import Control, Enforcement, Outcome, Requirement, Source, Split
from venturalitica_agent.policy.own_keys import OWN_KEYS, own_complaints, read_own_keys
from venturalitica_agent.policy.rules import (
    DEFAULTS,
    SourceKind,
    complaints,
    control_id,
    decided,
    line_of_text,
    metric,
    needs_predictions,
    operator,
    outcome,
    role_name,
)
from venturalitica_agent.policy.stress_keys import read_stress_keys
from venturalitica_agent.strict_yaml import BadValue, Fields, Scalar, shown

NAMESPACE = "urn:venturalitica:policy"  # of the props that we write
AS_JSON = "json"  # class of a prop of ours whose value is JSON text
CROSSED = "input.dimension.{}"  # 2, 3, ...: the further roles of an intersection

_INFORMAL = ("label", "sort-id", "note")  # OSCAL's own props of a catalog control, and the SDK's remark
_FOR_OTHER_METRICS = ("input.score", "input.cluster")
_PLACES = {"require": "threshold", "role": "input.dimension", "reference": "reference", "on": "data"}
_PLACES |= {key: key for key in OWN_KEYS}
# The SDK's words for the columns that identify (separated by commas) and for the one that they must not give away.
_QUASI = ("quasi_identifiers", "input.quasi_identifiers")
_SENSITIVE = ("sensitive_attribute", "input.sensitive_attribute")
# Names that files of the SDK use for what is called otherwise.
_MEANT = {
    "input.protected_attribute": "input.dimension",
    "input.protected_attributes": "input.dimension",
    "input.group": "input.dimension",
}


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
    ours = "control_id" in props  # written by `oscal_export`: the words are ours, not the SDK's
    spec = props.read("metric_key", metric if ours else _sdk_metric, None)
    op = props.read("operator", operator, None)
    threshold = props.number("threshold", float("nan"), -sys.float_info.max, sys.float_info.max)
    roles = _roles(props)
    control = replace(
        DEFAULTS,
        id=props.read("control_id", control_id, ""),
        title=props.read("title", line_of_text, ""),
        metric=spec.name if spec else "",
        article=props.read("article", line_of_text, ""),
        risk=props.read("risk_id", line_of_text, ""),
        role=next(iter(roles), None),
        crossed_with=roles[1:],
        on=props.choice("data", Split, DEFAULTS.on),
        of=_outcome(props, spec),
        target=props.read("input.target", role_name, DEFAULTS.target),
        prediction=props.read("input.prediction", role_name, DEFAULTS.prediction),
        enforcement=props.choice("enforcement_mode", EnforcementMode, EnforcementMode.BLOCK).enforcement,
        source=_source(props),
        skip=props.choice("lifecycle_phase", Phase, Phase.TRAINING).skip,
        line=line,
    )
    control = read_stress_keys(props, _with_sdk_columns(props, read_own_keys(props, decided(props, control))))
    for name in _INFORMAL:
        props.node(name)
    for name in _FOR_OTHER_METRICS:
        place = props.node(name)
        if spec and place:
            props.note(place, f"the prop {shown(name)} has no meaning for {spec.name}: remove it")
    readable = op is not None and threshold == threshold
    if op and readable:
        control = replace(control, require=Requirement(op, threshold))
    for part, wrong in (*complaints(control, spec), *own_complaints(control, spec)) if spec else ():
        if readable or part != "require":
            names = {"columns": _QUASI, "sensitive": _SENSITIVE}.get(part, ())
            props.complain(next((name for name in names if name in props), _PLACES[part]), wrong)
    for name, meant in _MEANT.items():
        place = props.node(name)
        if place:
            props.note(place, f"the prop {shown(name)} is not read: name the group role in {shown(meant)}", meant)
    props.close(noun="prop")
    return control


def _roles(props: Fields) -> tuple[str, ...]:
    """The group role and, for intersections, those it is crossed with."""
    names = ["input.dimension"]
    while names[-1] in props:
        names.append(CROSSED.format(len(names) + 1))
    found = [props.read(name, role_name, "") for name in names[:-1]]
    roles = tuple(role for role in found if role)
    if len(set(roles)) < len(roles):
        props.complain(names[-2], f"the role {shown(roles[-1])} is named twice")
    return roles


def _with_sdk_columns(props: Fields, control: Control) -> Control:
    for name in (name for name in _QUASI if name in props):
        columns = tuple(part.strip() for part in props.text(name).split(","))
        if "" in columns or len(set(columns)) < len(columns):
            props.complain(name, f"{shown(name)} must be names of columns, separated by commas, each once")
        control = replace(control, columns=columns)
    for name in (name for name in _SENSITIVE if name in props):
        control = replace(control, sensitive=props.read(name, role_name, None))
    return control


def _source(props: Fields) -> Source:
    kind = props.choice("source_kind", SourceKind, SourceKind.HOUSE)
    return Source(kind.value, props.read("threshold_justification", line_of_text, ""))


def _sdk_metric(scalar: Scalar) -> MetricSpec:
    if scalar.text == "equalized_odds_ratio":
        raise BadValue(
            "'equalized_odds_ratio' is no ratio in the SDK but the sum of the TPR and FPR gaps (0 to 2); here the"
            " larger of the two gaps (0 to 1) is measured: review the threshold",
            "equalized_odds_diff",
        )
    return metric(scalar)


def _outcome(props: Fields, spec: MetricSpec | None) -> Outcome:
    """What the prop `of` says; without it, a control that names no prediction looks at the labels, as in the SDK."""
    named, told = "input.prediction" in props, "of" in props
    wanted = props.choice("of", Outcome, Outcome.PREDICTIONS if named else Outcome.LABELS)
    if spec is None:
        return wanted
    if told and outcome(spec, wanted) is not wanted:
        props.complain("of", f"{spec.name} can't look at {wanted}: remove 'of'")
    elif named and not told and not needs_predictions(spec) and outcome(spec, wanted) is not wanted:
        props.complain(
            "input.prediction", f"{spec.name} looks at neither labels nor predictions: remove 'input.prediction'"
        )
    return outcome(spec, wanted)
