"""The fields of the GraphQL root that read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .artifacts import Artifact, Collection
from .calls import Access, ApiError, Call
from .paging import Connection, page
from .people import Entity, User
from .projects import Project
from .texts import id_parts


@dataclass(frozen=True)
class Feature:
    name: str
    is_enabled: bool = True


@dataclass(frozen=True)
class ServerInfo:
    features: list[Feature]
    cli_version_info: dict[str, Any]
    latest_local_version_info: None = None


@dataclass(frozen=True)
class ClientIDMapping:
    server_id: str


class Queries:
    """Somebody without a known key sees no viewer and no project, and is told so by nulls alone."""

    def server_info(self, call: Call) -> ServerInfo:
        versions = {"max_cli_version": "99.0.0", "min_cli_version": "0.10.0"}
        return ServerInfo([Feature(name) for name in sorted(call.world.features)], versions)

    def viewer(self, call: Call) -> User | None:
        return None if call.access is Access.ANONYMOUS else call.world.user

    def entity(self, call: Call, name: str | None = None) -> Entity | None:
        return None if call.access is Access.ANONYMOUS else call.world.entities.get(name or call.world.user.entity)

    def organization(self, call: Call, name: str) -> None:
        """Nobody here belongs to one."""

    def project(self, call: Call, name: str | None = None, entity_name: str | None = None) -> Project | None:
        return None if call.access is Access.ANONYMOUS else call.world.find_project(entity_name, name)

    def model(self, call: Call, name: str | None = None, entity_name: str | None = None) -> Project | None:
        return self.project(call, name, entity_name)

    def models(
        self, call: Call, entity_name: str | None = None, after: str | None = None, first: int | None = None
    ) -> Connection:
        owner = self.entity(call, entity_name)
        return page(call, list(owner.projects.values()) if owner else [], after, first)

    def artifact(self, call: Call, id: str) -> Artifact | None:
        _refuse_nobody(call)
        return call.world.artifact(id)

    def artifact_collection(self, call: Call, id: str) -> Collection | None:
        _refuse_nobody(call)
        number, name = id_parts(id, "ArtifactCollection")
        projects = [p for entity in call.world.entities.values() for p in entity.projects.values()]
        return next((p.collections.get(name) for p in projects if p.number == int(number)), None)

    def client_id_mapping(self, call: Call, client_id: str) -> ClientIDMapping | None:
        _refuse_nobody(call)
        found = next((a for a in call.world.artifacts.values() if a.client_id == client_id), None)
        return ClientIDMapping(found.id) if found else None


def _refuse_nobody(call: Call) -> None:
    if call.access is Access.ANONYMOUS:
        raise ApiError(404, "not found")
