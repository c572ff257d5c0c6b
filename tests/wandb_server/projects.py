"""One project: its runs and its artifacts."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from .artifacts import Artifact, ArtifactType, Collection, Membership
from .calls import Access, Call
from .filters import matches, ordered
from .paging import Connection, page
from .people import Entity, User
from .runs import Run
from .texts import node_id


@dataclass(eq=False)
class Project:
    """`number` is unique on the server; `no_blob` is a path where there is no file."""

    entity: Entity
    name: str
    number: int
    user: User
    created_at: datetime
    no_blob: Path
    description: str | None = None
    access: str = "PRIVATE"
    views: dict[str, Any] = field(default_factory=dict)
    is_benchmark: bool = False
    runs_by_name: dict[str, Run] = field(default_factory=dict)
    collections: dict[str, Collection] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return f"{self.entity.name}/{self.name}"

    @property
    def id(self) -> str:
        return node_id("Project", "v1", self.name, self.entity.name)

    @property
    def internal_id(self) -> str:
        return node_id("ProjectInternalId", self.number)

    @property
    def entity_name(self) -> str:
        return self.entity.name

    def read_only(self, call: Call) -> bool:
        return call.access is not Access.FULL

    def run_count(self, call: Call, filters: dict[str, Any] | None = None) -> int:
        return len(self._chosen(filters))

    def runs(
        self,
        call: Call,
        filters: dict[str, Any] | None = None,
        after: str | None = None,
        first: int | None = None,
        order: str | None = None,
    ) -> Connection:
        return page(call, ordered(self._chosen(filters), order), after, first)

    def run(self, call: Call, name: str) -> Run | None:
        return self.runs_by_name.get(name)

    def bucket(self, call: Call, name: str, missing_ok: bool = False) -> Run | None:
        return self.runs_by_name.get(name)

    def version(self, name: str) -> Artifact | None:
        """The artifact that `collection:alias` names; without an alias the latest."""
        collection, _, alias = name.partition(":")
        found = self.collections.get(collection)
        return found.version(alias or "latest") if found else None

    def artifact(self, call: Call, name: str) -> Artifact | None:
        return self.version(name)

    def artifact_collection_membership(self, call: Call, name: str) -> Membership | None:
        found = self.version(name)
        return Membership(found) if found else None

    def artifact_collection(self, call: Call, name: str) -> Collection | None:
        return self.collections.get(name)

    def artifact_collections(
        self,
        call: Call,
        after: str | None = None,
        first: int | None = None,
        filters: dict[str, Any] | None = None,
        order: str | None = None,
    ) -> Connection:
        return page(call, list(self.collections.values()), after, first)

    def artifact_type(self, call: Call, name: str) -> ArtifactType | None:
        return next((kind for kind in self._types() if kind.name == name), None)

    def artifact_types(self, call: Call, after: str | None = None, first: int | None = None) -> Connection:
        return page(call, self._types(), after, first)

    def _types(self) -> list[ArtifactType]:
        return list({c.type_name: c.default_artifact_type for c in self.collections.values()}.values())

    def _chosen(self, filters: dict[str, Any] | None) -> list[Run]:
        return [run for run in self.runs_by_name.values() if matches(run, filters or {})]
