"""The agent assembled: settings made into stores, policies, state, engine, cache and sandbox."""

from __future__ import annotations

import os
import shlex
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import MappingProxyType

import sqlalchemy as sa

from venturalitica_agent import __version__
from venturalitica_agent.attest.keys import Keys
from venturalitica_agent.attest.notary import Notary
from venturalitica_agent.attest.sign import CommandSigner, key_id
from venturalitica_agent.attest.timestamp import TimestampAuthority
from venturalitica_agent.auditor import Auditor
from venturalitica_agent.claim.crew import Crew, must_be_reachable
from venturalitica_agent.claim.engine import Engine, EngineBusy
from venturalitica_agent.claim.in_force import PoliciesInForce
from venturalitica_agent.claim.plan import AuditRule
from venturalitica_agent.detect.reconcile import Reconciler
from venturalitica_agent.domain.policy import Policy, Selector
from venturalitica_agent.domain.run import AUDIT_RUN, RunRef
from venturalitica_agent.domain.subject import DataPlan
from venturalitica_agent.errors import (
    AgentError,
    ConfigError,
    PermanentError,
    SandboxClosed,
    SandboxUnavailable,
    StateUnavailable,
    StoreUnavailable,
)
from venturalitica_agent.fetch.cache import Cache
from venturalitica_agent.logging import clean, get_logger
from venturalitica_agent.notify.notifier import Notifier
from venturalitica_agent.pipeline import World
from venturalitica_agent.policy.load import parse_policy
from venturalitica_agent.publish.gate import Gate, Move
from venturalitica_agent.sandbox.launcher import Limits, Sandbox
from venturalitica_agent.sandbox.own_metrics import enlist
from venturalitica_agent.settings import Settings, StoreSettings
from venturalitica_agent.settings.model import OnDrift
from venturalitica_agent.state.config import ConfigRecord
from venturalitica_agent.state.counters import Counters
from venturalitica_agent.state.dialects import connecting
from venturalitica_agent.state.drift import DriftRecord
from venturalitica_agent.state.ledger import Ledger
from venturalitica_agent.state.log import Log
from venturalitica_agent.state.machines import Machines
from venturalitica_agent.state.opening import open_state
from venturalitica_agent.state.policies import PolicyRecord
from venturalitica_agent.state.records import Records
from venturalitica_agent.stores.base import Store
from venturalitica_agent.stores.mlflow_client import MlflowAccess
from venturalitica_agent.stores.opening import AnyStore, WandbServer, follows, open_configured
from venturalitica_agent.stores.wandb_project import WandbProject
from venturalitica_agent.stores.wandb_synced import SyncedOfflineStore
from venturalitica_agent.telemetry import Telemetry
from venturalitica_agent.tracing import Tracing
from venturalitica_agent.upkeep import Upkeep

log = get_logger(__name__)


