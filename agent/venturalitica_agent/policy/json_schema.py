"""The JSON Schema of our own policy shape, for editors: completion and a first opinion while somebody types.

It is made from what the loader itself goes by: the fields of `Control`, the words of the enumerations, the metric
declarations, the patterns and limits of `rules`. The loader stays the judge. What a schema can't say (a threshold in
its metric's range, ids that are unique, dates that exist, characters that are visible) only the loader says.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields
from enum import StrEnum
from typing import Any, TypeAlias

from venturalitica_agent.domain.metric import ALIASES, METRICS, MetricSpec, Need
from venturalitica_agent.domain.policy import Control, DecideOn, Enforcement, EvaluateWith, Op, Outcome, Split
from venturalitica_agent.domain.retention import DAY, LENGTH
from venturalitica_agent.policy import rules, stress_keys
from venturalitica_agent.policy.own_keys import COMPARABLE, OWN_KEYS, may_have, must_have, on_evaluation_only
from venturalitica_agent.policy.rules import SourceKind, may_have_reference, needs_predictions
from venturalitica_agent.policy.stress_keys import STRESS_KEYS
from venturalitica_agent.settings.selector import ENDED_STATUSES
from venturalitica_agent.strict_yaml import NUMBER

Schema: TypeAlias = dict[str, Any]

_NOT_KEYS = {"skip", "line", "crossed_with"}  # made by the loader; the crossed roles are written in `role`
_REQUIRED = ("id", "metric", "require")


def policy_schema() -> Schema:
    """The schema (draft 7, which every editor knows) of a native policy document."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Policy",
        "description": "Which rules a training run is held to, with which thresholds, and whose they are.",
        "type": "object",
        "additionalProperties": False,
        "required": ["policy", "version", "controls"],
        "properties": {
            "$schema": {"description": "Where this schema lies; for editors."},
            "policy": _name(rules.POLICY_ID, "Its id. Small letters, digits, dots, underscores, hyphens."),
            "version": _name(rules.VERSION, "Raise it with every change."),
            "title": _line("One line that says what the policy is for."),
            "law": _map("Which legal text the policy serves.", text=_line("Its name."), consolidated=_day()),
            "applies_to": _selector(),
            "evaluate_with": _choice(EvaluateWith, "Which version decides about a run: of its start, or the latest."),
            "on_change": _on_change(),
            "retain": {
                "type": "string",
                "pattern": f"^({LENGTH}|{DAY})$",
                "description": "How long evidence has to be kept: 10 years, 6 months, 90 days, or the last day.",
            },
            "controls": {"type": "array", "minItems": 1, "items": _control()},
        },
    }


def schema_text() -> str:
    """The schema as it is shipped."""
    return json.dumps(policy_schema(), indent=2, ensure_ascii=False) + "\n"


