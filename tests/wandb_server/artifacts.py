"""Artifacts: collections of versions with aliases, their manifests and files, and who made and used them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .calls import ApiError, Call
from .files import File
from .paging import Connection, everything, page
from .texts import node_id

if TYPE_CHECKING:
    from .people import User
    from .projects import Project
    from .runs import Run

NO_TTL = -1


@dataclass(frozen=True)
class Tag:
    name: str

    @property
    def id(self) -> str:
        return node_id("Tag", self.name)


@dataclass(frozen=True)
class Alias:
    alias: str
    artifact_collection: Collection

    @property
    def id(self) -> str:
        return node_id("ArtifactAlias", self.artifact_collection.id, self.alias)


@dataclass(eq=False)
class ArtifactType:
    project: Project
    name: str
    created_at: datetime
    description: str | None = None

    @property
    def id(self) -> str:
        return node_id("ArtifactType", self.project.number, self.name)

    def artifact_collection(self, call: Call, name: str) -> Collection | None:
        found = self.project.collections.get(name)
        return found if found and found.type_name == self.name else None

    def artifact_collections(
        self,
        call: Call,
        after: str | None = None,
        first: int | None = None,
        filters: dict[str, Any] | None = None,
        order: str | None = None,
    ) -> Connection:
        mine = [c for c in self.project.collections.values() if c.type_name == self.name]
        return page(call, mine, after, first)


@dataclass(eq=False)
class Collection:
    """A sequence: versions in the order in which they were committed; an alias is on one of them."""

    project: Project
    name: str
    type_name: str
    created_at: datetime
    updated_at: datetime
    digest_algorithm: str = "MANIFEST_MD5"
    description: str | None = None
    committed: list[Artifact] = field(default_factory=list)
    by_alias: dict[str, Artifact] = field(default_factory=dict)

    graphql_type = "ArtifactSequence"

    @property
    def id(self) -> str:
        return node_id("ArtifactCollection", self.project.number, self.name)

    @property
    def default_artifact_type(self) -> ArtifactType:
        return ArtifactType(self.project, self.type_name, self.created_at)

    @property
    def latest_artifact(self) -> Artifact | None:
        return self.by_alias.get("latest")

    def version(self, alias: str) -> Artifact | None:
        """By alias or by number (v0, v1, …)."""
        numbered = re.fullmatch(r"v(\d+)", alias)
        if not numbered:
            return self.by_alias.get(alias)
        return next((a for a in self.committed if a.version_index == int(numbered[1])), None)

    def tags(self, call: Call) -> Connection:
        return everything(call, [])

    def aliases(self, call: Call, after: str | None = None, first: int | None = None) -> Connection:
        return page(call, [Alias(alias, self) for alias in self.by_alias], after, first)

    def artifacts(
        self,
        call: Call,
        after: str | None = None,
        first: int | None = None,
        order: str | None = None,
        filters: dict[str, Any] | None = None,
    ) -> Connection:
        """The newest version first."""
        return page(call, self.committed[::-1], after, first)

    def artifact_membership(self, call: Call, alias_name: str) -> Membership | None:
        found = self.version(alias_name)
        return Membership(found) if found else None


@dataclass(frozen=True)
class Manifest:
    """`digest` is what the client said; the bytes are the file's."""

    artifact: Artifact
    number: int
    file: File
    digest: str

    @property
    def id(self) -> str:
        return node_id("ArtifactManifest", self.artifact.number, self.number)


@dataclass(eq=False)
class Artifact:
    """One version. PENDING until committed, then with its version's number and its files by path."""

    artifact_sequence: Collection
    number: int
    digest: str
    created_by: Run | User
    created_at: datetime
    updated_at: datetime
    digest_algorithm: str = "MANIFEST_MD5"
    state: str = "PENDING"
    version_index: int | None = None
    description: str | None = None
    metadata: dict[str, Any] | None = None
    client_id: str | None = None
    history_step: int | None = None
    ttl_duration_seconds: int = NO_TTL
    wanted_aliases: list[str] = field(default_factory=list)
    tag_names: list[str] = field(default_factory=list)
    manifests: list[Manifest] = field(default_factory=list)
    stored_files: dict[str, File] = field(default_factory=dict)
    users: list[Run] = field(default_factory=list)
    size: int = 0
    file_count: int = 0

    commit_hash = ""
    ttl_is_inherited = True

    @property
    def id(self) -> str:
        return node_id("Artifact", self.number)

    @property
    def artifact_type(self) -> ArtifactType:
        return self.artifact_sequence.default_artifact_type

    @property
    def tags(self) -> list[Tag]:
        return [Tag(name) for name in self.tag_names]

    @property
    def aliases(self) -> list[Alias]:
        sequence = self.artifact_sequence
        return [Alias(alias, sequence) for alias, artifact in sequence.by_alias.items() if artifact is self]

    @property
    def current_manifest(self) -> Manifest | None:
        return next((m for m in reversed(self.manifests) if m.file.stored), None)

    def manifest_entries(self) -> dict[str, dict[str, Any]]:
        """{path: entry} as the client uploaded it.

        Raises:
            ApiError: no manifest was uploaded, or it is none.
        """
        manifest = self.current_manifest
        if manifest is None:
            raise ApiError(400, "artifact manifest was not uploaded")
        try:
            return dict(json.loads(manifest.file.content())["contents"])
        except (ValueError, KeyError, TypeError) as error:
            raise ApiError(400, "artifact manifest cannot be read") from error

    def used_by(self, call: Call) -> Connection:
        return everything(call, self.users)

    def artifact_memberships(self, call: Call) -> Connection:
        return everything(call, [Membership(self)])

    def files_by_manifest_entries(
        self,
        call: Call,
        storage_layout: str,
        manifest_version: str,
        entries: list[dict[str, Any]] | None = None,
        storage_region: str | None = None,
    ) -> Connection:
        names = [entry["name"] for entry in entries or []]
        return everything(call, [self.stored_files[name] for name in names if name in self.stored_files])


@dataclass(frozen=True)
class Membership:
    """A version as a member of its collection."""

    artifact: Artifact

    @property
    def id(self) -> str:
        return node_id("ArtifactMembership", self.artifact.number)

    @property
    def version_index(self) -> int | None:
        return self.artifact.version_index

    @property
    def created_at(self) -> datetime:
        return self.artifact.created_at

    @property
    def aliases(self) -> list[Alias]:
        return self.artifact.aliases

    @property
    def artifact_collection(self) -> Collection:
        return self.artifact.artifact_sequence

    def files(
        self, call: Call, names: list[str] | None = None, after: str | None = None, first: int | None = None
    ) -> Connection:
        stored = self.artifact.stored_files
        return page(call, [stored[name] for name in names or stored if name in stored], after, first)
