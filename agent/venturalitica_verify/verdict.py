"""The verdict, decided once more from what was measured: a second implementation of the rule, on purpose.

On an interval a control is met when all of the interval meets the requirement, violated when all of it violates it, and
inconclusive in between; on a point the value decides. No control passes while one of its groups could not be compared.
"""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from venturalitica_verify.outcome import Broken
from venturalitica_verify.strict import number

_HOLDS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_WORST_FIRST = ("error", "fail", "inconclusive", "warn", "pass")
_APART = ("skip", "waived")
_STATUSES = (*_WORST_FIRST, *_APART)
_CLOSE = 1e-9  # a rate is a quotient of two counts


def recomputed(evidence: Mapping[str, Any]) -> tuple[int, int]:
    """How many findings were decided again, and how many there are.

    Raises:
        Broken: the verdict isn't what follows from the measurements; says of which control.
    """
    verdict = evidence["verdict"]
    findings = verdict["findings"]
    again = sum(_check_finding(finding, evidence) for finding in findings)
    _check_digests(findings, evidence["subject"]["data"])
    names = [finding["control"] for finding in findings]
    if len(set(names)) < len(names):
        raise Broken("two findings are of one control")
    counted = [finding["status"] for finding in findings if finding["enforcement"] != "report"]
    counts = Counter(counted)
    if verdict["counts"] != {status: counts[status] for status in verdict["counts"]} or set(counts) - {
        *verdict["counts"]
    }:
        raise Broken("the counts are not those of the findings")
    status = next((word for word in _WORST_FIRST if word in counts), "skip")
    if verdict["status"] != status:
        raise Broken(f"the verdict is {verdict['status']!r}, and from the findings follows {status!r}")
    return again, len(findings)


def _check_finding(finding: Mapping[str, Any], evidence: Mapping[str, Any]) -> bool:
    """Whether the finding's status could be decided again; raises when it is not what follows."""
    name, status, measured = finding["control"], finding["status"], finding["measurement"]
    if status not in _STATUSES:
        raise Broken(f"{name}: {status!r} is no status")
    if (status == "waived") != (finding["waived"] is not None) or (status == "waived") != bool(finding["would_be"]):
        raise Broken(f"{name}: it is waived by halves")
    if status == "waived":
        if finding["waived"]["expires"] < evidence["times"]["decided_at"][:10]:
            raise Broken(f"{name}: its waiver was over when the verdict was given")
        status = finding["would_be"]
        if status in ("pass", *_APART):
            raise Broken(f"{name}: what is {status!r} can't be waived")
    if measured is None:
        if finding["decided_on"] == "digest":
            return True  # `_check_digests` has looked at it
        if status not in ("error", "skip"):
            raise Broken(f"{name}: it is {status!r}, and nothing was measured")
        return False
    if "rule" not in finding:
        raise Broken(f"{name}: it has a measurement and no rule to decide it by")
    _check_groups(name, measured, finding["rule"])
    expected = _decided(finding, measured)
    if expected == "fail" and finding["enforcement"] == "warn":
        expected = "warn"
    if status != expected:
        raise Broken(f"{name}: it is {status!r}, and from its measurement follows {expected!r}")
    return True


def _decided(finding: Mapping[str, Any], measured: Mapping[str, Any]) -> str:
    rule = finding["rule"]
    holds, threshold = _HOLDS[rule["op"]], number(rule["threshold"])
    if finding["require"] != f"{rule['op']} {threshold:g}":
        raise Broken(
            f"{finding['control']}: it says {finding['require']!r} and was decided by {rule['op']} {threshold}"
        )
    value = number(measured["value"])
    if not math.isfinite(value):
        return "error"
    complete = not measured["small_groups"] and all(group["compared"] is True for group in measured["groups"])
    if finding["decided_on"] == "point":
        met = holds(value, threshold)
        return "fail" if not met else "pass" if complete else "inconclusive"
    low, high = number(measured["interval"]["low"]), number(measured["interval"]["high"])
    if not complete or math.isnan(low) or math.isnan(high) or (rule["op"] in ("==", "!=") and low != high):
        return "inconclusive"
    ends = {holds(low, threshold), holds(high, threshold)}
    return "inconclusive" if len(ends) == 2 else "pass" if True in ends else "fail"


def _check_groups(name: str, measured: Mapping[str, Any], rule: Mapping[str, Any]) -> None:
    for group in measured["groups"]:
        if (
            group["n"] < rule["min_group"]
            and group["compared"] is True
            and group["group"] not in measured["small_groups"]
        ):
            raise Broken(f"{name}: group {group['group']!r} has {group['n']} rows and was compared as if it had enough")
        if None in (group["value"], group["numerator"], group["denominator"]) or not group["denominator"]:
            continue
        rate = group["numerator"] / group["denominator"]
        if not math.isclose(rate, number(group["value"]), rel_tol=_CLOSE, abs_tol=_CLOSE):
            raise Broken(f"{name}: the rate of group {group['group']!r} is not the quotient of its counts")


def _check_digests(findings: Iterable[Mapping[str, Any]], data: Mapping[str, Mapping[str, Any]]) -> None:
    """Data that provably aren't what the run logged have a finding of their own, and only they."""
    found = {f["control"]: f["status"] for f in findings if f["decided_on"] == "digest"}
    owed = {f"{split}-data-digest": "warn" for split, about in data.items() if about["check"] == "mismatch"}
    if found != owed:
        raise Broken("the findings on digests are not those of the data")
