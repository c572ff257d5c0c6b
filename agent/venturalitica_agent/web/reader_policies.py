"""The page of the policies: their versions in the order of time, what each changed, how many runs each decided, and the
waivers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from functools import lru_cache

import sqlalchemy as sa

from venturalitica_agent.domain import history
from venturalitica_agent.domain.policy import Policy
from venturalitica_agent.errors import ConfigError
from venturalitica_agent.policy.diff import diff
from venturalitica_agent.policy.load import load_policies, parse_policy
from venturalitica_agent.policy.waivers import Waiver, day_of, load_waivers, notices
from venturalitica_agent.settings import Settings
from venturalitica_agent.state.policies import PolicyRecord
from venturalitica_agent.web.model import PoliciesPage, PolicyView, Term, WaiverView

_REREAD = 10.0  # seconds between two looks at the waivers' file, at least
_REMEMBERED = 256

Decided = Iterable[tuple[str, str, str, int]]
"""(policy, digest of the version, status, how many verdicts)."""


class PolicyPages:
    """Reads the record of policies, and the waivers that lie beside them."""

    def __init__(self, settings: Settings, engine: sa.Engine) -> None:
        self._folder = settings.policies
        self._record = PolicyRecord(engine)
        self._parsed = lru_cache(_REMEMBERED)(self._parse)
        self._changes = lru_cache(_REMEMBERED)(self._diff)
        self._lock = threading.Lock()
        self._waivers: tuple[Waiver, ...] = ()
        self._unreadable = ""
        self._read_at = float("-inf")

    def title(self, digest: str) -> str:
        """The title of a version by the digest of its bytes; empty where it has none or can't be read."""
        policy = self._parsed(digest)
        return policy.title if isinstance(policy, Policy) else ""

    def notices(self, now: float) -> tuple[str, ...]:
        """Sentences on refused policies and on waivers that end."""
        waivers, unreadable = self._current_waivers()
        told = (unreadable,) if unreadable else notices(waivers, day_of(now))
        return (*self.refused(), *told)

    def page(self, decided: Decided, now: float) -> PoliciesPage:
        counts: dict[tuple[str, str], dict[str, int]] = {}
        for policy, digest, status, count in decided:
            counts.setdefault((policy, digest), {})[status] = count
        waivers, unreadable = self._current_waivers()
        return PoliciesPage(
            policies=tuple(
                self._policy(policy, terms, counts) for policy, terms in sorted(self._record.history().items())
            ),
            waivers=tuple(_waiver(waiver, now) for waiver in waivers),
            refused=(*self.refused(), *((unreadable,) if unreadable else ())),
        )

    def _policy(
        self, policy: str, terms: tuple[history.Term, ...], counts: dict[tuple[str, str], dict[str, int]]
    ) -> PolicyView:
        before = (None, *terms[:-1])
        views = [
            Term(
                version=term.version,
                digest=term.digest,
                file_name=term.file_name,
                since=term.since,
                until=term.until,
                commit=term.commit,
                dirty=term.dirty,
                decided=counts.get((policy, term.digest), {}),
                diff=self._changes(older.digest, term.digest) if older else (),
            )
            for older, term in zip(before, terms, strict=True)
        ]
        return PolicyView(id=policy, title=self.title(terms[-1].digest), terms=tuple(reversed(views)))

    def refused(self) -> tuple[str, ...]:
        """Why changed files of policies are not in force."""
        return tuple(mistake["words"] for mistake in self._record.mistakes())

    def _parse(self, digest: str) -> Policy | str:
        """The version with these bytes, or why it can't be told."""
        file_name, content = self._record.source(digest) or ("", b"")
        try:
            return parse_policy(content, file_name)
        except ConfigError as error:
            return f"this version can't be read here: {error.what}"

    def _diff(self, older: str, newer: str) -> tuple[str, ...]:
        versions = self._parsed(older), self._parsed(newer)
        broken = tuple(version for version in versions if isinstance(version, str))
        before, after = versions
        if isinstance(before, Policy) and isinstance(after, Policy):
            return tuple(map(str, diff(before, after)))
        return broken

    def _current_waivers(self) -> tuple[tuple[Waiver, ...], str]:
        """The waivers as their file says them now, or why it can't be read."""
        with self._lock:
            if time.monotonic() - self._read_at > _REREAD:
                self._read_at = time.monotonic()
                try:
                    self._waivers = load_waivers(self._folder, load_policies(self._folder)).items
                    self._unreadable = ""
                except ConfigError as error:
                    self._waivers, self._unreadable = (), f"the waivers can't be read now: {error}"
            return self._waivers, self._unreadable


def _waiver(waiver: Waiver, now: float) -> WaiverView:
    runs = f"runs {', '.join(waiver.runs)}" if waiver.runs else "every run"
    today = day_of(now)
    return WaiverView(
        control=waiver.control,
        policy=waiver.policy,
        scope=f"{runs} of experiment {waiver.experiment}" if waiver.experiment != "*" else runs,
        reason=waiver.reason,
        owner=waiver.owner,
        expires=waiver.expires.isoformat(),
        counts_today=waiver.counts_on(today),
        days_left=(waiver.expires - today).days,
    )