class Agent:
    """Everything that a process which audits needs.

    Attributes:
        stores: by id. in_force: the policies, and which runs each applies to.
        on_progress: called whenever an audit moved on; set it before `open`.
        crew: this process among those that share the state; None where the state admits one process.

    Args:
        lent: the credentials that an agent before this one, in the same process, put into the environment.
        helps: it only executes what another process noticed.

    Raises:
        ConfigError: a policy, a rule or the state can't be used; nothing has been started then.
    """

    def __init__(
        self, settings: Settings, *, lent: Mapping[str, str] = MappingProxyType({}), helps: bool = False
    ) -> None:
        self.settings = settings
        self.helps = helps
        self.lent = _lend(settings.environment, lent)
        self._state_url = sa.make_url(settings.state)
        self._state = open_state(settings.state)
        shared = self._state_url.get_backend_name() != "sqlite"
        self.crew = Crew(Machines(settings.state, version=__version__), version=__version__) if shared else None
        self.ledger = Ledger(self._state)
        self.records = Records(self._state)
        for refused in enlist(settings.cache.folder):
            log.warning("metric.refused", metric=refused.subject, reason=refused.what, remedy=refused.remedy)
        self.policy_record = PolicyRecord(self._state)
        self.config_record = ConfigRecord(self._state)
        self.notary = Notary(keys_of(settings), Log(self._state), authority=_authority(settings))
        self.in_force = PoliciesInForce(
            settings.policies,
            self.policy_record,
            partial(rules_of, settings),
            decides=self._may_decide,
        )
        self.stores: dict[str, AnyStore] = {}
        self._polls: dict[str, float] = {}
        self._wandb = WandbServer(settings)
        self._open_stores()
        self.reconciler = Reconciler(self.ledger, settle=settings.settle)
        self.on_progress: Callable[[], None] = lambda: None
        self._sandbox_facts: Mapping[str, str] | None = None
        self._proving = threading.Lock()

    # -- stores ---------------------------------------------------------------------------------------------
    def _open_stores(self) -> None:
        known = [row["uri"] for row in self.records.stores().values()]
        for given, store in open_configured(self.settings, self._wandb, known):
            self._add(given, store)

    def _add(self, given: StoreSettings, store: AnyStore) -> bool:
        if store.id in self.stores:
            return False
        self._polls[store.id] = given.poll
        self.stores[store.id] = store
        return True

    def discover(self) -> Sequence[AnyStore]:
        """Open the projects that appeared under an `entity/*` of agent.yaml; returns the new ones.

        Raises:
            StoreUnavailable: the server can't be asked now.
        """
        found = []
        for given in filter(follows, self.settings.stores):
            for path in self._wandb.projects(given.uri):
                store = self._wandb.project(path, roots=given.artifacts, ui=given.ui)
                if self._add(given, store):
                    found.append(store)
        return found

    @property
    def follows(self) -> bool:
        """Whether there is an `entity/*` whose projects have to be looked for."""
        return any(map(follows, self.settings.stores))

    def _store(self, store: str) -> Store:
        if store not in self.stores:
            raise StoreUnavailable(
                "this store is not in agent.yaml, or its project was not found yet",
                subject=self.records.stores().get(store, {}).get("uri", store),
                remedy="put it back into `stores:`, or wait until its server answers",
            )
        if self.crew is not None:
            must_be_reachable(self.stores[store])
        return self.stores[store]

    def aside(self, ref: RunRef) -> str:
        """Why a run is not audited whatever the rules say; empty for every other run."""
        original = ref.run_id.removeprefix(AUDIT_RUN)
        if original != ref.run_id and self.ledger.get(ref.store, original) is not None:
            return "it is the audit run of another run, written by this service"
        for store in self.stores.values():
            if isinstance(store, SyncedOfflineStore) and self._on_wandb(ref.store) and store.holds(ref):
                return "it is audited in its offline folder, and its verdict is written here from there"
        return ""

    def _on_wandb(self, store: str) -> bool:
        return isinstance(self.stores.get(store), WandbProject)

    @property
    def state_shown(self) -> str:
        return self._state_url.render_as_string(hide_password=True)

    def open(self, *, alone: bool = True) -> None:
        """Take the state, start the engine (which takes up what a crash left) and the sandbox.

        Args:
            alone: no other process may notice runs by this state; where they share it, False lets this one help them.

        Raises:
            EngineBusy: another process does.
            ConfigError: this machine can't work with the others on the state: another version, or another key.
        """
        folder = self.settings.cache.folder
        self.cache = Cache(folder, limit=self.settings.cache.size)
        self.telemetry = Telemetry(Counters(self._state), Tracing(os.environ))
        self.sandbox = sandbox_of(self.settings, folder / "sandbox", on_kill=self.telemetry.killed)
        world = World(
            store_of=self._store,
            policy_of=self._policy,
            records=self.records,
            notary=self.notary,
            cache=self.cache,
            sandbox=self.sandbox,
            roots_of=lambda store: (self.settings.folder, *self.stores[store].roots),
            sandbox_facts=self.sandbox_facts,
            waivers=lambda: self.in_force.book.waivers,
            telemetry=self.telemetry,
        )
        self.auditor = Auditor(
            stores=self.stores,
            ledger=self.ledger,
            reconciler=self.reconciler,
            book=lambda: self.in_force.book,
            world=world,
            aside=self.aside,
            on_progress=lambda: self.on_progress(),
            notices=lambda: self.notices,
        )
        self.upkeep = Upkeep(
            stores=self.stores,
            ledger=self.ledger,
            record=DriftRecord(self._state),
            world=world,
            history=lambda: self.in_force.book.history,
            every=self.settings.drift.every,
            restore=self.settings.drift.on_change is OnDrift.RESTORE,
            inputs=self.settings.drift.inputs,
        )
        sqlite = self._state_url.get_backend_name() == "sqlite"
        database = Path(self._state_url.database or "")
        self.engine = Engine(
            f"sqlite:///{database.with_suffix('.engine.db')}" if sqlite else self.settings.state,
            lock=database.with_suffix(".lock") if sqlite else None,
            execute=self.auditor.execute,
            width=self.settings.concurrency,
            machine=self.crew.machines.id if self.crew else "",
            connecting=connecting(self.settings.state),
        )
        try:
            if self.crew is None:
                self._note_policies()
                self.engine.open()
            else:
                self._join(self.crew, alone=alone)
        except BaseException:
            self.engine.close()
            self.sandbox.close()
            self._leave()
            raise

    def _join(self, crew: Crew, *, alone: bool) -> None:
        with crew.joining():
            self.notary.must_agree()
            self.notary.note_key()
            self.engine.open()  # it makes tables of its own where there are none
        crew.machines.tell(self.in_force.book.waivers.digest)
        if alone and not self.notice():
            raise EngineBusy(
                "another venturalitica-agent works on this state",
                subject=self.state_shown,
                remedy="let it do the work, or stop it first",
            )

    def _may_decide(self) -> bool:
        return not self.helps and (self.crew is None or self.crew.may_decide())

    def notice(self) -> bool:
        """Be the one that notices runs, if none of the others that share the state is; returns whether this one is.

        Raises:
            StateUnavailable: the state can't be asked.
        """
        if self.crew is None:
            return True
        before = self.crew.machines.notices
        now = self.crew.machines.beat(notice=not self.helps)
        if now and not before:
            self.in_force.take_up()
            self._note_policies()
        return now

    @property
    def notices(self) -> bool:
        """Whether this process notices runs, as of the last `notice`."""
        return self.crew is None or self.crew.machines.notices

    def close(self) -> None:
        self.auditor.release()
        self.engine.close()
        self._leave()
        self.sandbox.close()
        try:
            self.telemetry.close()
        except StateUnavailable as error:
            log.warning("telemetry.lost", reason=error.what)
        self.dispose()

    def dispose(self) -> None:
        """Let go of the state: all that there is to close of an agent that was never opened."""
        self._leave()
        self._state.dispose()

    def tidy(self) -> None:
        """Forget what the state needs no longer."""
        now, keep = time.time(), self.settings.retention
        jobs, gone = self.engine.forget(now - keep.jobs), self.ledger.forget_gone(now - keep.gone)
        if jobs or gone:
            log.info("state.tidied", jobs=jobs, runs=gone)

    def promote(self) -> None:
        """See that aliases of the model registries name what the verdicts allow; a registry that is away is told."""
        for store in list(self.stores.values()) if self.settings.promote else ():
            if isinstance(store, MlflowAccess):
                try:
                    Gate(store, self.records, self.settings.promote, self._note_promotion).turn()
                except AgentError as error:
                    log.warning("promotion.failed", store=store.uri, reason=error.what, remedy=error.remedy)

    def _note_promotion(self, store: str, move: Move) -> None:
        self.notary.note_promotion(store, asdict(move))

    def notifier(self) -> Notifier | None:
        """What tells people, where agent.yaml names channels."""
        if not self.settings.notify:
            return None
        return Notifier(self.settings.notify, self._state, lambda: self.in_force.book.waivers.items, _send)

    def _leave(self) -> None:
        if self.crew is not None:
            self.crew.machines.leave()

    def rescue(self) -> int:
        """Have done what dead processes left, and free claims whose job is dead; returns how many of both."""
        taken = self.crew.rescue(self.engine) if self.crew is not None else 0
        return taken + self.auditor.rescue(self.engine)

    def prepare(self, runs: int | None = None) -> None:
        """Have clients imported and a sandbox worker warm before a run ends.

        Args:
            runs: how many will be audited, for who knows: no more workers than these wait in vain.
        """
        with suppress(SandboxClosed):  # the agent ended meanwhile
            self._prepare(runs)

    def _prepare(self, runs: int | None) -> None:
        try:  # a worker imports on in a process of its own, while we import here
            self.sandbox.warm(self.settings.sandbox.warm, at_most=runs)
        except SandboxUnavailable as error:
            log.warning("sandbox.unavailable", reason=error.what, remedy=error.remedy)
        for store in list(self.stores.values()):
            store.prepare()
        self.sandbox_facts()

    def sandbox_facts(self) -> Mapping[str, str]:
        """Tier and profile of the sandbox, proven once per process by a canary; empty when there is none.

        Raises:
            SandboxClosed: the agent is stopping.
        """
        with self._proving:
            if self._sandbox_facts is None:
                try:
                    info = self.sandbox.proven()
                except SandboxUnavailable as error:
                    log.warning("sandbox.unavailable", reason=error.what, remedy=error.remedy)
                    return {}
                self._sandbox_facts = {"tier": info.tier, "profile": info.profile, "detail": info.detail}
            return self._sandbox_facts

    def poll_of(self, store: Store) -> float:
        """Seconds between two questions to a store that can't be watched."""
        return self._polls[store.id]

    def may_matter(self, ref: RunRef) -> bool:
        """Whether a run of this experiment could be audited at all; True when the experiment is not known yet."""
        store = self.stores.get(ref.store)
        if store is None:
            return False
        return self.auditor.selects(store, ref.experiment_id)

    def refresh_policies(self) -> bool:
        """Take up changed policies and waivers; returns whether there are any."""
        changed = self.in_force.refresh()
        if changed and self.notices:
            self._note_policies()
        if changed and self.crew is not None:
            self.crew.machines.tell(self.in_force.book.waivers.digest)
        return changed

    def _note_policies(self) -> None:
        """Have in the log the key that signs, every version that was ever in force, and the waivers that count."""
        book = self.in_force.book
        self.notary.note_key()
        for term in sorted((t for terms in book.history.values() for t in terms), key=lambda t: (t.since, t.policy)):
            self.notary.note_policy(term.ref, term.digest, term.since)
        self.notary.note_waivers(book.waivers.digest)

    def _policy(self, digest: str) -> Policy:
        for policy in self.in_force.book.policies.values():
            if policy.digest == digest:
                return policy
        source = self.policy_record.source(digest)
        if source is None:
            raise PermanentError(
                f"the policy with SHA-256 {digest} is not in the state",
                remedy="restore the state, or put that version of the policy back",
            )
        file_name, content = source
        return parse_policy(content, file_name)