def _control() -> Schema:
    keys: dict[str, Schema] = {
        "id": _text(rules.LONGEST_ID, "Unique in the policy, without spaces and commas.", _without(r"[\s,]")),
        "metric": {"enum": [*METRICS, *ALIASES], "description": "What is measured; docs/metrics.md explains each."},
        "require": {
            "type": "string",
            "pattern": _requirement(Op),
            "description": 'An operator and a number in quotes, such as ">= 0.80".',
        },
        "article": _line("Article and paragraph that the control serves."),
        "title": _line("One line that says what the control asks."),
        "role": _one_or_more(_role("The group role that is compared; a list compares the intersections."), unique=True),
        "on": _choice(Split, "Which data."),
        "of": _choice(Outcome, "What was recorded, or what the model decides."),
        "target": _role("The role of the truth; default: target."),
        "prediction": _role("The role of the prediction; default: prediction."),
        "decide_on": _choice(DecideOn, "On the whole interval, or on the measured value alone."),
        "enforcement": _choice(Enforcement, "What a violation does to the run: fail, warn, or nothing."),
        "severity": {"enum": list(rules.SEVERITIES), "description": "Shown; it changes no verdict."},
        "min_group": {
            "type": "integer",
            "minimum": rules.MIN_GROUP[0],
            "maximum": rules.MIN_GROUP[1],
            "description": "A group with fewer rows is listed, not compared, and the control is inconclusive.",
        },
        "level": {
            "type": "number",
            "minimum": rules.LEVEL[0],
            "maximum": rules.LEVEL[1],
            "description": "Level of the interval.",
        },
        "reference": _role(
            "The group that the others are compared with, or largest: the one with most rows; without it, every pair."
        ),
        "source": _map(
            "Where the threshold comes from.",
            required=("kind",),
            kind=_choice(SourceKind, "house is your own choice."),
            ref=_line("The reference, or who decided and when."),
        ),
        "risk": _line("Id of the risk in your register."),
        "columns": _one_or_more(_role("Columns that identify, or that make a row; a list."), unique=True),
        "sensitive": _role("The column that the others must not give away."),
        "shares": _shares(),
        **{
            name: {"type": "number", "minimum": key.low, "maximum": key.high, "description": key.what}
            for name, key in STRESS_KEYS.items()
        },
        "logged": _line("Name of the number that the training run logged."),
        "of_metric": {"enum": _named(METRICS[name] for name in COMPARABLE), "description": "What was logged."},
    }
    names = [field.name for field in fields(Control) if field.name not in _NOT_KEYS]
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(_REQUIRED),
        "properties": {name: keys[name] for name in names},
        "allOf": _by_metric(),
    }


def _by_metric() -> list[Schema]:
    """What the metric says of the other keys of its control."""
    rising = (Op.GT, Op.GE, Op.EQ, Op.NE)
    falling = (Op.LT, Op.LE, Op.EQ, Op.NE)
    grouped = _named(spec for spec in METRICS.values() if Need.GROUPS in spec.needs)
    of_model = _named(spec for spec in METRICS.values() if needs_predictions(spec))
    of_neither = _named(
        spec for spec in METRICS.values() if not needs_predictions(spec) and Need.OUTCOME not in spec.needs
    )
    no_reference = _named(spec for spec in METRICS.values() if not may_have_reference(spec))
    return [
        {"if": _is(grouped), "then": {"required": ["role"]}},
        {"if": _is(_all_but(grouped)), "then": {"properties": {"role": False}}},
        {"if": _is(no_reference), "then": {"properties": {"reference": False}}},
        *(
            {
                "if": _is(_named(spec for spec in METRICS.values() if spec.better == better)),
                "then": {"properties": {"require": {"pattern": _requirement(ops)}}},
            }
            for better, ops in (("higher", rising), ("lower", falling))
        ),
        {"if": _is(of_model), "then": {"properties": {"of": {"const": Outcome.PREDICTIONS.value}}}},
        {"if": _is(of_neither), "then": {"properties": {"of": {"const": Outcome.LABELS.value}}}},
        *_by_own_keys(),
        *(
            {
                "if": _is(_named(spec for spec in METRICS.values() if not stress_keys.may_have(spec, name))),
                "then": {"properties": {name: False}},
            }
            for name in STRESS_KEYS
        ),
    ]


def _by_own_keys() -> list[Schema]:
    """Which metrics must have, and which may not have, the keys that only some know."""
    found: list[Schema] = []
    for key in OWN_KEYS:
        must = _named(spec for spec in METRICS.values() if must_have(spec, key))
        never = _named(spec for spec in METRICS.values() if not may_have(spec, key))
        found += [
            {"if": _is(must), "then": {"required": [key]}},
            {"if": _is(never), "then": {"properties": {key: False}}},
        ]
    whole = _named(spec for spec in METRICS.values() if on_evaluation_only(spec))
    return [*found, {"if": _is(whole), "then": {"properties": {"on": {"const": Split.EVALUATION.value}}}}]


