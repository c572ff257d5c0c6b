"""What the record of a policy's versions says of a run."""

from __future__ import annotations

from venturalitica_agent.domain.history import moment
from venturalitica_agent.domain.policy import Control
from venturalitica_agent.domain.verdict import Interval
from venturalitica_agent.evaluate.metrics.estimate import Estimate
from venturalitica_agent.evaluate.sample import Sample
from venturalitica_agent.evaluate.undefined import Undefined


def policy_predates_run(control: Control, sample: Sample) -> Estimate:
    """1 if the version that decides was on record before the run started, else 0. Exact: two times are compared.

    The start is by the clock of whoever trained: it is what they said, not proof of when they trained.
    """
    since, started = sample.background.since, sample.background.started
    if started is None:
        raise Undefined("the store doesn't say when the run started", remedy="log runs with a client that says so")
    if since is None:
        raise Undefined("it is not on record since when the policy was in force", remedy="audit the run again")
    value = 1.0 if since * 1000 < started else 0.0
    return Estimate(
        value=value,
        interval=Interval(value, value, control.level, "comparison of two times"),
        n=1,
        notes=(f"the version first came into force at {moment(since)}; the start is by the clock of the run's client",),
    )
