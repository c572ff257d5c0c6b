"""From measurements to a verdict. Pure: anyone can judge the evidence again without the model and the data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from venturalitica_agent.domain.policy import Control, DecideOn, Enforcement, Policy
from venturalitica_agent.domain.verdict import (
    WAIVABLE,
    Finding,
    Measurement,
    Status,
    Unmeasured,
    Verdict,
    Waived,
    worst,
)
from venturalitica_agent.errors import PermanentError
from venturalitica_agent.evaluate import sentences
from venturalitica_agent.evaluate.decision import by_interval, by_point


def judge(
    policy: Policy,
    results: Sequence[Measurement | Unmeasured],
    observed: Sequence[Finding] = (),
    waivers: Mapping[str, Waived] | None = None,
) -> Verdict:
    """The verdict of `policy`: one finding for each of its controls, in its order, then what was `observed` besides.

    A control without a result is an `error`, unless the policy skips it. Controls whose enforcement is `report` keep
    their own outcome and never change the verdict's. What `waivers` has, by control, is `waived` unless it passed.

    Raises:
        PermanentError: when results don't belong to the policy, or two belong to one control.
    """
    by_control = {result.control: result for result in results}
    strangers = sorted(set(by_control) - {control.id for control in policy.controls})
    if strangers or len(by_control) < len(results):
        raise PermanentError(
            f"these results are not one for each control ({', '.join(strangers) or 'some control has two'})",
            subject=policy.ref,
            remedy="judge a policy on the measurements of that same version",
        )
    measured = (_finding(control, by_control.get(control.id)) for control in policy.controls)
    findings = (*(_unless_waived(finding, (waivers or {}).get(finding.control)) for finding in measured), *observed)
    counted = (f.status for f in findings if f.enforcement != Enforcement.REPORT)
    return Verdict(policy.id, policy.version, policy.digest, worst(counted), findings)


def decide(control: Control, measurement: Measurement) -> Status:
    """Whether the control is met: `pass`, `fail`, `inconclusive` or `error`, before its enforcement.

    On an interval: it must lie on one side of the threshold, and every group must have been compared. On a point: a
    violation stands; no pass is given while a group could not be compared. A value that isn't finite never passes.
    """
    if not math.isfinite(measurement.value):
        return Status.ERROR
    whole = all(group.compared for group in measurement.groups) and not measurement.small_groups
    if control.decide_on is DecideOn.POINT:
        met = by_point(control.require, measurement.value)
        return met if whole or met is Status.FAIL else Status.INCONCLUSIVE
    if not whole:
        return Status.INCONCLUSIVE
    return by_interval(control.require, measurement.interval.low, measurement.interval.high)


def _finding(control: Control, result: Measurement | Unmeasured | None) -> Finding:
    measurement = result if isinstance(result, Measurement) else None
    if control.skip:
        status, sentence, remedy = Status.SKIP, f"Skipped: {control.skip}.", ""
    elif measurement is not None:
        status = decide(control, measurement)
        if status is Status.FAIL and control.enforcement is Enforcement.WARN:
            status = Status.WARN
        sentence = sentences.of(control, measurement, status)
        remedy = sentences.remedy(control, measurement, status)
    elif isinstance(result, Unmeasured):
        status, remedy = Status.ERROR, result.remedy
        sentence = sentences.not_measured(control, result)
    else:
        status, sentence = Status.ERROR, "Not evaluated: nothing was measured for this control."
        remedy = "audit the run again; if it stays, report it as a bug of the agent"
    return Finding(
        control=control.id,
        status=status,
        sentence=sentence,
        metric=control.metric,
        article=control.article,
        severity=control.severity,
        enforcement=control.enforcement.value,
        require=str(control.require),
        decided_on=control.decide_on.value,
        measurement=measurement,
        remedy=remedy,
    )


def _unless_waived(finding: Finding, waiver: Waived | None) -> Finding:
    """A waived finding keeps all that was seen, and says what it would be; what passed or was skipped needs none."""
    if waiver is None or finding.status not in WAIVABLE:
        return finding
    sentence = sentences.waived(waiver, finding.status) + finding.sentence
    return replace(finding, status=Status.WAIVED, sentence=sentence, waived=waiver, would_be=finding.status)