def refuse_silent_channels(settings: Settings) -> None:
    """Raises ConfigError where nothing says where a channel's messages go; a command that sends none needs no URL."""
    for channel in settings.notify:
        if not channel.url:
            raise ConfigError(
                f"the channel {channel.name} has no URL",
                subject=str(settings.file or settings.folder),
                remedy=f"put it into the variable VENTURALITICA_NOTIFY_{channel.name.upper()}",
            )


def _send(url: str, title: str, body: str) -> None:
    from venturalitica_agent.notify.apprise_channel import send  # 30 MB, once there is something to tell

    send(url, title, body)


def _lend(given: Mapping[str, str], before: Mapping[str, str]) -> dict[str, str]:
    """Put credentials where trackers' own clients read them, unless somebody else did; returns what was put there."""
    lent = {name: value for name, value in given.items() if os.environ.get(name, value) in (value, before.get(name))}
    os.environ.update(lent)
    return lent


def keys_folder(settings: Settings) -> Path:
    """Where the keys that sign evidence are: beside the state where that is a file, else beside the cache."""
    url = sa.make_url(settings.state)
    home = Path(url.database) if url.get_backend_name() == "sqlite" and url.database else settings.cache.folder
    return home.parent / "keys"


def keys_of(settings: Settings) -> Keys:
    """The keys that evidence is signed with.

    Raises:
        ConfigError: the command that signs, or its public key, can't be used.
    """
    signing = settings.signing
    if not signing.command:
        return Keys(keys_folder(settings))
    try:
        words = shlex.split(signing.command)
        text = signing.public_key.read_text(encoding="ascii") if signing.public_key else ""
        key_id(text)
    except (OSError, ValueError) as error:
        raise ConfigError(
            "the command that signs evidence, or the file of its public key, can't be used",
            subject=signing.command,
            remedy="`signing.public_key` names the PEM file of the Ed25519 key that `signing.command` signs with",
        ) from error
    if not text or not words:
        raise ConfigError(
            "a command signs evidence, and nothing says with which key",
            subject=signing.command,
            remedy="name the PEM file of its public key as `signing.public_key`",
        )
    return Keys(keys_folder(settings), CommandSigner(words, text))


