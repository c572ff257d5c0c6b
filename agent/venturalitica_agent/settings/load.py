"""Puts the settings together: agent.yaml, then variables over it, then what the folder gives away."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import TypeVar

from venturalitica_agent.domain.verdict import Status
from venturalitica_agent.errors import ConfigError
from venturalitica_agent.settings.audits import read_audits, read_stores, tracking_store
from venturalitica_agent.settings.environment import PREFIX, Variables
from venturalitica_agent.settings.model import (
    CacheSettings,
    ChannelSettings,
    DriftSettings,
    Event,
    OnDrift,
    PromotionRule,
    RetentionSettings,
    SandboxSettings,
    Settings,
    SigningSettings,
    StoreSettings,
    WandbSettings,
    WebSettings,
)
from venturalitica_agent.settings.values import (
    duration,
    folder_path,
    mlflow_uri,
    page_url,
    port,
    size,
    some_time,
    state_url,
    wandb_project,
    whole,
    yes_or_no,
)
from venturalitica_agent.strict_yaml import (
    BadValue,
    Fields,
    MapNode,
    Mistake,
    Mistakes,
    Scalar,
    one_of,
    parse,
    printable,
    read_fields,
    read_file,
    shown,
    understand,
)

T = TypeVar("T")
Convert = Callable[[Scalar, Path], T]  # the folder is where relative paths start


def load_settings(
    path: Path | None, *, env: Mapping[str, str], cwd: Path, meant: Sequence[StoreSettings] = ()
) -> Settings:
    """The settings of `path`, or of `cwd`/agent.yaml where it exists, or of a bare folder.

    `VENTURALITICA_<KEY>` (sections joined with `_`, e.g. `VENTURALITICA_WEB_PORT`) overrides each single setting; the
    real environment wins over `.env`. Relative paths start from agent.yaml's folder, in `.env` from its own, in a
    real variable from `cwd`.

    Args:
        meant: stores that the caller has runs in: beside those of agent.yaml, instead of those that are looked for.

    Raises:
        InvalidDocument: agent.yaml or a variable is wrong; every mistake with its place.
        ConfigError: a file can't be read, or there is no store or no policy.
    """
    file = _agent_yaml(path, cwd)
    folder = file.parent if file else cwd.absolute()
    mistakes = Mistakes(str(file) if file else str(folder))
    variables = Variables(env, cwd.absolute(), folder)
    root = read_fields(parse(read_file(file), mistakes), "the file", mistakes) if file else None
    if root is None:
        root = Fields((), MapNode((), 1, 1, ""), mistakes)
    settings = replace(_Reader(root, variables, folder, tuple(meant)).read(), file=file)
    mistakes.raise_if_any()
    return settings


def default_agent_yaml() -> str:
    """The commented agent.yaml that `init` writes."""
    return resources.files(__package__).joinpath("template.yaml").read_text(encoding="utf-8")


def _agent_yaml(path: Path | None, cwd: Path) -> Path | None:
    if path is not None:
        return (cwd / path).absolute()
    file = cwd.absolute() / "agent.yaml"
    return file if file.exists() else None


class _Reader:
    """Reads one agent.yaml (or none: then every field is missing) with the variables over it."""

    def __init__(self, root: Fields, variables: Variables, folder: Path, meant: tuple[StoreSettings, ...] = ()) -> None:
        self._root = root
        self._variables = variables
        self._folder = folder
        self._meant = meant
        self._names: list[str] = []

    def read(self) -> Settings:
        home = self._folder / ".venturalitica"
        plain = Settings(self._folder, (), Path(), f"sqlite:///{home / 'agent.db'}", CacheSettings(home / "cache"))
        stores = read_stores(self._root, self._folder)
        policies = self._setting(self._root, "policies", folder_path, Path())
        settings = replace(
            plain,
            stores=stores,
            policies=policies,
            audits=read_audits(self._root, self._folder),
            state=self._setting(self._root, "state", state_url, plain.state),
            settle=self._setting(self._root, "settle", _anywhere(duration), plain.settle),
            reconcile=self._setting(self._root, "reconcile", _anywhere(some_time), plain.reconcile),
            stale_running=self._setting(self._root, "stale_running", _anywhere(some_time), plain.stale_running),
            concurrency=self._setting(self._root, "concurrency", _count(1, 64), plain.concurrency),
            cache=self._cache(plain.cache),
            sandbox=self._sandbox(plain.sandbox),
            wandb=self._wandb(plain.wandb),
            web=self._web(plain.web),
            signing=self._signing(plain.signing),
            drift=self._drift(plain.drift),
            retention=self._retention(plain.retention),
            notify=self._channels(),
            promote=self._promotions(),
            environment=self._variables.credentials(),
        )
        self._root.close()
        self._variables.note_misspelt(self._names, self._root.mistakes)
        return self._completed(settings)

    def _cache(self, plain: CacheSettings) -> CacheSettings:
        fields = self._section("cache")
        cache = CacheSettings(
            folder=self._setting(fields, "cache.folder", folder_path, plain.folder),
            size=self._setting(fields, "cache.size", _anywhere(size), plain.size),
        )
        fields.close()
        return cache

    def _sandbox(self, plain: SandboxSettings) -> SandboxSettings:
        fields = self._section("sandbox")
        sandbox = SandboxSettings(
            wall=self._setting(fields, "sandbox.wall", _anywhere(some_time), plain.wall),
            cpu=self._setting(fields, "sandbox.cpu", _anywhere(some_time), plain.cpu),
            memory=self._setting(fields, "sandbox.memory", _anywhere(size), plain.memory),
            output=self._setting(fields, "sandbox.output", _anywhere(size), plain.output),
            warm=self._setting(fields, "sandbox.warm", _count(0, 16), plain.warm),
        )
        fields.close()
        return sandbox

    def _wandb(self, plain: WandbSettings) -> WandbSettings:
        fields = self._section("wandb")
        wandb = WandbSettings(
            audit_runs=self._setting(fields, "wandb.audit_runs", _anywhere(yes_or_no), plain.audit_runs)
        )
        fields.close()
        return wandb

    def _web(self, plain: WebSettings) -> WebSettings:
        fields = self._section("web")
        web = WebSettings(
            host=self._setting(fields, "web.host", _anywhere(printable(253)), plain.host),
            port=self._setting(fields, "web.port", _anywhere(port), plain.port),
            serve=self._setting(fields, "web.serve", _anywhere(yes_or_no), plain.serve),
            token=self._secret("web.token"),
            token_file=self._setting(fields, "web.token_file", folder_path, plain.token_file),
            users=self._setting(fields, "web.users", folder_path, plain.users),
        )
        fields.close()
        return web

    def _signing(self, plain: SigningSettings) -> SigningSettings:
        fields = self._section("signing")
        signing = SigningSettings(
            command=self._setting(fields, "signing.command", _anywhere(printable(4096)), plain.command),
            public_key=self._setting(fields, "signing.public_key", folder_path, plain.public_key),
            timestamp=self._setting(fields, "signing.timestamp", _anywhere(page_url), plain.timestamp),
            timestamp_ca=self._setting(fields, "signing.timestamp_ca", folder_path, plain.timestamp_ca),
        )
        fields.close()
        return signing

    def _drift(self, plain: DriftSettings) -> DriftSettings:
        fields = self._section("drift")
        actions = _anywhere(one_of([action.value for action in OnDrift]))
        drift = DriftSettings(
            every=self._setting(fields, "drift.every", _anywhere(some_time), plain.every),
            on_change=OnDrift(self._setting(fields, "drift.on_change", actions, plain.on_change.value)),
            inputs=self._setting(fields, "drift.inputs", _anywhere(yes_or_no), plain.inputs),
        )
        fields.close()
        return drift

    def _retention(self, plain: RetentionSettings) -> RetentionSettings:
        fields = self._section("retention")
        retention = RetentionSettings(
            jobs=self._setting(fields, "retention.jobs", _anywhere(some_time), plain.jobs),
            gone=self._setting(fields, "retention.gone", _anywhere(some_time), plain.gone),
        )
        fields.close()
        return retention

    def _channels(self) -> tuple[ChannelSettings, ...]:
        channels: dict[str, ChannelSettings] = {}
        for fields in self._root.maps("notify"):
            fields.require("name")
            name = fields.read("name", _channel_name, "")
            plain = ChannelSettings(name, self._secret(f"notify.{name}") if name else "")
            variable = f"{PREFIX}NOTIFY_{name.upper()}"
            if "url" in fields:
                fields.complain("url", f"a channel's URL holds a secret: put it into the variable {variable}")
                fields.node("url")
            events = fields.list_of("on", one_of([event.value for event in Event]))
            if name in channels:
                fields.complain("name", f"there is a channel {name} already")
            channels[name] = replace(
                plain,
                events=tuple(map(Event, events)) or plain.events,
                digest=fields.read("digest", duration, plain.digest),
            )
            fields.close()
        return tuple(channels.values())

    def _promotions(self) -> tuple[PromotionRule, ...]:
        rules = []
        for fields in self._root.maps("promote"):
            fields.require("model", "alias")
            allowed = fields.list_of("only_if", one_of([Status.PASS, Status.WARN]))
            plain = PromotionRule(fields.read("model", printable(200), ""), fields.read("alias", _alias_name, ""))
            rules.append(replace(plain, only_if=tuple(map(Status, allowed)) or plain.only_if))
            fields.close()
        return tuple(rules)

    def _section(self, key: str) -> Fields:
        return self._root.map(key) or Fields((), self._root.place, self._root.mistakes)

    def _setting(self, fields: Fields, name: str, convert: Convert[T], default: T) -> T:
        """One single setting, `section.key`: the variable's value, else the file's, else the default."""
        key = name.rpartition(".")[2]
        value = fields.read(key, lambda scalar: convert(scalar, self._folder), default)
        variable_name = PREFIX + name.upper().replace(".", "_")
        self._names.append(variable_name)
        return self._variable(variable_name, convert, value)

    def _secret(self, name: str) -> str:
        """A setting that only a variable may give: agent.yaml is read by many and kept in git."""
        variable_name = PREFIX + name.upper().replace(".", "_")
        self._names.append(variable_name)
        variable = self._variables.get(variable_name)
        return variable.value if variable else ""

    def _variable(self, name: str, convert: Convert[T], default: T) -> T:
        variable = self._variables.get(name)
        if variable is None:
            return default
        value, _ = understand(variable.value)
        try:
            return convert(Scalar(variable.value, value), variable.folder)
        except BadValue as error:
            what = f"{name} of {variable.origin} {error.what}"
            self._root.mistakes.add(Mistake(0, 0, name, "", what, error.nearest))
            return default

    def _completed(self, settings: Settings) -> Settings:
        """Stores and policies that nobody named are looked for; mistakes that were noted come first."""
        missing: list[tuple[str, str]] = []
        if "stores" not in self._root:
            settings = replace(settings, stores=self._meant or self._found_stores())
        else:
            named = {(store.kind, store.uri) for store in settings.stores}
            more = tuple(store for store in self._meant if (store.kind, store.uri) not in named)
            settings = replace(settings, stores=(*settings.stores, *more))
        if not settings.stores:
            missing.append(
                (
                    "no store is named and none was found",
                    "set MLFLOW_TRACKING_URI, or WANDB_ENTITY and WANDB_PROJECT, or name one under 'stores'",
                )
            )
        if settings.policies == Path():
            settings = replace(settings, policies=self._found_policies() or Path())
        if settings.policies == Path():
            missing.append(
                ("no policy is named and none was found", "put one into ./policies or name it under 'policies'")
            )
        self._root.mistakes.raise_if_any()
        if missing:
            raise ConfigError(
                "; ".join(what for what, _ in missing),
                subject=str(self._folder),
                remedy="; ".join(remedy for _, remedy in missing) + "; `venturalitica-agent init` writes both files",
            )
        return settings

    def _found_stores(self) -> tuple[StoreSettings, ...]:
        runs = self._folder / ".venturalitica" / "runs"
        folder = (StoreSettings("folder", str(runs)),) if runs.is_dir() else ()
        return (*self._found_mlflow(), *self._found_wandb(), *folder)

    def _found_mlflow(self) -> tuple[StoreSettings, ...]:
        uri = self._variable("MLFLOW_TRACKING_URI", mlflow_uri, "")
        if uri:
            return (tracking_store(uri),)
        database, runs = self._folder / "mlflow.db", self._folder / "mlruns"
        found = [f"sqlite:///{database}"] if database.is_file() else []
        return tuple(tracking_store(uri) for uri in (*found, *([str(runs)] if _is_file_store(runs) else ())))

    def _found_wandb(self) -> tuple[StoreSettings, ...]:
        """What W&B's own variables name, as its SDK reads them, and the offline runs that it keeps below `./wandb`.

        A key in this folder's `.env` is meant for this folder, so it is enough: it means every project of its owner.
        One in the environment may be there for other programs, so it isn't.
        """
        entity = self._variable("WANDB_ENTITY", _anywhere(_one_name), "")
        project = self._variable("WANDB_PROJECT", _anywhere(_one_name), "")
        meant = entity or project or "WANDB_API_KEY" in self._variables.credentials()
        found = [StoreSettings("wandb", f"{entity}/{project or '*'}", poll=30.0)] if meant else []
        folder = self._folder / "wandb"
        if folder.is_dir() and next(folder.glob("offline-run-*"), None):
            found.append(StoreSettings("wandb_offline", str(folder)))
        return tuple(found)

    def _found_policies(self) -> Path | None:
        candidates = (self._folder / "policies", self._folder / "model_policy.yaml")
        return next((path for path in candidates if path.exists()), None)


def _is_file_store(folder: Path) -> bool:
    # The artifacts of a mlflow.db are kept under mlruns too; only a file store's experiments describe themselves.
    try:
        return folder.is_dir() and any((child / "meta.yaml").is_file() for child in folder.iterdir())
    except OSError as error:
        remedy = "let this user read it, or name the stores in agent.yaml"
        raise ConfigError(f"can't be looked into: {error.strerror}", subject=str(folder), remedy=remedy) from error


def _anywhere(convert: Callable[[Scalar], T]) -> Convert[T]:
    """A converter that doesn't care where relative paths start."""
    return lambda scalar, _: convert(scalar)


def _one_name(scalar: Scalar) -> str:
    return wandb_project(Scalar(f"x/{scalar.text}", None)).partition("/")[2]


def _channel_name(scalar: Scalar) -> str:
    if not re.fullmatch("[a-z][a-z0-9_]{0,39}", scalar.text):
        raise BadValue(f"must be small letters, digits and _, not {shown(scalar.text)}")
    return scalar.text


def _alias_name(scalar: Scalar) -> str:
    if not re.fullmatch("[A-Za-z][A-Za-z0-9_-]{0,63}", scalar.text):
        raise BadValue(f"must be an alias such as champion, not {shown(scalar.text)}")
    return scalar.text


def _count(low: int, high: int) -> Convert[int]:
    return lambda scalar, _: whole(scalar, low, high)
