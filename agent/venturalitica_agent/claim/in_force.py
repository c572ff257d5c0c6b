"""Which policies are in force: read from their folder when the agent starts and whenever a file of it changes.

Nothing comes into force by halves: either all files of the folder are usable together, or all stays as it was. Every
change is on record before anything is planned by it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from venturalitica_agent.claim.plan import AuditRule, Rulebook
from venturalitica_agent.domain.policy import Policy
from venturalitica_agent.errors import ConfigError
from venturalitica_agent.logging import get_logger
from venturalitica_agent.policy.load import load_policies, policy_files
from venturalitica_agent.policy.provenance import provenance
from venturalitica_agent.policy.waivers import load_waivers, waiver_files
from venturalitica_agent.state.policies import PolicyRecord

log = get_logger(__name__)

QUIET = 2.0  # seconds: a file that changed more recently may still be being written

Sight = tuple[tuple[str, int, int, int, int], ...]


class PoliciesInForce:
    """Reads a folder of policies (or one file), again and again; thread-safe.

    Args:
        rules_of: which runs fall under which of these policies; raises ConfigError where they don't fit together.
        decides: whether what lies here comes into force; else what another machine put in force is gone by.

    Raises:
        ConfigError: at the start, as `refresh` would note it.
    """

    def __init__(
        self,
        place: Path,
        record: PolicyRecord,
        rules_of: Callable[[Mapping[str, Policy]], tuple[AuditRule, ...]],
        *,
        decides: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._decides = decides
        self._place = place
        self._record = record
        self._rules_of = rules_of
        self._clock = clock
        self._turn = threading.Lock()
        self._sight = _sight(place)
        self._book = self._load()

    @property
    def book(self) -> Rulebook:
        """What planning goes by now."""
        return self._book

    def refresh(self) -> bool:
        """Look whether other versions are in force now, here or by the record; returns whether there are.

        What can't come into force is logged and noted once, and what was in force stays.
        """
        with self._turn:
            before = self._book
            sight = _sight(self._place)
            newest = max((stamp for _, _, _, *stamps in sight for stamp in stamps), default=0) / 1e9
            now = self._clock()
            if sight != self._sight and not now - QUIET < newest <= now:
                try:
                    self._book = self._load()
                except ConfigError as error:
                    words = str(error.diagnostics())
                    log.warning("policies.refused", reason=words)
                    if self._decides():
                        self._record.note_mistake(str(self._place), words, now=now)
                self._sight = sight
            history = self._record.history()
            if history != self._book.history:
                self._book = replace(self._book, history=history)
            return self._book != before

    def take_up(self) -> None:
        """Bring into force what lies here: from now on it is this machine that decides.

        Raises:
            ConfigError: it can't come into force; what was in force stays.
        """
        with self._turn:
            self._sight = _sight(self._place)
            self._book = self._load()

    def _load(self) -> Rulebook:
        policies = {policy.id: policy for policy in load_policies(self._place)}
        rules = self._rules_of(policies)
        waivers = load_waivers(self._place, tuple(policies.values()))
        for policy in policies.values():
            self._refuse_other_bytes(policy)
        history = self._record.history()
        if not self._decides():
            return Rulebook(policies, rules, history, waivers)
        in_force = {policy_id: terms[-1] for policy_id, terms in history.items() if terms[-1].until is None}
        place = str(self._place)
        new = [p for p in policies.values() if p.id not in in_force or in_force[p.id].digest != p.digest]
        gone = [term.policy for term in in_force.values() if term.folder == place and term.policy not in policies]
        if new or gone:
            origin = provenance(self._place)
            versions = [(p, origin.commit, origin.dirty(p.file_name, p.content)) for p in new]
            self._record.put_in_force(versions, folder=place, now=self._clock(), gone=gone)
            history = self._record.history()
            for policy in new:
                log.info("policy.in_force", policy=policy.ref, digest=policy.digest, commit=origin.commit)
        self._record.clear_mistake(place)
        return Rulebook(policies, rules, history, waivers)

    def _refuse_other_bytes(self, policy: Policy) -> None:
        if policy.version == "0" and policy.shape != "native":
            return  # a file of the SDK that has no version: its bytes are all that tells it apart
        known = self._record.other_bytes(policy)
        if known is not None:
            raise ConfigError(
                f"{policy.ref} is on record with other bytes: SHA-256 {known} there, {policy.digest} in this file",
                subject=policy.file_name,
                remedy="raise the version of the changed policy, or put the file back as it was",
            )


def _sight(place: Path) -> Sight:
    """What tells, without reading them, that files were changed; the file system's own stamp of change can't be set."""
    found: list[tuple[str, int, int, int, int]] = []
    try:
        files = [*policy_files(place), *waiver_files(place)]
    except ConfigError:
        return ()  # loading says why
    for path in files:
        try:
            stat = path.stat()
        except OSError:
            continue  # gone since it was listed: the next look sees the folder without it
        found.append((str(path), stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns))
    return tuple(found)
