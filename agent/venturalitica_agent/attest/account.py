"""What a report says, in either language, before it becomes Markdown or HTML.

Names in it are hostile text, still as they were given: whoever shows a line cleans, cuts and escapes it as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from venturalitica_agent.attest.limits import cannot_claim
from venturalitica_agent.domain.evidence import Decision
from venturalitica_agent.domain.metric import METRICS
from venturalitica_agent.domain.policy import Policy
from venturalitica_agent.domain.retention import retain_until
from venturalitica_agent.domain.subject import ColumnBinding, DataSubject
from venturalitica_agent.domain.verdict import Finding, Interval, Measurement, Status, Verdict
from venturalitica_agent.language import Language

ORDER = (
    Status.ERROR,
    Status.FAIL,
    Status.INCONCLUSIVE,
    Status.WARN,
    Status.PASS,
    Status.SKIP,
    Status.WAIVED,
)
_MEANING = {
    Status.PASS: "every control that was evaluated meets its requirement",
    Status.WARN: "a control that only warns is not met; nothing that blocks is",
    Status.FAIL: "at least one control is not met",
    Status.INCONCLUSIVE: "the data do not say clearly whether every control is met; more rows would",
    Status.ERROR: "at least one control could not be evaluated, so there is no verdict on it",
    Status.SKIP: "no control counts: each that applied is skipped or waived",
    Status.WAIVED: "every control that applied is waived",
}
_BOUND = {
    "declared": "declared in agent.yaml",
    "run": "declared by the training code",
    "policy": "named by the policy",
    "name": "column of that name",
}
_ALWAYS = (
    "A pass says that these measurements on these data meet these thresholds, and nothing about the law.",
    "An interval covers the chance of sampling, not a test set that is unlike the people the system will meet.",
    "A model that recognises an audit, or a person who picks the evaluation data, can't be detected from here.",
)


@dataclass(frozen=True, slots=True)
class Fact:
    """A line of a report: `name: text`, then a digest or a column as `code`, then `more`."""

    name: str
    text: str
    code: str = ""
    more: str = ""


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """By how bad they are, in the policy's order among equals."""
    return sorted(findings, key=lambda finding: ORDER.index(finding.status))


def meaning(verdict: Verdict, language: Language) -> str:
    """The verdict in one sentence, without its full stop."""
    waived = verdict.counts[Status.WAIVED]
    said = language.text(_MEANING[verdict.status])
    if not waived or verdict.status is Status.SKIP:
        return said
    apart = "apart from 1 waived finding, " if waived == 1 else "apart from {n} waived findings, "
    return language.text(apart, n=waived) + said


def identity(decision: Decision, policy: Policy, language: Language) -> Iterator[Fact]:
    """Which policy decided about which run, and when."""
    t, facts = language.text, decision.run_facts
    version = t("{id} version {version}, SHA-256", id=policy.id, version=policy.version)
    yield Fact(t("policy"), f"{policy.title}, {version}" if policy.title else version, policy.digest)
    yield Fact(t("run"), "", str(facts.get("run_id")), t("in experiment {name}", name=facts.get("experiment")))
    yield Fact(t("decided"), _moment(decision.decided_at, language))
    if policy.retain:
        yield Fact(t("to be kept until"), retain_until(policy.retain, decision.decided_at))
    if decision.waivers:
        yield Fact(t("waivers"), "SHA-256", decision.waivers, t("of the file that they are in"))


def _moment(written: str, language: Language) -> str:
    try:
        return f"{language.moment(datetime.fromisoformat(written).timestamp())} ({written})"
    except ValueError:
        return written


def beside(finding: Finding, language: Language) -> str:
    """What stands beside a control's name: what it would be, and that it does not count."""
    said = []
    if finding.would_be is not None:
        said.append(f"({language.text('would be: {status}', status=language.told(finding.would_be.value))})")
    if finding.enforcement == "report":
        said.append(f"({language.text('reported only: it does not change the run’s status')})")
    return " ".join(said)


def asked(finding: Finding, language: Language) -> str:
    """What was asked, why, and what decided."""
    spec = METRICS.get(finding.metric)
    title = f"{finding.metric} ({language.told(spec.title)})" if spec else finding.metric
    about = [f"{title} {language.told(finding.require)}"]
    if finding.article:
        about.append(language.text("article {article}", article=finding.article))
    about.append(language.text("decided by {what}", what=language.text(finding.decided_on)))
    return ", ".join(about)


