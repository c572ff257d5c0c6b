"""Writes a policy as an OSCAL component-definition, for the tools and people that ask for OSCAL.

Nothing is left out: reading the document back gives the same rules. What OSCAL has no place for stands in props, every
value written out, so that the document keeps its meaning when a default of ours changes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID, uuid5

from venturalitica_agent.domain.policy import Control, Outcome, Policy, Selector
from venturalitica_agent.policy.props import AS_JSON, CROSSED, NAMESPACE, EnforcementMode, Phase
from venturalitica_agent.policy.rules import DEFAULTS, told_on_change
from venturalitica_agent.policy.stress_keys import STRESS_KEYS

OSCAL_VERSION = "1.2.1"

Json: TypeAlias = dict[str, Any]

SPACE = UUID("d5d7a2c0-4f3b-5e0a-9c55-6b7f3f0f1c11")  # ours alone: the UUIDs below follow from it and from the rules
_PLAIN = re.compile(r"\S(.*\S)?")  # what OSCAL allows as the value of a prop
_PHASES = {phase.skip: phase for phase in (Phase.VALIDATION, Phase.TRAINING, Phase.MONITORING, Phase.INCIDENT)}
_MODES = {mode.enforcement: mode for mode in EnforcementMode}


def to_oscal(policy: Policy, last_modified: datetime) -> Json:
    """The policy as an OSCAL 1.2.1 component-definition.

    `last_modified` must carry its time zone. The UUIDs are functions of the rules: the same rules give the same
    document, other rules other UUIDs.
    """
    about = _about(policy)
    rules = [[*as_props(_values(control)), *_listed(control)] for control in policy.controls]
    base = uuid5(SPACE, json.dumps([policy.version, about, rules]))
    title = policy.title or policy.id
    legal_text = _legal_text(policy)

    def name(what: str) -> str:
        return str(uuid5(base, what))

    requirements = [
        {"uuid": name(f"control {control.id}"), "control-id": token, "description": _described(control), "props": props}
        for control, token, props in zip(
            policy.controls, control_tokens(c.id for c in policy.controls), rules, strict=True
        )
    ]
    implementation = {
        "uuid": name("implementation"),
        "source": f"#{name('source')}",
        "description": f"The checks of {policy.ref}",
        "implemented-requirements": requirements,
    }
    component = {
        "uuid": name("component"),
        "type": "policy",
        "title": title,
        "description": f"What {policy.ref} requires of a training run, its model and its data",
        "control-implementations": [implementation],
    }
    return {
        "component-definition": {
            "uuid": str(base),
            "metadata": {
                "title": title,
                "last-modified": last_modified.isoformat(timespec="seconds"),
                "version": policy.version,
                "oscal-version": OSCAL_VERSION,
                "props": about,
            },
            "components": [component],
            "back-matter": {"resources": [{"uuid": name("source"), "title": title, "citation": {"text": legal_text}}]},
        }
    }


def _about(policy: Policy) -> list[Json]:
    values = {"policy_id": policy.id, "title": policy.title}
    values |= {f"law.{key}": text for key, text in policy.law.items()}
    values |= {"evaluate_with": policy.evaluate_with.value, "retain": policy.retain}
    props = [*as_props(values), _on_change(policy.reaches_back)]
    return props if policy.applies_to is None else [*props, as_json_prop("applies_to", _selector(policy.applies_to))]


def _on_change(reaches_back: float) -> Json:
    told = told_on_change(reaches_back)
    return as_json_prop("on_change", told) if isinstance(told, dict) else as_props({"on_change": told})[0]


def _selector(selector: Selector) -> Json:
    return {"experiment": selector.experiment, "tags": dict(selector.tags), "status": list(selector.status)}


def _values(control: Control) -> dict[str, str]:
    """Prop by prop what a control says; empty text stands for what it doesn't say."""
    named = control.of is Outcome.PREDICTIONS or control.prediction != DEFAULTS.prediction
    values = {
        "control_id": control.id,
        "title": control.title,
        "metric_key": control.metric,
        "operator": control.require.op.value,
        "threshold": repr(control.require.threshold),
        "data": control.on.value,
        "of": control.of.value,
        "input.target": control.target,
        "input.prediction": control.prediction if named else "",
        "input.dimension": control.role or "",
        "reference": control.reference or "",
        "decide_on": control.decide_on.value,
        "level": repr(control.level),
        "min_group": str(control.min_group),
        "severity": control.severity,
        "enforcement_mode": _MODES[control.enforcement].value,
        "lifecycle_phase": _PHASES[control.skip].value,
        "article": control.article,
        "risk_id": control.risk,
        "source_kind": control.source.kind,
        "threshold_justification": control.source.ref,
        "sensitive": control.sensitive or "",
        "logged": control.logged,
        "of_metric": control.of_metric,
        **{name: "" if (size := getattr(control, name)) is None else repr(size) for name in STRESS_KEYS},
    }
    return values | {CROSSED.format(n): role for n, role in enumerate(control.crossed_with, 2)}


def _listed(control: Control) -> list[Json]:
    """Props for what is more than one value."""
    found = {"columns": list(control.columns), "shares": dict(control.shares)}
    return [as_json_prop(name, value) for name, value in found.items() if value]


def as_props(values: Mapping[str, str]) -> list[Json]:
    """One prop of ours for each value that isn't empty."""
    return [
        {"name": name, "ns": NAMESPACE, "value": value} if _PLAIN.fullmatch(value) else as_json_prop(name, value)
        for name, value in values.items()
        if value
    ]


def as_json_prop(name: str, value: Any) -> Json:
    """A prop whose value OSCAL doesn't allow as it is (spaces at an end, a map), as JSON text."""
    return {"name": name, "ns": NAMESPACE, "class": AS_JSON, "value": json.dumps(value, separators=(",", ":"))}


def control_tokens(ids: Iterable[str]) -> list[str]:
    """OSCAL's tokens for ids of controls, one each: `10(2)(f)` isn't one, `_10-2--f-` is."""
    tokens: list[str] = []
    for control in ids:
        token = re.sub(r"[^A-Za-z0-9._-]", "-", control)
        token = token if token[0].isalpha() or token[0] == "_" else f"_{token}"
        free, n = token, 1
        while free in tokens:
            n += 1
            free = f"{token}-{n}"
        tokens.append(free)
    return tokens


def _described(control: Control) -> str:
    asked = f"{control.metric} {control.require}"
    return control.title or (f"{asked} by {' × '.join(control.roles)}" if control.roles else asked)


def _legal_text(policy: Policy) -> str:
    text, date = policy.law.get("text", ""), policy.law.get("consolidated", "")
    consolidated = f"consolidated on {date}" if date else ""
    return ", ".join(filter(None, (text, consolidated))) or f"Policy {policy.ref}"
