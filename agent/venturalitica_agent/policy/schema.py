"""Reads our own shape of policy file: strict, every mistake at once, each with its line."""

from __future__ import annotations

from dataclasses import replace

from venturalitica_agent.domain.policy import Control, Enforcement, EvaluateWith, Outcome, Policy, Source, Split
from venturalitica_agent.policy.oscal import OSCAL_ROOTS
from venturalitica_agent.policy.own_keys import own_complaints, read_own_keys
from venturalitica_agent.policy.rules import (
    DEFAULTS,
    PolicyFile,
    SourceKind,
    complaints,
    control_id,
    day,
    decided,
    line_of_text,
    metric,
    needs_predictions,
    outcome,
    policy_id,
    policy_version,
    read_on_change,
    requirement,
    retention,
    role_name,
)
from venturalitica_agent.policy.stress_keys import read_stress_keys
from venturalitica_agent.settings.selector import read_selector
from venturalitica_agent.strict_yaml import Fields, shown


def read_native(root: Fields, file: PolicyFile) -> Policy:
    """The policy as far as it is readable; mistakes are noted in `root`."""
    root.require("policy", "version", "controls")
    controls = _controls(root)
    applies_to = root.map("applies_to")
    policy = replace(
        file.policy(
            root.read("policy", policy_id, ""),
            root.read("version", policy_version, ""),
            controls,
            root.read("title", line_of_text, ""),
            "native",
        ),
        law=_law(root),
        applies_to=read_selector(applies_to) if applies_to else None,
        evaluate_with=root.choice("evaluate_with", EvaluateWith, EvaluateWith.RUN_START),
        reaches_back=read_on_change(root),
        retain=root.read("retain", retention, ""),
    )
    root.node("$schema")  # for editors
    root.close(also=OSCAL_ROOTS)
    return policy


def _controls(root: Fields) -> tuple[Control, ...]:
    items = root.maps("controls")
    place = root.node("controls")
    if place is not None and not items:
        root.note(place, "a policy without controls requires nothing")
    controls: dict[str, Control] = {}
    for fields in items:
        control = _control(fields)
        if control.id in controls:
            first = controls[control.id].line
            fields.complain("id", f"the control {shown(control.id)} is on line {first} already")
        elif control.id:
            controls[control.id] = control
    return tuple(controls.values())


def _control(fields: Fields) -> Control:
    fields.require("id", "metric", "require")
    spec = fields.read("metric", metric, None)
    on = fields.choice("on", Split, DEFAULTS.on)
    usual = Outcome.PREDICTIONS if on is Split.EVALUATION else Outcome.LABELS
    asked = fields.choice("of", Outcome, usual)
    roles = fields.list_of("role", role_name)
    if len(set(roles)) < len(roles):
        fields.complain("role", "'role' names the same role twice")
    control = replace(
        DEFAULTS,
        id=fields.read("id", control_id, ""),
        metric=spec.name if spec else "",
        require=fields.read("require", requirement, DEFAULTS.require),
        article=fields.read("article", line_of_text, ""),
        title=fields.read("title", line_of_text, ""),
        risk=fields.read("risk", line_of_text, ""),
        role=next(iter(roles), None),
        crossed_with=roles[1:],
        on=on,
        of=outcome(spec, asked) if spec else asked,
        target=fields.read("target", role_name, DEFAULTS.target),
        prediction=fields.read("prediction", role_name, DEFAULTS.prediction),
        enforcement=fields.choice("enforcement", Enforcement, DEFAULTS.enforcement),
        source=_source(fields),
        line=fields.place.line,
    )
    control = read_stress_keys(fields, read_own_keys(fields, decided(fields, control)))
    if spec:
        for part, wrong in (*complaints(control, spec), *own_complaints(control, spec)):
            fields.complain(part, wrong)
        if "of" in fields and control.of is not asked:
            wrong = "needs predictions" if needs_predictions(spec) else "looks at neither labels nor predictions"
            fields.complain("of", f"{spec.name} {wrong}: remove 'of'")
    fields.close()
    return control


def _source(control: Fields) -> Source:
    fields = control.map("source")
    if fields is None:
        return Source()
    fields.require("kind")
    source = Source(fields.choice("kind", SourceKind, SourceKind.HOUSE).value, fields.read("ref", line_of_text, ""))
    fields.close()
    return source


def _law(root: Fields) -> dict[str, str]:
    fields = root.map("law")
    if fields is None:
        return {}
    law = {"text": fields.read("text", line_of_text, ""), "consolidated": fields.read("consolidated", day, None)}
    fields.close()
    return {key: str(value) for key, value in law.items() if value}
