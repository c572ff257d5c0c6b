"""Reads `stores:` and `audits:` of agent.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path

from venturalitica_agent.domain.policy import Selector
from venturalitica_agent.domain.subject import ColumnBinding, DataRef
from venturalitica_agent.settings.model import AuditSettings, StoreSettings
from venturalitica_agent.settings.selector import read_selector
from venturalitica_agent.settings.values import (
    artifact_glob,
    folder_path,
    mlflow_uri,
    page_url,
    some_time,
    wandb_project,
    without_login,
)
from venturalitica_agent.strict_yaml import BadValue, Fields, ListNode, Plain, Scalar, printable, read_fields, shown

_name = printable(200)
Value = str | int | float | bool


def read_stores(root: Fields, folder: Path) -> tuple[StoreSettings, ...]:
    """Every store of the file; a store that is named twice is a mistake."""
    stores: list[StoreSettings] = []
    for fields in root.maps("stores"):
        store = _store(fields, folder)
        if store is None:
            continue
        if any((s.kind, s.uri) == (store.kind, store.uri) for s in stores):
            fields.note(fields.place, f"the store {shown(store.shown)} is named twice")
        stores.append(store)
    return tuple(stores)


def read_audits(root: Fields, folder: Path) -> tuple[AuditSettings, ...]:
    """Every audit of the file; names are unique."""
    audits: dict[str, AuditSettings] = {}
    for fields in root.maps("audits"):
        audit = _audit(fields, folder)
        if audit.name in audits:
            fields.complain("name", f"the audit {shown(audit.name)} is named twice")
        audits[audit.name] = audit
    return tuple(audits.values())


def tracking_store(uri: str, *, ui: str = "", poll: float = 5.0, artifacts: tuple[Path, ...] = ()) -> StoreSettings:
    """An MLflow store; deep links default to the URI itself if it is http."""
    page = ui or (without_login(uri) if uri.startswith(("http://", "https://")) else "")
    return StoreSettings("mlflow", uri, page, poll, artifacts)


def _store(fields: Fields, folder: Path) -> StoreSettings | None:
    kinds = [kind for kind in ("mlflow", "wandb", "wandb_offline", "folder") if kind in fields]
    uri = {
        "mlflow": fields.read("mlflow", partial(mlflow_uri, folder=folder), ""),
        "wandb": fields.read("wandb", wandb_project, ""),
        "wandb_offline": fields.read("wandb_offline", lambda scalar: str(folder_path(scalar, folder)), ""),
        "folder": fields.read("folder", lambda scalar: str(folder_path(scalar, folder)), ""),
    }
    ui = fields.read("ui", page_url, "")
    poll = fields.read("poll", some_time, 30.0 if "wandb" in fields else 5.0)
    artifacts = fields.list_of("artifacts", partial(folder_path, folder=folder))
    fields.close()
    if len(kinds) != 1:
        fields.note(fields.place, "a store names exactly one of 'mlflow', 'wandb', 'wandb_offline' or 'folder'")
        return None
    (kind,) = kinds
    if not uri[kind]:
        return None
    if kind == "mlflow":
        return tracking_store(uri[kind], ui=ui, poll=poll, artifacts=artifacts)
    return StoreSettings(kind, uri[kind], ui, poll, artifacts)


def _audit(fields: Fields, folder: Path) -> AuditSettings:
    fields.require("name", "runs", "policy")
    runs = fields.map("runs")
    audit = AuditSettings(
        name=fields.read("name", _name, ""),
        selector=read_selector(runs) if runs else Selector(),
        policies=fields.list_of("policy", _name),
        data=_data(fields, folder),
        columns=_columns(fields),
        auto=fields.flag("auto", False),
    )
    fields.close()
    return audit


def _data(audit: Fields, folder: Path) -> dict[str, DataRef]:
    data = audit.map("data")
    if data is None:
        return {}
    found = {split: _data_ref(fields, folder) for split in ("evaluation", "training") if (fields := data.map(split))}
    data.close()
    return found


def _data_ref(fields: Fields, folder: Path) -> DataRef:
    refs = {
        "artifact": fields.read("artifact", artifact_glob, ""),
        "dataset": fields.read("dataset", _name, ""),
        "file": fields.read("file", lambda scalar: str(folder_path(scalar, folder)), ""),
        "wandb": fields.read("wandb", _name, ""),
    }
    kinds = [kind for kind in refs if kind in fields]
    fields.close()
    if len(kinds) != 1:
        fields.note(fields.place, "name exactly one of 'artifact', 'dataset', 'file' or 'wandb'")
    return DataRef(kinds[0] if kinds else "", refs[kinds[0]] if kinds else "")


def _columns(audit: Fields) -> dict[str, ColumnBinding]:
    columns = audit.map("columns")
    bound: dict[str, ColumnBinding] = {}
    for role, node in columns.pairs() if columns else ():
        if isinstance(node, Scalar) and node.text:
            bound[role.text] = ColumnBinding(role.text, node.text, "declared")
        elif (fields := read_fields(node, f"the column of {shown(role.text)}", audit.mistakes)) is not None:
            bound[role.text] = _column(role.text, fields)
    return bound


def _column(role: str, fields: Fields) -> ColumnBinding:
    fields.require("column")
    if "groups" in fields and "bins" in fields:
        fields.complain("bins", "give 'groups' or 'bins', not both")
    bins = fields.list_of("bins", _number)
    if any(low >= high for low, high in pairwise(bins)):
        fields.complain("bins", "'bins' must ascend")
    binding = ColumnBinding(
        role=role,
        column=fields.read("column", _name, ""),
        how="declared",
        positive=fields.read("positive", _value, None),
        groups=_groups(fields),
        bins=bins,
    )
    fields.close()
    return binding


def _groups(column: Fields) -> Mapping[str, tuple[Value, ...]]:
    fields = column.map("groups")
    groups: dict[str, tuple[Value, ...]] = {}
    owner: dict[tuple[type, Plain], str] = {}
    for name, node in fields.pairs() if fields else ():
        if fields is None or not name.text.isprintable() or not name.text:
            column.note(node, "a group needs a printable name")
            continue
        groups[name.text] = fields.list_of(name.text, _value)
        if isinstance(node, ListNode) and len({(type(v), v) for v in groups[name.text]}) < len(groups[name.text]):
            column.note(node, f"the group {shown(name.text)} names a value twice")
        for value in groups[name.text]:
            first = owner.setdefault((type(value), value), name.text)
            if first != name.text:
                column.note(node, f"{shown(str(value))} is in two groups, {shown(first)} and {shown(name.text)}")
    return groups


def _value(scalar: Scalar) -> Value:
    if scalar.value is None:
        raise BadValue("is empty")
    return scalar.value


def _number(scalar: Scalar) -> float:
    if isinstance(scalar.value, bool) or not isinstance(scalar.value, int | float):
        raise BadValue(f"must hold numbers, not {shown(scalar.text)}")
    return float(scalar.value)
