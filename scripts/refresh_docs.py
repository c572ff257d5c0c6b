"""Brings the parts of the documentation that follow from the code up to date: docs/metrics.md, and every `--help` text
that a page quotes. A test fails until this has been run:

    .venv/bin/python scripts/refresh_docs.py
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from venturalitica_agent.domain.metric import ALIASES, METRICS, MetricSpec, Need

ROOT = Path(__file__).resolve().parent.parent
_HELP = re.compile(r"(```text\n\$ venturalitica-agent ([a-z ]*)--help\n).*?```", re.DOTALL)

_GAP = "Newcombe score difference"
_RATIO = "Katz log ratio; MOVER ratio of Wilson intervals where a count is under 5"

# What `Measurement.interval.method` starts with (or, for ratios, is one of), metric by metric.
INTERVALS = {
    "accuracy": "Wilson score",
    "precision": "Wilson score",
    "recall": "Wilson score",
    "f1": "Wilson score of TP/(TP+FP+FN), transformed",
    "roc_auc": "DeLong; Wilson score at the rarer class's n where the scores are perfect or constant",
    "disparate_impact": _RATIO,
    "demographic_parity_diff": _GAP,
    "equal_opportunity_diff": _GAP,
    "equalized_odds_diff": _GAP,
    "equalized_odds_ratio": _RATIO,
    "predictive_parity": _GAP,
    "class_imbalance": "Wilson score of the share, as odds",
    "data_completeness": "exact count of this table",
    "min_group_n": "exact count of this table",
}

_HEAD = """# Metrics

<!-- Written by scripts/refresh_docs.py from the declarations in the code. Do not edit by hand. -->

What this version measures. The name goes into `metric:` of a control ([policies.md](policies.md)). Any other name is an
error with the nearest known one; nothing is skipped. The same name always has the meaning given by the formula source:
values equal those of scikit-learn and fairlearn to 1e-12 on the data that the tests generate.
"""

_NEEDS = """## What the needs mean

| need | must be there, or the control is `error` |
|---|---|
| labels | the role `target`, bound to a column: the true classes |
| predictions | the predicted classes: the model's answer, or a column bound to the role `prediction` |
| outcome | labels or predictions, as the control's `of` says |
| scores | the model's probability of the positive class, or a column bound to the role `score` |
| groups | the control's `role`, bound to a column |
| cells | the table itself: which cells are missing |
| positive class | `positive:` of the `target` column in agent.yaml. Without it only 0/1, \
false/true and "0"/"1" have one; anything else is not guessed |
"""

_INTERVALS = """## Intervals

The level is 95 % unless the control says `level:`. All intervals are closed forms: no random numbers, the same answer
every time.

- **Wilson score**: Wilson, JASA 22 (1927). **Newcombe**: Newcombe, Statistics in Medicine 17 (1998) 873, method 10.
- **Katz log ratio**: Katz et al., Biometrics 34 (1978) 469. Where a count is under 5 its normal approximation is not
  used, and the ratio's interval is made from the two Wilson intervals (**MOVER**).
- **DeLong**: the variance of the area under the ROC curve from its placement values.
- **More than two groups** (or two rates, as in equalized odds): each pair gets an interval of level 1 − 0.05/m, for m
  pairs (Bonferroni). They all hold at once with at least 95 %, so the widest gap is covered whichever pair it is.
- **Exact count of this table**: completeness and group sizes describe the table that was audited. They are not
  estimates, so their interval is one point.

An interval covers the chance of drawing these rows. It does not cover a table that is unlike the people the system will
meet, and it is not corrected for the number of controls in a policy.
"""

_ALIASES = """## Names of the Venturalítica SDK

These keys of SDK policies mean the same and are accepted:

| SDK key | here |
|---|---|
"""

_DIFFERENT = """
These do not mean the same, or are not measured yet, and are refused with a sentence:

- `equalized_odds_ratio` in an SDK file. There it is the sum of the two gaps (0 to 2), not a ratio. Write
  `equalized_odds_diff` (the larger gap, 0 to 1) and review the threshold. In our own policy shape
  `equalized_odds_ratio` is fairlearn's ratio.
- `k_anonymity`, `l_diversity`, `t_closeness`, `data_minimization`, `group_min_positive_rate`, the multiclass
  families and the score aggregates: not yet.

Two more differences, for who compares numbers: the SDK drops groups of fewer than 5 rows and answers 1.0 where a
disparate impact cannot be computed. Here a group under `min_group` makes the control `inconclusive`, and what cannot be
computed is `error`.
"""


def metrics_page() -> str:
    """The whole of docs/metrics.md."""
    rows = ["| metric | what it is | range | better | needs | formula |", "|---|---|---|---|---|---|"]
    rows += [_row(spec) for spec in METRICS.values()]
    methods = ["| metric | interval |", "|---|---|"]
    methods += [f"| `{name}` | {INTERVALS[name]} |" for name in METRICS]
    aliases = [f"| `{key}` | `{name}` |" for key, name in ALIASES.items()]
    parts = ["\n".join(rows) + "\n", _NEEDS, _INTERVALS, "\n".join(methods) + "\n"]
    return "\n".join([_HEAD, *parts, _ALIASES + "\n".join(aliases) + "\n" + _DIFFERENT])


def _row(spec: MetricSpec) -> str:
    span = f"{spec.low:g} and up" if spec.high == float("inf") else f"{spec.low:g} to {spec.high:g}"
    if spec.name == "disparate_impact":
        span = "0 to 1; with `reference:` it may exceed 1"
    needs = [need.value for need in Need if need in spec.needs] + ["positive class"] * spec.positive
    formula = f"`{spec.source}`" if "." in spec.source else spec.source
    return f"| `{spec.name}` | {spec.title} | {span} | {spec.better} | {', '.join(needs)} | {formula} |"


def with_help(markdown: str) -> str:
    """A page with every block that starts with `$ venturalitica-agent … --help` holding the real output."""
    return _HELP.sub(lambda found: f"{found[1]}{help_text(found[2].split())}```", markdown)


def help_text(words: list[str]) -> str:
    """What `venturalitica-agent <words> --help` prints."""
    program = Path(sys.executable).with_name("venturalitica-agent")
    environment = os.environ | {"COLUMNS": "80"}
    return subprocess.run(
        [program, *words, "--help"], env=environment, capture_output=True, text=True, check=True
    ).stdout


def main() -> None:
    (ROOT / "docs" / "metrics.md").write_text(metrics_page(), encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        before = path.read_text(encoding="utf-8")
        after = with_help(before)
        if after != before:
            path.write_text(after, encoding="utf-8")


if __name__ == "__main__":
    main()
