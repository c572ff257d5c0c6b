"""What examples/prometheus and examples/grafana ask for must be what `/metrics` gives."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from venturalitica_agent.web.metrics import METRICS

EXAMPLES = Path(__file__).parents[3] / "examples"
RULES = EXAMPLES / "prometheus" / "alerts.yaml"
DASHBOARD = EXAMPLES / "grafana" / "dashboard.json"


def family_of(name: str) -> str:
    """What `/metrics` lists the samples of this name under."""
    histogram = re.sub("_(bucket|sum|count)$", "", name)
    return histogram if METRICS.get(histogram, ("", ""))[1].startswith("Histogram") else name


def assert_given(expression: str, text: str = "") -> None:
    """The expression names metrics that exist, and it and the text that shows its result name labels they have."""
    names = re.findall(r"venturalitica_\w+", expression)
    assert names, expression
    families = {name: family_of(name) for name in names}
    assert set(families.values()) <= set(METRICS), expression
    labels = {label for family in families.values() for label in METRICS[family][0].split(", ")}
    labels |= {"le"} if set(families) - set(families.values()) else set()
    asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|(?<!=)=(?!=))\s*\"", expression))
    asked |= {label for by in re.findall(r"by \(([^)]*)\)", expression) for label in by.split(", ")}
    asked |= set(re.findall(r"\$labels\.(\w+)", text)) | set(re.findall(r"{{(\w+)}}", text))
    assert asked <= labels, (expression, asked - labels)


def test_every_alert_rule_has_its_fields_and_asks_for_what_exists() -> None:
    rules = [rule for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) > 0
    for rule in rules:
        assert (
            {"alert", "expr", "labels", "annotations"} <= set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        )
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s"))
        assert set(rule["annotations"]) == {"summary", "description"}
        assert_given(rule["expr"], rule["annotations"]["summary"] + rule["annotations"]["description"])


def test_every_panel_of_the_dashboard_asks_for_what_exists() -> None:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 0
    for panel in panels:
        for target in panel["targets"]:
            assert_given(target["expr"], target["legendFormat"])
