"""Everything that the server holds: people, keys, projects, files; and the switches that change how it behaves."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from .artifacts import Artifact
from .calls import Access, ApiError
from .files import File
from .people import Entity, User
from .projects import Project
from .runs import Run
from .texts import id_parts

FEATURES = frozenset(
    {
        "ARTIFACT_COLLECTION_MEMBERSHIP_FILES",
        "ARTIFACT_DIGEST_ALGORITHM",
        "ARTIFACT_TAGS",
        "ARTIFACT_V2_DOWNLOAD_HANDLER_SUPPORTS_ARTIFACT_ID",
        "CLIENT_IDS",
        "FILESTREAM_GZIP",
        "LARGE_FILENAMES",
        "MARK_RUN_FILES_UPLOADED",
        "PROJECT_ARTIFACT_COLLECTION_MEMBERSHIP",
        "TOTAL_COUNT_IN_FILE_CONNECTION",
        "USE_ARTIFACT_WITH_ENTITY_AND_PROJECT_INFORMATION",
    }
)


def utc_now() -> datetime:
    return datetime.now(UTC)


def make_key() -> str:
    return secrets.token_hex(20)


@dataclass
class World:
    """The data and the switches of one server. Whoever reads or changes the data holds `lock`.

    `bump_heartbeat`: any write to a run by the API moves its heartbeat. `anonymous`: an unknown key is answered as
    nobody (a null viewer, no projects) and not with 401. `history_artifact`: a run that ends gets a `wandb-history`.
    """

    blobs: Path
    user: User
    entities: dict[str, Entity]
    keys: dict[str, Access]
    clock: Callable[[], datetime] = utc_now
    features: frozenset[str] = FEATURES
    bump_heartbeat: bool = False
    anonymous: bool = False
    history_artifact: bool = True
    artifacts: dict[int, Artifact] = field(default_factory=dict)
    uploads: dict[str, File] = field(default_factory=dict)
    downloads: dict[str, File] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    _made: int = 0

    def now(self) -> datetime:
        """In whole seconds, as the real server keeps times."""
        return self.clock().replace(microsecond=0)

    def next_number(self) -> int:
        self._made += 1
        return self._made

    def find_project(self, entity: str | None, name: str | None) -> Project | None:
        owner = self.entities.get(entity or self.user.entity)
        return owner.projects.get(name or "uncategorized") if owner else None

    def project(self, entity: str | None, name: str | None) -> Project:
        """
        Raises:
            ApiError: there is none.
        """
        found = self.find_project(entity, name)
        if found is None:
            raise ApiError(404, f"project {entity}/{name} not found")
        return found

    def project_made(self, entity: str | None, name: str | None) -> tuple[Project, bool]:
        """The project, and whether it is new."""
        found = self.find_project(entity, name)
        if found:
            return found, False
        owner = self.entities.get(entity or self.user.entity)
        if owner is None:
            raise ApiError(404, f"entity {entity} not found during upsertBucket")
        number, name = self.next_number(), name or "uncategorized"
        made = Project(owner, name, number, self.user, self.now(), self.blobs / "none")
        owner.projects[name] = made
        return made, True

    def run(self, entity: str | None, project: str | None, name: str) -> Run:
        """
        Raises:
            ApiError: there is none.
        """
        found = self.project(entity, project).runs_by_name.get(name)
        if found is None:
            raise ApiError(404, f"run {entity}/{project}/{name} not found")
        return found

    def run_by_id(self, text: str) -> Run:
        _, name, project, entity = id_parts(text, "Run")
        return self.run(entity, project, name)

    def artifact(self, text: str) -> Artifact:
        found = self.artifacts.get(int(id_parts(text, "Artifact")[0]))
        if found is None or found.state == "DELETED":
            raise ApiError(404, f"artifact {text} not found")
        return found

    def new_file(self, name: str, owner_path: str, artifact: Artifact | None = None) -> File:
        file = File(name, self.blobs / str(self.next_number()), owner_path, artifact)
        self.uploads[file.upload_token] = file
        self.downloads[file.download_token] = file
        return file

    def touch(self, run: Run) -> None:
        """The API wrote to the run."""
        if self.bump_heartbeat:
            run.heartbeat_at = self.now()
