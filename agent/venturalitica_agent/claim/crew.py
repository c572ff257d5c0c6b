"""Working together on one state: who may join, whose work is taken up because it died, how much there is room for.

Machines that would not give the same verdict don't work together: another version of the agent is refused, and a
machine that judges by other waivers takes no work until it has the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from venturalitica_agent.claim.engine import Engine
from venturalitica_agent.errors import ConfigError, StoreUnavailable
from venturalitica_agent.logging import get_logger
from venturalitica_agent.state.machines import Machines
from venturalitica_agent.stores.base import Store

log = get_logger(__name__)


class Crew:
    """This process and the others that share its state.

    Args:
        version: of the agent here.
    """

    def __init__(self, machines: Machines, *, version: str) -> None:
        self.machines = machines
        self._version = version
        self._joined = False
        self._differs = False

    @contextmanager
    def joining(self) -> Iterator[None]:
        """Join the others; inside, no other machine joins.

        Raises:
            ConfigError: the others are of another version.
        """
        with self.machines.joining():
            others = sorted({one.version for one in self.machines.all()} - {self._version})
            if others:
                raise ConfigError(
                    f"version {others[0]} of the agent works on this state, and this is {self._version}",
                    subject="the machines that share the state",
                    remedy="let all machines have one version: stop those of the old one before the new one starts",
                )
            self._joined = True
            yield

    def may_decide(self) -> bool:
        """Whether the policies that lie here may come into force: by who notices runs, or while nobody does."""
        if self._joined:
            return self.machines.notices
        return not any(one.notices for one in self.machines.all())

    def room(self, width: int) -> int:
        """How many jobs run at once on all machines together, each with as many as this one has."""
        return width * max(1, len(self.machines.all()))

    def agrees(self) -> bool:
        """Whether this machine judges by the waivers of the one that notices; says it once when not, or not known."""
        every = self.machines.all()
        by = {one.waivers for one in every if one.notices}
        differs = bool(by) and self.machines.waivers not in by
        if differs and not self._differs:
            log.warning(
                "machine.differs",
                machine=self.machines.id,
                reason="its waivers are not those of the machine that notices runs, so it audits nothing",
                remedy="give every machine the same policies folder; it goes on by itself then",
            )
        self._differs = differs
        return not differs

    def rescue(self, engine: Engine) -> int:
        """Have others do what dead machines had in hand; returns how many jobs."""
        rescued = 0
        for machine in sorted(engine.owners()):
            if self.machines.is_gone(machine) and (jobs := engine.take_over(machine)):
                log.warning("machine.gone", machine=machine, jobs=jobs)
                rescued += jobs
        return rescued


def must_be_reachable(store: Store) -> None:
    """Raises StoreUnavailable where a store, or a folder that its files are in, is not there on this machine."""
    for root in store.roots:
        if not root.is_dir():
            raise StoreUnavailable(
                f"this machine has no folder {root}, which the store's files are in",
                subject=store.uri,
                remedy="mount it here at the same place; meanwhile other machines audit the store's runs",
            )
    if store.roots:
        store.ping()
