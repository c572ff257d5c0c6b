"""What works here and what to do where it doesn't: the checks behind `doctor`."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from venturalitica_agent.agent import keys_of, refuse_silent_channels, rules_of
from venturalitica_agent.attest.sign import key_id
from venturalitica_agent.errors import AgentError
from venturalitica_agent.policy.load import load_policies
from venturalitica_agent.policy.waivers import day_of, load_waivers, notices
from venturalitica_agent.sandbox.launcher import Sandbox
from venturalitica_agent.sandbox.own_metrics import ENLISTED, enlist
from venturalitica_agent.settings import Settings, StoreSettings
from venturalitica_agent.settings.model import ChannelSettings
from venturalitica_agent.state.opening import open_state
from venturalitica_agent.stores.folder import RunFolderStore
from venturalitica_agent.stores.mlflow_file import MlflowFileStore
from venturalitica_agent.stores.opening import WandbServer, follows, open_mlflow, open_offline


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that works or doesn't; `detail` says what was seen, `remedy` what to do."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def check_up(settings: Settings) -> list[Check]:
    """Every check, none of which changes anything outside the agent's own state folder."""
    own = _own_metrics(settings)  # first: policies may name them
    checks = [_try("policies", lambda: _policies(settings)), _try("state", lambda: _state(settings))]
    checks.append(_try("waivers", lambda: _waivers(settings)))
    checks += [_try(f"store {given.shown}", partial(_store, given, settings)) for given in settings.stores]
    checks += [_try("keys", lambda: _keys(settings)), _try("sandbox", _sandbox)]
    checks += [_try(f"channel {given.name}", partial(_channel, given, settings)) for given in settings.notify]
    checks += [_try("watch limits", lambda: _watches(settings))]
    return checks + own


def _own_metrics(settings: Settings) -> list[Check]:
    """Metrics of installed packages that policies may name, and those that can't be used; nothing where none is."""
    refused = enlist(settings.cache.folder)
    checks = [Check(f"metric {name}", True, own.spec.origin) for name, own in ENLISTED.items()]
    return checks + [Check(e.subject or "metric", False, e.what, e.remedy) for e in refused]


def _try(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, True, check())
    except AgentError as error:
        return Check(name, False, error.what if not error.subject else f"{error.subject}: {error.what}", error.remedy)


def _policies(settings: Settings) -> str:
    policies = {p.id: p for p in load_policies(settings.policies)}
    rules = rules_of(settings, policies)
    controls = sum(len(p.controls) for p in policies.values())
    return f"policies: {len(policies)}, controls: {controls}, rules that say which runs they apply to: {len(rules)}"


def _waivers(settings: Settings) -> str:
    waivers = load_waivers(settings.policies, load_policies(settings.policies)).items
    today = day_of(time.time())
    counting = sum(waiver.counts_on(today) for waiver in waivers)
    return "; ".join((f"{counting} of {len(waivers)} count", *notices(waivers, today))) if waivers else "there are none"


def _state(settings: Settings) -> str:
    open_state(settings.state).dispose()
    return "can be opened and written"


def _store(given: StoreSettings, settings: Settings) -> str:
    match given.kind:
        case "mlflow":
            store = open_mlflow(given.uri, roots=given.artifacts, ui=given.ui)
            store.ping()
            return f"answers; experiments: {len(store.experiments())}"
        case "wandb_offline":
            folder = open_offline(given, WandbServer(settings))
            folder.ping()
            return f"can be read; offline runs: {sum(1 for _ in folder.scan())}"
        case "folder":
            runs = RunFolderStore(Path(given.uri))
            runs.ping()
            return f"can be read; runs: {sum(1 for _ in runs.scan())}"
    return _wandb(given, settings)


def _wandb(given: StoreSettings, settings: Settings) -> str:
    """Whether every project that is meant can be read and written with the key that there is."""
    server = WandbServer(settings)
    paths = server.projects(given.uri) if follows(given) else [given.uri]
    closed = [path for path in paths if not server.project(path).writable()]
    if closed:
        raise AgentError(
            f"the API key from {server.http.key().origin} may read and not write: {', '.join(closed[:5])}",
            subject=server.http.shown,
            remedy="use the key of a member (or a service account) that may write to the project: verdicts are written "
            "on its runs",
        )
    return f"answers with the API key from {server.http.key().origin}; projects: {len(paths)}"


def _keys(settings: Settings) -> str:
    keys = keys_of(settings)
    if settings.signing.command:
        keys.signer().sign(b"venturalitica-agent doctor")
        return f"evidence is signed with key {key_id(keys.current())[:16]}…, by the command of `signing.command`"
    known = keys.public()
    if not known:
        return "there is none yet; the first audit makes one"
    return f"evidence is signed with key {key_id(keys.current())[:16]}…, which only this user may read"


def _sandbox() -> str:
    with tempfile.TemporaryDirectory(prefix="venturalitica-doctor-") as folder, Sandbox(workdir=Path(folder)) as box:
        info = box.probe()
    return f"{info.tier} ({info.profile}); {info.detail}"


def _channel(given: ChannelSettings, settings: Settings) -> str:
    from venturalitica_agent.notify.apprise_channel import kind_of

    refuse_silent_channels(settings)
    told = ", ".join(given.events)
    return f"{kind_of(given.url)}, told of {told}; `venturalitica-agent notify test` sends a message"


def _watches(settings: Settings) -> str:
    limit = int(Path("/proc/sys/fs/inotify/max_user_watches").read_text())
    needed = 0
    for given in settings.stores:
        store = open_mlflow(given.uri) if given.kind == "mlflow" else None
        if isinstance(store, MlflowFileStore) and store.root.is_dir():
            needed += 1 + sum(1 for _ in store.experiment_folders())
    if needed > limit:
        raise AgentError(
            f"{needed} folders must be watched, the kernel allows {limit}",
            remedy=f"sysctl fs.inotify.max_user_watches={2 * needed}; until then runs are found by the sweep",
        )
    return f"{needed} folders to watch, {limit} allowed for user {os.getuid()}"
