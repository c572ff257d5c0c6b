"""Brings up to date what follows from the code: docs/metrics.md, every `--help` text that a page quotes, and the JSON
Schema of policies. A test fails until this has been run:

    .venv/bin/python scripts/refresh_docs.py
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from venturalitica_agent.domain.metric import ALIASES, METRICS, MetricSpec, Need
from venturalitica_agent.policy.json_schema import schema_text

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = ROOT / "agent" / "venturalitica_agent" / "policy" / "policy.schema.json"
_HELP = re.compile(r"(```text\n\$ venturalitica-agent ([a-z ]*)--help\n).*?```", re.DOTALL)

_GAP = "Newcombe score difference"
_RATIO = "Katz log ratio; MOVER ratio of Wilson intervals where a count is under 5"

_TABLE = "delta method, Student on the logit scale"
_RANKS = "Student, on the logit scale; Wilson score at the rarer class's n where the scores are perfect or constant"
_MEAN = (
    "Student, on the logit scale of the share of the bound; where all rows are alike, the Wilson score of that share"
)
_FREE = "Student; none where all rows are alike, so that nothing is decided"

# What `Measurement.interval.method` starts with (or, for ratios, is one of), metric by metric.
INTERVALS = {
    "accuracy": "Wilson score",
    "balanced_accuracy": _TABLE,
    "precision": "Wilson score",
    "recall": "Wilson score",
    "f1": "Wilson score of TP/(TP+FP+FN), transformed",
    "f1_macro": _TABLE,
    "f1_weighted": _TABLE,
    "mcc": _TABLE,
    "roc_auc": _RANKS,
    "roc_auc_ovr": _RANKS,
    "average_precision": _RANKS,
    "brier": _MEAN,
    "log_loss": _MEAN,
    "ece": "simulated distance of the bins",
    "mae": _FREE,
    "rmse": _FREE,
    "r2": "delta method on log(1 − R²); none where no residual is left, so that nothing is decided",
    "abs_mean_residual": _FREE,
    "mae_diff": "MOVER difference, Student",
    "mae_ratio": "MOVER ratio, Student",
    "mean_residual_diff": "MOVER difference, Student",
    "disparate_impact": _RATIO,
    "demographic_parity_diff": _GAP,
    "equal_opportunity_diff": _GAP,
    "equalized_odds_diff": _GAP,
    "equalized_odds_ratio": _RATIO,
    "predictive_parity": _GAP,
    "false_positive_rate_diff": _GAP,
    "false_negative_rate_diff": _GAP,
    "demographic_parity_diff_ovr": _GAP,
    "equal_opportunity_diff_ovr": _GAP,
    "ece_diff": "MOVER difference, simulated distance of the bins",
    "worst_group_accuracy": "Wilson score",
    "worst_group_precision": "Wilson score",
    "worst_group_recall": "Wilson score",
    "worst_group_f1": "Wilson score of TP/(TP+FP+FN), transformed",
    "worst_group_selection_rate": "Wilson score",
    "worst_group_false_positive_rate": "Wilson score",
    "worst_group_false_negative_rate": "Wilson score",
    "class_imbalance": "Wilson score of the share, as odds",
    "minority_share": "Wilson score",
    "data_completeness": "exact count of this table",
    "min_group_n": "exact count of this table",
    "representation_gap": "distances of the Wilson score from the declared shares",
    "duplicate_rows": "exact count of this table",
    "split_overlap": "exact count of this table",
    "schema_match": "exact count of this table",
    "k_anonymity": "exact count of this table",
    "l_diversity": "exact count of this table",
    "t_closeness": "exact count of this table",
    "declared_difference": "Wilson score; in general that of `of_metric`, as distances from the logged value",
    "declared_shortfall": "Wilson score; in general that of `of_metric`, less the logged value",
    "evidence_completeness": "exact count of the parts",
    "policy_predates_run": "comparison of two times",
    "flip_rate_noise": "Wilson score",
    "flip_rate_missing": "Wilson score",
}

_HEAD = """# Metrics

<!-- Written by scripts/refresh_docs.py from the declarations in the code. Do not edit by hand. -->

What this version measures. The name goes into `metric:` of a control ([policies.md](policies.md)). Any other name is an
error with the nearest known one; nothing is skipped. The same name always has the meaning given by the formula source:
values equal those of scikit-learn and fairlearn to 1e-12 on the data that the tests generate. A package of yours can
bring more: [metrics-of-your-own.md](metrics-of-your-own.md).
"""

_NEEDS = """## What the needs mean

