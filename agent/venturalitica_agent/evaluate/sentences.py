"""What a finding says to a data scientist: what was seen, in which groups, how sure, and what would change it.

Names of groups and classes stand here as they are in the data: untrusted text, to be escaped where it is shown.
"""

from __future__ import annotations

import math

from venturalitica_agent.domain.metric import METRICS, Form
from venturalitica_agent.domain.policy import LARGEST, Control, DecideOn, Op
from venturalitica_agent.domain.verdict import GroupStat, Interval, Measurement, Status, Unmeasured, Waived
from venturalitica_agent.evaluate.grouping import MISSING_GROUP, OTHER_GROUP

_ERRORS = ("false positive rate", "false negative rate", "mean absolute error", "calibration error")
"""Rates of which less is better: it is the higher that has to come down."""
_UNDIRECTED = ("mean residual",)
_LISTED = 6
_TOLD_IN_A_NOTE = (
    "duplicate_rows", "split_overlap", "schema_match", "k_anonymity", "l_diversity", "declared_difference",
    "declared_shortfall", "evidence_completeness",
)  # fmt: skip
"""Metrics whose first note says what the number is made of."""


def of(control: Control, measurement: Measurement, status: Status) -> str:
    """The whole story of one measured control, ending with what to do unless it passed."""
    if status is Status.ERROR:
        return f"The value of {_title(control)} is not a finite number ({measurement.value}), so nothing is decided."
    seen = _seen(control, measurement)
    sure = _interval(measurement.interval, control.require.threshold)
    sentence = f"{seen}{sure}; required {control.require}: {status.value}."
    return " ".join(part for part in (sentence, _why(control, measurement, status)) if part) + _then(
        remedy(control, measurement, status)
    )


def remedy(control: Control, measurement: Measurement, status: Status) -> str:
    """What would change the outcome; empty when it passed or nothing is known to."""
    if status is Status.INCONCLUSIVE:
        return " ".join(part for part in (_unknown_groups(control, measurement), _more_rows(measurement)) if part)
    if status in (Status.FAIL, Status.WARN):
        return _rate_to_reach(control, measurement)
    return ""


def not_measured(control: Control, result: Unmeasured) -> str:
    """Why there is no number, and what to do."""
    return f"{_title(control)} was not evaluated: {result.reason}." + _then(
        f"What to do: {result.remedy}." if result.remedy else ""
    )


def waived(waiver: Waived, status: Status) -> str:
    """What stands before the sentence of a waived finding: who answers for it, and what it would be."""
    would = {Status.FAIL: "fail", Status.WARN: "warn", Status.ERROR: "be an error"}.get(status, f"be {status.value}")
    return f"Waived until {waiver.expires} by {waiver.owner}: {waiver.reason}. Would {would}: "


def number(value: float, threshold: float | None = None, digits: int = 3) -> str:
    """A value with at least `digits` decimals, and with as many as show on which side of `threshold` it is."""
    if not math.isfinite(value):
        return "unbounded" if value > 0 else str(value)
    for decimals in range(digits, 17):
        text = f"{value:.{decimals}f}"
        if threshold is None or _side(float(text), threshold) == _side(value, threshold):
            return text
    return repr(value)


def _side(value: float, threshold: float) -> int:
    return (value > threshold) - (value < threshold)


def _then(text: str) -> str:
    return f" {text}" if text else ""


def _title(control: Control) -> str:
    spec = METRICS.get(control.metric)
    return spec.title if spec is not None else control.metric


def _stat(measurement: Measurement, name: str) -> GroupStat:
    return next(group for group in measurement.groups if group.group == name)


def _seen(control: Control, measurement: Measurement) -> str:
    value = number(measurement.value, control.require.threshold)
    if measurement.extremes is None:
        told = f": {measurement.notes[0]}" if control.metric in _TOLD_IN_A_NOTE and measurement.notes else ""
        return f"{_title(control)} is {value} (n={measurement.n}{told})"
    low, high = measurement.extremes
    if control.metric == "min_group_n":
        return f"Smallest group of {control.role_name} is {low} with {measurement.value:.0f} rows"
    if control.metric == "representation_gap":
        share, declared = number(_stat(measurement, low).value or 0.0), number(control.shares.get(low, 0.0))
        return f"Share of {low} is {share} (n={measurement.n}), declared {declared}: gap {value}"
    if not measurement.rate:
        return f"Ratio of the rarest class ({low}) to the commonest ({high}) is {value} (n={measurement.n})"
    first, second = _stat(measurement, low), _stat(measurement, high)
    rate = measurement.rate[:1].upper() + measurement.rate[1:]
    form = METRICS[control.metric].form
    if form is Form.WORST:
        worst, which = (first, "lowest") if METRICS[control.metric].better == "higher" else (second, "highest")
        compared = sum(group.compared for group in measurement.groups)
        return f"{rate} of {worst.group} is {value} (n={_n(worst)}), the {which} of {compared} groups"
    return (
        f"{rate} of {low} is {number(first.value or 0.0)} (n={_n(first)}), "
        f"of {high} {number(second.value or 0.0)} (n={_n(second)}): {form.value} {value}"
    ) + _against(control, measurement)