def to_do(finding: Finding) -> str:
    """The remedy in English, unless the sentence ends with it already."""
    return "" if finding.remedy in finding.sentence else finding.remedy


def beyond(finding: Finding) -> tuple[str, ...]:
    """The notes in English, without those that the sentence tells."""
    notes = finding.measurement.notes if finding.measurement else ()
    return tuple(note for note in notes if note not in finding.sentence)


def measured(measurement: Measurement, language: Language) -> str:
    """Value, interval and rows, in one line."""
    return language.text(
        "Value {value}, {interval}, on {n} rows.",
        value=language.decimal(f"{measurement.value:.6g}"),
        interval=_interval(measurement.interval, language),
        n=measurement.n,
    )


def _interval(interval: Interval, language: Language) -> str:
    if interval.low == interval.high:
        return language.told(interval.method)
    seed = ""
    if interval.resamples:
        words = ", {resamples} resamples, seed {seed}"
        seed = language.text(words, resamples=interval.resamples, seed=interval.seed)
    return language.text(
        "{level} % interval {low} to {high} ({method})",
        level=language.decimal(f"{interval.level * 100:g}"),
        low=language.number(interval.low),
        high=language.number(interval.high),
        method=language.told(interval.method) + seed,
    )


def subject(decision: Decision, language: Language) -> Iterator[Fact]:
    """Model, data, columns, what is missing, and what else a reader should know."""
    t, about = language.text, decision.subject
    if about.model:
        model = about.model
        yield Fact(t("model"), f"{model.name} ({model.flavor}, {model.format}), SHA-256", model.digest)
    for split, data in sorted(about.data.items()):
        yield _data(split, data, language)
    for role, binding in sorted(about.binding.items()):
        yield _bound(role, binding, language)
    for part, problem in sorted(about.problems.items()):
        said = t("missing: {what}.", what=language.told(problem.what))
        remedy = f" {t('What to do:')} {language.told(problem.remedy)}" if problem.remedy else ""
        yield Fact(t(part), said + remedy)
    if decision.sandbox:
        facts = "; ".join(f"{t(key)} {language.told(value)}" for key, value in sorted(decision.sandbox.items()))
        yield Fact(t("sandbox"), facts)
    for note in decision.notes:
        yield Fact(t("note"), language.told(note))


def _data(split: str, data: DataSubject, language: Language) -> Fact:
    reason = f" ({language.told(data.check_reason)})" if data.check_reason else ""
    return Fact(
        language.text(f"{split} data"),
        language.text("{origin}, {n} rows, SHA-256", origin=language.told(data.origin), n=data.rows),
        data.file.sha256,
        language.text("tracker's digest: {check}", check=language.text(data.check.value)) + reason,
    )


def _bound(role: str, binding: ColumnBinding, language: Language) -> Fact:
    t = language.text
    more = [t(_BOUND.get(binding.how, "inferred from a synonym"))]
    if binding.positive is not None:
        more.append(t("positive class {value}", value=binding.positive))
    if binding.groups:
        named = "; ".join(f"{g} = {', '.join(map(str, values))}" for g, values in binding.groups.items())
        more.append(t("groups {groups}", groups=named))
    if binding.bins:
        more.append(t("bins at {edges}", edges=", ".join(language.decimal(f"{edge:g}") for edge in binding.bins)))
    return Fact(role, t("column"), binding.column, "; ".join(more))


def limits(decision: Decision, policy: Policy, language: Language) -> Iterator[Fact]:
    """What the verdict can't claim: whatever the article, by article, and whose thresholds nobody has confirmed yet."""
    for sentence in _ALWAYS:
        yield Fact("", language.text(sentence))
    for article, sentence in cannot_claim(finding.article for finding in decision.verdict.findings).items():
        yield Fact(language.text("article {article}", article=article), language.told(sentence))
    house = [control.id for control in policy.controls if control.source.kind == "house"]
    if house:
        words = "Thresholds that are house defaults, for the policy's owner to confirm: {controls}."
        yield Fact("", language.text(words, controls=", ".join(house)))
