"""Who asks and what they may do: what every resolver knows about the request that it serves."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .faults import Effects
    from .world import World


class Access(enum.Enum):
    """What a key allows; ANONYMOUS is a request without a known key, on a server that answers such ones."""

    FULL = "full"
    READ = "read"
    ANONYMOUS = "anonymous"


class ApiError(Exception):
    """The request is refused with an HTTP status and a message, as a GraphQL error where it came by GraphQL."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Call:
    """One request: the data it is about, the caller's rights, the server's address as the caller has it, the faults."""

    world: World
    access: Access
    base_url: str
    effects: Effects = field(repr=False)