def sandbox_of(settings: Settings, workdir: Path, *, on_kill: Callable[[str], None] = lambda _: None) -> Sandbox:
    """The sandbox with the limits that were set."""
    given = settings.sandbox
    limits = Limits(
        wall_seconds=given.wall,
        cpu_seconds=int(given.cpu),
        memory_bytes=given.memory,
        output_bytes=given.output,
    )
    return Sandbox(limits=limits, workdir=workdir, on_kill=on_kill)


def rules_of(settings: Settings, policies: Mapping[str, Policy]) -> tuple[AuditRule, ...]:
    """Which runs fall under which policies: the entries of `audits:`, or without any the policies' own `applies_to`."""
    rules = []
    for audit in settings.audits:
        for policy_id in audit.policies:
            if policy_id not in policies:
                raise ConfigError(
                    f"there is no policy {clean(policy_id)!r}; there are: {', '.join(sorted(policies))}",
                    subject=f"audit {clean(audit.name)!r} in {settings.file}",
                    remedy=f"name one of them, or add the policy to {settings.policies}",
                )
        rules.append(AuditRule(audit.name, audit.selector, audit.policies, audit.plan))
    if not settings.audits:
        rules = [AuditRule(p.id, p.applies_to, (p.id,), DataPlan()) for p in policies.values() if p.applies_to]
        if not rules and settings.file is None and len(policies) == 1:
            # The guide's way: one model_policy.yaml beside the training code and no agent.yaml. It means every run.
            rules = [AuditRule(p.id, Selector(), (p.id,), DataPlan()) for p in policies.values()]
        if not rules:
            raise ConfigError(
                "nothing says which runs to audit",
                subject=str(settings.policies),
                remedy='add `applies_to: {experiment: "*"}` to the policy, or an `audits:` entry to agent.yaml',
            )
    return tuple(rules)


def _authority(settings: Settings) -> TimestampAuthority | None:
    signing = settings.signing
    if not signing.timestamp:
        return None
    if signing.timestamp_ca is None:
        raise ConfigError(
            "a time-stamp authority is named, and not by whom its answers must be signed",
            subject=signing.timestamp,
            remedy="name the PEM file of its root certificates as `signing.timestamp_ca`",
        )
    return TimestampAuthority(signing.timestamp, signing.timestamp_ca)
