"""Who owns projects, and who the keys belong to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .calls import Call
from .paging import Connection, everything
from .texts import node_id

if TYPE_CHECKING:
    from .projects import Project


@dataclass(eq=False)
class Entity:
    """A team, or a user's own space, with its projects by name."""

    name: str
    xxhash_digests_enabled: bool = False
    projects: dict[str, Project] = field(default_factory=dict)
    organization: None = None
    user: None = None
    entity_type: str = "team"

    @property
    def id(self) -> str:
        return node_id("Entity", self.name)


@dataclass(eq=False)
class User:
    username: str
    entity: str
    member_of: list[Entity]
    admin: bool = False
    flags: dict[str, Any] = field(default_factory=dict)
    deleted_at: None = None

    @property
    def id(self) -> str:
        return node_id("User", self.username)

    @property
    def name(self) -> str:
        return self.username.capitalize()

    @property
    def email(self) -> str:
        return f"{self.username}@example.com"

    def api_keys(self, call: Call) -> Connection:
        return everything(call, [])

    def teams(self, call: Call) -> Connection:
        return everything(call, self.member_of)