def _against(control: Control, measurement: Measurement) -> str:
    """Which group the policy's word for the largest one came to mean."""
    return f" to {measurement.reference}, the largest group" if control.reference == LARGEST else ""


def _n(stat: GroupStat) -> int:
    return stat.n if stat.denominator is None else stat.denominator


def _interval(interval: Interval, threshold: float) -> str:
    if interval.low == interval.high:
        return f", {interval.method}"
    low, high = number(interval.low, threshold, 2), number(interval.high, threshold, 2)
    return f", {interval.level * 100:g} % interval {low}–{high}"


def _why(control: Control, measurement: Measurement, status: Status) -> str:
    reasons = []
    listed = _cut([f"{group.group} ({group.reason})" for group in measurement.groups if not group.compared], ", ")
    if status is Status.INCONCLUSIVE and listed:
        reasons.append(f"Could not be compared: {listed}.")
    elif status is Status.INCONCLUSIVE:
        reasons.append("The interval does not lie on one side of the threshold, so these data do not decide.")
    elif listed:
        reasons.append(f"Not compared: {listed}.")
    sampled = measurement.interval.low < measurement.interval.high
    if control.decide_on is DecideOn.POINT and sampled and measurement.flip_rate is not None:
        reasons.append(
            "Decided on the value alone, as the policy asks; in "
            f"{measurement.flip_rate * 100:.0f} % of resamples the decision would be the other one."
        )
    return " ".join(reasons)


def _cut(parts: list[str], comma: str) -> str:
    return comma.join(parts[:_LISTED]) + (f"{comma}{len(parts) - _LISTED} others" if len(parts) > _LISTED else "")


def _more_rows(measurement: Measurement) -> str:
    wanted = [
        f"{more} more {'row' if more == 1 else 'rows'}{f' of group {group}' if group else ''}"
        for group, more in measurement.needed.items()
    ]
    return f"You would need about {_cut(wanted, ' and ')}." if wanted else ""


def _unknown_groups(control: Control, measurement: Measurement) -> str:
    small = measurement.small_groups
    advice = []
    if MISSING_GROUP in small:
        n = _stat(measurement, MISSING_GROUP).n
        advice.append(f"Fill in the missing values of {control.role_name} (n={n}).")
    if OTHER_GROUP in small:
        n = _stat(measurement, OTHER_GROUP).n
        advice.append(f"Declare a group for the other values of {control.role_name} (n={n}).")
    return " ".join(advice)


def _rate_to_reach(control: Control, measurement: Measurement) -> str:
    """The rate that the group worse off would need while the other stays, where less of a gap is required."""
    form = METRICS[control.metric].form
    if not measurement.rate or measurement.extremes is None or measurement.rate in _UNDIRECTED or form is Form.WORST:
        return ""
    low, high = measurement.extremes
    bottom, top = (_stat(measurement, name).value or 0.0 for name in (low, high))
    threshold = control.require.threshold
    asked = (Op.GE, Op.GT) if form is Form.RATIO else (Op.LE, Op.LT)
    if control.require.op not in asked:
        return ""
    if measurement.rate in _ERRORS:
        if form is Form.RATIO and not threshold:
            return ""
        goal = bottom / threshold if form is Form.RATIO else bottom + threshold
        less = "under" if control.require.op in (Op.GT, Op.LT) else "at most"
        return f"With {low} as it is, the {measurement.rate} of {high} would have to be {less} {number(goal)}."
    goal = top * threshold if form is Form.RATIO else top - threshold
    more = "over" if control.require.op in (Op.GT, Op.LT) else "at least"
    return f"With {high} as it is, the {measurement.rate} of {low} would have to be {more} {number(goal)}."
