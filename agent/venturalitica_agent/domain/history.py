"""Which version of a policy was in force when, and which one decides about a run. Pure: the record is in `state`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from venturalitica_agent.domain.policy import EvaluateWith


@dataclass(frozen=True, slots=True)
class Term:
    """One stretch of time in which one version of a policy was in force.

    Attributes:
        digest: SHA-256 of the version's bytes.
        since, until: from when the agent read it to when another version took its place (None: it is in force), in
            seconds since the epoch by our clock.
        evaluate_with, reaches_back: what the version says of them, see `domain.policy.Policy`.
        folder: the folder (or single file) of policies that it was read from; empty where that was not noted.
        commit: of the git repository that the file was read from; empty where there is none.
        dirty: whether the file was another one than that commit holds; None without a commit.
    """

    policy: str
    version: str
    digest: str
    file_name: str
    since: float
    until: float | None = None
    evaluate_with: EvaluateWith = EvaluateWith.RUN_START
    reaches_back: float = 0.0
    folder: str = ""
    commit: str = ""
    dirty: bool | None = None

    @property
    def ref(self) -> str:
        return f"{self.policy}@{self.version}"

    def covers(self, started: float | None) -> bool:
        """Whether a run that started then is, or is to be, held to this version."""
        everything = self.reaches_back == float("inf")
        return everything or (started is not None and started >= self.since - self.reaches_back)


History = Mapping[str, Sequence[Term]]
"""The terms of each policy by its id, at least one each, in the order of `since`."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The term that decides about a run; `note` tells a reader of the evidence why."""

    term: Term
    note: str


def deciding(terms: Sequence[Term], started: float | None) -> Choice:
    """The version of one policy that decides about a run which started at `started` (by its client's clock).

    That is the one in force then, unless a later version asks for such runs, or the version in force now says
    `evaluate_with: latest`.
    """
    now = terms[-1]
    if now.evaluate_with is EvaluateWith.LATEST:
        return Choice(now, f"{now.ref}, {_from(now)}, decides: the policy says that its latest version does")
    if started is None:
        return Choice(now, f"the store doesn't know when the run started: {now.ref}, in force now, decides")
    before = [term for term in terms if term.since <= started]
    first = before[-1] if before else terms[0]
    asking = [term for term in terms if term.since > max(started, first.since) and term.covers(started)]
    if asking and asking[-1].digest != first.digest:
        return Choice(asking[-1], f"{asking[-1].ref} decides, {_from(asking[-1])}: it asks for runs from before it")
    if not before:
        return Choice(first, f"the run started before any version was on record: {first.ref}, the oldest one, decides")
    if first.until is not None and first.until <= started:
        return Choice(first, f"no version was in force when the run started: {first.ref}, the last before it, decides")
    return Choice(first, f"{first.ref}, {_from(first)}, was in force when the run started, by the clock of its client")


def superseded(terms: Sequence[Term], digest: str, started: float | None) -> bool:
    """Whether a verdict under `digest` is to give way: a version that came after it asks for the run.

    A verdict stands that was given under a later version than the one that would decide now: nobody asked for less.
    """
    term = deciding(terms, started).term
    given = max((other.since for other in terms if other.digest == digest), default=0.0)
    return term.digest != digest and term.since > given and term.covers(started)


def on_record(terms: Sequence[Term], digest: str) -> float:
    """When these bytes first came into force."""
    return min(term.since for term in terms if term.digest == digest)


def moment(seconds: float) -> str:
    """A time of our own clock as RFC 3339 UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _from(term: Term) -> str:
    return f"in force since {moment(term.since)}"
