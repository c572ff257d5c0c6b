"""`report.md`: what a data scientist reads in ten seconds and an officer files. Every name in it is hostile text."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

from venturalitica_agent.domain.evidence import Decision
from venturalitica_agent.domain.policy import Policy
from venturalitica_agent.domain.subject import ColumnBinding
from venturalitica_agent.domain.verdict import Finding, GroupStat, Interval, Status, Verdict, counts_tag
from venturalitica_agent.logging import clean

# Inline markup only: text stands after words of ours, where nothing works that needs a line's start.
_MARKUP = re.compile(r"([\\`*_\[\]|~])")
_AT_START = re.compile(r"^(\d{0,9})([-#+=.)])")
_ORDER = (
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


def text(value: object, limit: int = 400) -> str:
    """Untrusted text for Markdown: one line, no markup, no HTML, no control characters."""
    line = " ".join(clean(str(value)).split())
    line = line if len(line) <= limit else line[: limit - 1] + "…"
    return html.escape(_MARKUP.sub(r"\\\1", line), quote=False)


def _first(value: object, limit: int = 400) -> str:
    """Untrusted text that begins a line or a list item, where it must not begin a heading or a list."""
    return _AT_START.sub(r"\1\\\2", text(value, limit))


def report_md(decision: Decision, policy: Policy, *, link: str = "") -> str:
    """The whole report as Markdown."""
    verdict = decision.verdict
    facts = decision.run_facts
    lines = [
        f"# {verdict.status.value}: {text(facts.get('name') or facts.get('run_id'))}",
        "",
        f"**{verdict.status.value}**: {_meaning(verdict)}. ({counts_tag(verdict.counts)})",
        "",
        f"- policy: {text(policy.title or policy.id)}, `{policy.id}` version {text(policy.version)}"
        f", SHA-256 `{policy.digest}`",
        f"- run: `{text(facts.get('run_id'))}` in experiment {text(facts.get('experiment'))}"
        + (f" ([open]({html.escape(link)}))" if link else ""),
        f"- decided: {decision.decided_at}",
        *([f"- waivers: SHA-256 `{decision.waivers}` of the file that they are in"] if decision.waivers else []),
        "",
        "## Findings",
        "",
    ]
    for finding in sorted(verdict.findings, key=lambda f: _ORDER.index(f.status)):
        lines += _finding(finding)
    lines += ["## What was audited", "", *_subject(decision), ""]
    lines += ["## What this cannot claim", "", *_limits(policy), ""]
    return "\n".join(lines)


def _meaning(verdict: Verdict) -> str:
    waived = verdict.counts[Status.WAIVED]
    apart = f"apart from {waived} waived {'finding' if waived == 1 else 'findings'}, "
    return (apart if waived and verdict.status is not Status.SKIP else "") + _MEANING[verdict.status]


def _finding(finding: Finding) -> list[str]:
    head = f"### {finding.status.value}: {text(finding.control)}"
    if finding.would_be is not None:
        head += f" (would be: {finding.would_be.value})"
    if finding.enforcement == "report":
        head += " (reported only: it does not change the run's status)"
    about = [f"{text(finding.metric)} {text(finding.require)}"]
    if finding.article:
        about.append(f"article {text(finding.article)}")
    about.append(f"decided by {text(finding.decided_on)}")
    lines = [head, "", _first(finding.sentence, 2000), "", f"*{', '.join(about)}*", ""]
    if finding.remedy and finding.remedy not in finding.sentence:
        lines += [f"What to do: {text(finding.remedy, 2000)}", ""]
    measured = finding.measurement
    if measured is None:
        return lines
    lines += [
        f"Value {measured.value:.6g}, {_interval(measured.interval)}, on {measured.n} rows.",
        "",
    ]
    if measured.groups:
        lines += ["| group | rows | rate | count | interval | compared |", "|---|---|---|---|---|---|"]
        lines += [_group(g) for g in measured.groups[:60]]
        if len(measured.groups) > 60:
            lines.append(f"| … and {len(measured.groups) - 60} more, in evidence.json | | | | | |")
        lines.append("")
    lines += [f"Note: {text(note, 1000)}\n" for note in measured.notes]
    return lines


def _interval(interval: Interval) -> str:
    seed = f", {interval.resamples} resamples, seed {interval.seed}" if interval.resamples else ""
    return (
        f"{interval.level * 100:g} % interval {interval.low:.4g} to {interval.high:.4g} ({text(interval.method)}{seed})"
    )


def _group(group: GroupStat) -> str:
    rate = "" if group.value is None else f"{group.value:.4f}"
    count = "" if group.numerator is None else f"{group.numerator}/{group.denominator}"
    bounds = f"{group.interval.low:.3f}–{group.interval.high:.3f}" if group.interval else ""
    compared = "yes" if group.compared else f"no: {text(group.reason)}"
    return f"| {text(group.group, 80)} | {group.n} | {rate} | {count} | {bounds} | {compared} |"


def _subject(decision: Decision) -> Iterable[str]:
    subject = decision.subject
    if subject.model:
        model = subject.model
        yield f"- model: {text(model.name)} ({model.flavor}, {model.format}), SHA-256 `{model.digest}`"
    for split, data in sorted(subject.data.items()):
        check = f"tracker's digest: {data.check.value}" + (f" ({text(data.check_reason)})" if data.check_reason else "")
        yield f"- {split} data: {text(data.origin)}, {data.rows} rows, SHA-256 `{data.file.sha256}`; {check}"
    for role, binding in sorted(subject.binding.items()):
        yield f"- {_first(role)}: {_binding(binding)}"
    for part, problem in sorted(subject.problems.items()):
        remedy = f" What to do: {text(problem.remedy, 1000)}" if problem.remedy else ""
        yield f"- {_first(part)} is missing: {text(problem.what, 1000)}.{remedy}"
    if decision.sandbox:
        yield "- the model ran in a sandbox: " + ", ".join(
            f"{k} {text(v)}" for k, v in sorted(decision.sandbox.items())
        )
    for note in decision.notes:
        yield f"- note: {text(note, 1000)}"


def _binding(binding: ColumnBinding) -> str:
    how = {"declared": "declared in agent.yaml", "policy": "named by the policy", "name": "column of that name"}
    words = f"column `{text(binding.column)}` ({how.get(binding.how, '**inferred** from a synonym')})"
    if binding.positive is not None:
        words += f", positive class {text(binding.positive)}"
    if binding.groups:
        named = (f"{text(g)} = {', '.join(text(v) for v in values)}" for g, values in binding.groups.items())
        words += "; groups " + "; ".join(named)
    if binding.bins:
        words += "; bins at " + ", ".join(f"{edge:g}" for edge in binding.bins)
    return words


def _limits(policy: Policy) -> Iterable[str]:
    yield "- A pass says that these measurements on these data meet these thresholds, and nothing about the law."
    yield "- An interval covers the chance of sampling, not a test set that is unlike the people the system will meet."
    yield "- A model that recognises an audit, or a person who picks the evaluation data, can't be detected from here."
    house = [c.id for c in policy.controls if c.source.kind == "house"]
    if house:
        yield (
            "- Thresholds that are house defaults, for the policy's owner to confirm: "
            + ", ".join(text(c) for c in house)
            + "."
        )