def _shares() -> Schema:
    share = {"type": "number", "minimum": 0, "maximum": 1}
    return {
        "type": "object",
        "minProperties": 1,
        "propertyNames": {
            "pattern": r"\S",
            "maxLength": rules.LONGEST_ROLE,
            **_without(r"[\u0000-\u001f\u007f-\u009f]"),
        },
        "additionalProperties": share,
        "description": "Share of each group, 0 to 1; together they are 1.",
    }


def _named(specs: Iterable[MetricSpec]) -> list[str]:
    """The names of these metrics, with their aliases."""
    names = {spec.name for spec in specs}
    return [name for name in (*METRICS, *ALIASES) if ALIASES.get(name, name) in names]


def _all_but(names: list[str]) -> list[str]:
    return [name for name in (*METRICS, *ALIASES) if name not in names]


def _is(metrics: list[str]) -> Schema:
    return {"required": ["metric"], "properties": {"metric": {"enum": metrics}}}


def _requirement(ops: Iterable[Op]) -> str:
    """The pattern of a requirement with one of these operators, in any of their spellings and cases."""
    wanted = set(ops)
    spellings = [spelling for spelling, op in rules.OPERATORS.items() if op in wanted]
    written = "|".join("".join(f"[{c}{c.upper()}]" if c.isalpha() else c for c in word) for word in spellings)
    return rf"^\s*({written})\s*({NUMBER})\s*$"


def _on_change() -> Schema:
    words = [word.value for word in rules.OnChange]
    time = {"type": "string", "pattern": f"^{rules.SINCE}$", "description": "A time such as 30d."}
    since = _map("Runs that started so long before it.", required=("re-audit-since",), **{"re-audit-since": time})
    return {"anyOf": [{"enum": words}, since], "description": "What a new version does to earlier runs."}


def _selector() -> Schema:
    any_value = {"type": ["string", "number", "boolean", "null"]}
    return _map(
        "Which runs, where agent.yaml has no audits.",
        experiment=_line("Pattern for the experiment's name."),
        tags={"type": "object", "additionalProperties": any_value, "description": "Tags that a run must carry."},
        status=_one_or_more({"enum": list(ENDED_STATUSES), "description": "How the run ended."}),
    )


def _map(description: str, *, required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    schema: Schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "description": description,
    }
    return schema | {"required": list(required)} if required else schema


def _one_or_more(item: Schema, *, unique: bool = False) -> Schema:
    """One value, or a list of them."""
    bare = {key: value for key, value in item.items() if key != "description"}
    several: Schema = {"type": "array", "minItems": 1, "items": bare}
    return {"anyOf": [item, several | {"uniqueItems": True} if unique else several]}


def _choice(options: type[StrEnum], description: str) -> Schema:
    return {"enum": [option.value for option in options], "description": description}


def _text(longest: int, description: str, *more: Schema) -> Schema:
    """Any single value that isn't blank, for the loader reads it as the text that was written."""
    return {
        "type": ["string", "number", "boolean"],
        "pattern": r"\S",
        "maxLength": longest,
        "allOf": [_without(r"[\u0000-\u001f\u007f-\u009f]"), *more],  # control characters
        "description": description,
    }


def _without(characters: str) -> Schema:
    # `pattern` alone holds for every number, so without the type `not` would refuse them all.
    return {"not": {"type": "string", "pattern": characters}}


def _line(description: str) -> Schema:
    return _text(rules.LONGEST_LINE, description)


def _role(description: str) -> Schema:
    return _text(rules.LONGEST_ROLE, description)


def _name(pattern: str, description: str) -> Schema:
    """Text of a pattern. A number such as 1.10 is one to an editor, and text to the loader."""
    types = ["string", "number", "boolean"]
    return {"type": types, "minimum": 0, "pattern": f"^{pattern}$", "description": description}


def _day() -> Schema:
    described = "The date of the version that you read, such as 2026-07-27."
    return {"type": "string", "pattern": f"^{DAY}$", "format": "date", "description": described}