| need | must be there, or the control is `error` |
|---|---|
| labels | the role `target`, bound to a column: the true classes |
| predictions | the predicted classes: the model's answer, or a column bound to the role `prediction` |
| outcome | labels or predictions, as the control's `of` says |
| scores | the model's probability of the positive class, or a column bound to the role `score` |
| probabilities | the model's probability of every class; for two classes a column bound to the role `score` will do |
| true quantities | the role `target`, bound to a column of finite numbers |
| predicted quantities | the answer of a regression model, or a column of numbers bound to the role `prediction` |
| groups | the control's `role`, bound to a column; of a list of roles, each bound to one |
| cells | the table itself: which cells are missing |
| rows | the rows of the table. Cells are equal when their values are (1 is 1.0, missing is missing). A row is every \
column, or the control's `columns` |
| both splits | evaluation and training data with columns of the same names |
| quasi-identifiers | the control's `columns`: roles bound to a column, or names of columns. Their values count, never \
groups or bands of agent.yaml; a missing value is a value of its own |
| sensitive column | the control's `sensitive`, a role or the name of a column |
| declared shares | the control's `shares`, group by group; they add up to 1 |
| logged value | the number that the run logged under the control's `logged`, inside the range of `of_metric`; and \
what `of_metric` itself needs |
| signature | the signature of the logged model, with named input columns |
| record of versions | when the run started, as its store says: the clock of whoever trained. Since when the version \
is on record is the agent's own clock ([policies.md](policies.md#version-it)) |
| parts of the audit | other controls in the policy: what they look at are the parts |
| answers under noise, answers with missing values | a model that answers when it is asked again about disturbed rows |
| positive class | `positive:` of the `target` column in agent.yaml. Without it only 0/1, \
false/true and "0"/"1" have one; anything else is not guessed |
"""

_GROUPS = """## Groups

People without a value in a group column are a group of their own, `(missing)`; values that no declared group holds are
`(other)`. A group under `min_group` is never a reference and never compared: it is listed, and the control is
`inconclusive`.

**Which groups are compared.** Without `reference:` every pair is, and the value is the widest gap, as fairlearn's. With
`reference: male` each group is compared with that one; a `disparate_impact` is then group / reference and may exceed 1.
With `reference: largest` each is compared with the group that has most rows (of equal ones the first by name; never
`(missing)` or `(other)` while there is another). Nobody said that it is the favoured one, so what is to its
disadvantage counts as well, and the ratio is at most 1.

**Intersections.** `role: [gender, age]` compares every combination of the groups of both roles, by the same rules,
also a combination that no row has: it is then listed with n=0 and the control is `inconclusive`. Who is missing in one
role is `(missing)` in the intersection. More than 200 combinations are refused.
"""

_STRESS = """## Disturbed numbers

`flip_rate_noise` and `flip_rate_missing` ask the model again, in the sandbox, about the same rows with other numbers,
and count the rows whose prediction is another one. At most 10,000 rows are asked again, drawn from a larger table.

- **Noise** is Gaussian, with `noise:` (0.05 unless the control says it) standard deviations of the column, and stays in
  the range that the column has. Whole numbers stay whole: they are rounded up or down by chance, in proportion to the
  fraction, so that the mean size of the change stays that of the noise. A column of two values is a category, and is
  left as it is.
- **Missing**: each number goes missing with the chance `missing:` (0.05). A model that refuses missing values has no
  such rate: the control is `error`, with what the model said.
- Text, booleans, dates and categories are not touched. Where no number could be disturbed, the control is `error`.
- A predicted quantity counts as changed when it moves by more than `tolerance:` (0.1) standard deviations of the
  predictions.
- The seed follows from the data's SHA-256 and the control's sizes, and is in the evidence: the same audit disturbs the
  same cells.
"""

_INTERVALS = """## Intervals

The level is 95 % unless the control says `level:`. Nearly all intervals are closed forms. That of `ece` is
drawn, with a fixed seed that is in the evidence. So the answer is the same every time. A test simulates samples of 100
rows a group and more, with rates from 0.1 to 0.9: the 95 % intervals of proportions, differences and ratios cover the
truth in 93 to 97 % of them. Those of ranks, probabilities and tables of classes cover it in 93 % or more: of good
models in up to 99 %, where few rows are wrong, and of `ece`, whose interval is cautious by its making, in up to 100 %.
`python -m tests.benchmarks coverage` counts it anew.

- **Wilson score**: Wilson, JASA 22 (1927). **Newcombe**: Newcombe, Statistics in Medicine 17 (1998) 873, method 10.
- **Katz log ratio**: Katz et al., Biometrics 34 (1978) 469. Where a count is under 5 its normal approximation is not
  used, and the ratio's interval is made from the two Wilson intervals (**MOVER**).
- **Student, on the logit scale**: what is near 0 or 1 is far from normal, and its logit much less so. The variance of
  the area under the ROC curve is DeLong's, from its placement values; for several classes that of a row's mean
  placement over all curves; that of the average precision follows from each row's influence on it. Where few rows are
  out of order the variance says too little: it is never taken to be under that of a proportion of 8 times the rows of
  the rarer class, or of 2 times the positives for the average precision.
