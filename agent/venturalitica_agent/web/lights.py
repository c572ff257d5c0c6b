"""Traffic lights and trends: sums of present verdicts, made into what the overview shows. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from venturalitica_agent.domain.verdict import STALE, Status
from venturalitica_agent.state.reading import Tally
from venturalitica_agent.web.model import ExperimentLight, Light, PolicyLight, Week

WEEKS = 8


def light(counts: Mapping[str, int]) -> Light:
    """The light of some verdicts by status; nothing evaluated is grey, whatever was skipped."""
    seen = {status for status, count in counts.items() if count}
    if seen & {Status.ERROR, Status.FAIL}:
        return Light.RED
    if seen & {Status.INCONCLUSIVE, Status.WARN, STALE}:
        return Light.AMBER
    return Light.GREEN if Status.PASS in seen else Light.GREY


def last_weeks(now: float) -> list[float]:
    """The beginnings of this week and of the seven before it: Mondays, 00:00 UTC, ascending."""
    today = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    monday = today - timedelta(days=today.weekday())
    return [(monday - timedelta(weeks=back)).timestamp() for back in reversed(range(WEEKS))]


def experiments(
    tallies: Iterable[Tally], idle: Iterable[str], weeks: Sequence[float], link: Callable[[str], str]
) -> tuple[ExperimentLight, ...]:
    """The experiments of one store, by name.

    Args:
        idle: ids of experiments without a verdict. link: where the experiment of an id is seen.
    """
    by_id: dict[str, list[Tally]] = {experiment: [] for experiment in idle}
    for tally in tallies:
        by_id.setdefault(tally.experiment_id, []).append(tally)
    found = [_experiment(identity, given, weeks, link(identity)) for identity, given in by_id.items()]
    return tuple(sorted(found, key=lambda one: (one.name.casefold(), one.id)))


def total(tallies: Iterable[Tally]) -> dict[str, int]:
    """Verdicts by status."""
    counts: Counter[str] = Counter()
    for tally in tallies:
        counts[tally.status] += tally.count
    return dict(counts)


def by_store(phases: Iterable[tuple[str, str, str, int]], store: str) -> dict[str, int]:
    """Runs of one store by phase, of `Reading.phases`."""
    counts: Counter[str] = Counter()
    for owner, phase, _, count in phases:
        if owner == store:
            counts[phase] += count
    return dict(counts)


def _experiment(identity: str, tallies: Sequence[Tally], weeks: Sequence[float], link: str) -> ExperimentLight:
    by_policy: dict[str, list[Tally]] = {}
    for tally in tallies:
        by_policy.setdefault(tally.policy, []).append(tally)
    newest = max(tallies, key=lambda tally: tally.newest, default=None)
    return ExperimentLight(
        id=identity,
        name=newest.experiment if newest else identity,  # it may have been renamed
        light=light(total(tallies)),
        link=link,
        policies=tuple(_policy(policy, by_policy[policy], weeks) for policy in sorted(by_policy)),
    )


def _policy(policy: str, tallies: Sequence[Tally], weeks: Sequence[float]) -> PolicyLight:
    counts = total(tallies)
    return PolicyLight(
        policy=policy,
        light=light(counts),
        counts=counts,
        as_of=max(tally.newest for tally in tallies),
        trend=tuple(
            Week(start=start, counts=total(tally for tally in tallies if tally.week == index))
            for index, start in enumerate(weeks)
        ),
    )