- **MOVER** makes the interval of a sum, difference or ratio of independent parts from those of the parts: Zou & Donner,
  Statistics in Medicine 27 (2008) 1693.
- **Delta method**: the variance of a score of the table of labels by predictions follows from how much each cell adds
  to it. To the rows seen come two that were not, one right and one wrong, so a table without a mistake is not taken for
  proof that there are none.
- **Student**: of a mean over rows. A mean of rows that are all alike has no known spread, so it decides nothing. A
  regression without any error is then `inconclusive`, and a note asks whether the target is among the inputs.
- **Simulated distance of the bins**: a calibration error found is over 0 by chance alone. The interval reaches as far
  down (and up) as that chance does at 95 %, so a calibrated model's interval begins at 0.
- **More than two groups** (or two rates, as in equalized odds): each pair gets an interval of level 1 − 0.05/m, for m
  pairs (Bonferroni). They all hold at once with at least 95 %, so the widest gap is covered whichever pair it is.
- **Holm**: controls of one policy on the same table with the same article and the same group roles are one family, if
  they are decided on an interval and not only reported. With m of them open each is asked at level 1 − 0.05/m; those
  decided leave, and the others are asked again as a smaller family. The level used stands beside the interval, and a
  note says why.
- **The worst group**: each of m groups gets an interval of level 1 − 0.05/m, so the lowest rate is covered whichever
  group has it.
- **One class against the rest** (`_ovr`): the classes are one family with the pairs of groups; m counts them all.
- **Few rows**: where one of the two groups that make a gap of rates has under 30 rows behind its rate, a note tells the
  two-sided p of Fisher's exact test of no difference. The interval decides all the same.
- **Exact count of this table**: completeness, group sizes, repeated rows, overlap, columns that fit, and privacy
  describe the tables that were audited. They are not estimates, so their interval is one point. The parts of an audit
  are counted, too.
- **Distances**: a declared share and a logged number are constants. The interval holds the distances from that constant
  to all points of the measurement's own interval, so it begins at 0 where that interval covers the constant. A
  shortfall has a sign: it is under 0 where the measurement is better than the logged number.

An interval covers the chance of drawing these rows. It does not cover a table that is unlike the people the system will
meet. Controls of different articles or roles are different questions, and not corrected for each other.
"""

_ALIASES = """## Other names

These keys of the Venturalítica SDK, scikit-learn and fairlearn mean the same and are accepted:

| key | here |
|---|---|
"""

_DIFFERENT = """
These do not mean the same, or are not measured yet, and are refused with a sentence:

- `equalized_odds_ratio` in an SDK file. There it is the sum of the two gaps (0 to 2), not a ratio. Write
  `equalized_odds_diff` (the larger gap, 0 to 1) and review the threshold. In our own policy shape
  `equalized_odds_ratio` is fairlearn's ratio.
- `data_minimization`, `group_min_positive_rate`, the SDK's multiclass families and its score aggregates: not yet. See
  `worst_group_selection_rate` and the metrics that end in `_ovr`.

Three more differences, for who compares numbers. The SDK drops groups of fewer than 5 rows and answers 1.0 where a
disparate impact cannot be computed. Here a group under `min_group` makes the control `inconclusive`, and what cannot be
computed is `error`. In its privacy metrics the SDK leaves out rows that miss a quasi-identifier; here a missing value
is a value like any other.
"""


def metrics_page() -> str:
    """The whole of docs/metrics.md."""
    rows = ["| metric | what it is | range | better | needs | formula |", "|---|---|---|---|---|---|"]
    rows += [_row(spec) for spec in METRICS.values()]
    methods = ["| metric | interval |", "|---|---|"]
    methods += [f"| `{name}` | {INTERVALS[name]} |" for name in METRICS]
    aliases = [f"| `{key}` | `{name}` |" for key, name in ALIASES.items()]
    parts = ["\n".join(rows) + "\n", _NEEDS, _GROUPS, _STRESS, _INTERVALS, "\n".join(methods) + "\n"]
    return "\n".join([_HEAD, *parts, _ALIASES + "\n".join(aliases) + "\n" + _DIFFERENT])


def _row(spec: MetricSpec) -> str:
    infinite = float("inf")
    span = f"{spec.low:g} and up" if spec.high == infinite else f"{spec.low:g} to {spec.high:g}"
    if spec.low == -infinite:
        span = f"up to {spec.high:g}"
    if spec.name == "disparate_impact":
        span = "0 to 1; with `reference:` it may exceed 1"
    needs = [need.value for need in Need if need in spec.needs] + ["positive class"] * spec.positive
    formula = f"`{spec.source}`" if spec.source.startswith(("sklearn", "fairlearn")) else spec.source
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
    SCHEMA.write_text(schema_text(), encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        before = path.read_text(encoding="utf-8")
        after = with_help(before)
        if after != before:
            path.write_text(after, encoding="utf-8")


if __name__ == "__main__":
    main()
