"""Runs and artifacts put straight into a W&B test server, where many are needed, or such as no SDK would make."""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import xxhash
from wandb_server import WandbServer
from wandb_server.artifact_mutations import commit
from wandb_server.artifacts import Artifact, Collection, Manifest
from wandb_server.runs import Run

from venturalitica_agent.stores.wandb_http import Key, WandbHttp
from venturalitica_agent.stores.wandb_project import WandbProject

HASHES = {"md5": hashlib.md5, "xxh128": xxhash.xxh128}


def b64(kind: str, content: bytes) -> str:
    return base64.b64encode(HASHES[kind](content).digest()).decode()


def manifest_digest(kind: str, contents: Mapping[str, Mapping[str, Any]]) -> str:
    lines = "".join(f"{path}:{contents[path]['digest']}\n" for path in sorted(contents))
    return str(HASHES[kind](f"wandb-artifact-manifest-v1\n{lines}".encode()).hexdigest())


@dataclass(frozen=True)
class Lab:
    """One project of a server, for one test."""

    server: WandbServer
    project: str

    @staticmethod
    def on(server: WandbServer) -> Lab:
        lab = Lab(server, f"p{uuid.uuid4().hex[:8]}")
        server.world.project_made(server.entity, lab.project)
        server.reset_log()
        return lab

    @property
    def http(self) -> WandbHttp:
        return self.http_with(self.server.key)

    def http_with(self, key: str) -> WandbHttp:
        return WandbHttp(self.server.url, lambda: Key(key, "the test"))

    def store(self, *, key: str = "", **options: Any) -> WandbProject:
        http = self.http_with(key or self.server.key)
        return WandbProject(http, self.server.entity, self.project, **({"audit_runs": False} | options))

    def run(self, name: str = "", *, state: str = "finished", at: datetime | None = None, **attributes: Any) -> Run:
        project, _ = self.server.world.project_made(self.server.entity, self.project)
        now = at or self.server.world.now()
        made = Run(project, name or uuid.uuid4().hex[:8], self.server.world.user, now, now, state=state)
        for attribute, value in attributes.items():
            setattr(made, attribute, value)
        project.runs_by_name[made.name] = made
        return made

    def artifact(
        self,
        run: Run | None,
        name: str,
        files: Mapping[str, bytes],
        *,
        type: str = "dataset",
        kind: str = "md5",
        references: Mapping[str, str] | None = None,
        manifest: bytes | None = None,
        digest: str = "",
    ) -> Artifact:
        """A committed version that `run` logged; `manifest` and `digest` may be other than the files say."""
        world, project = self.server.world, self.server.world.project_made(self.server.entity, self.project)[0]
        now = world.now()
        contents: dict[str, Any] = {p: {"digest": b64(kind, c), "size": len(c)} for p, c in files.items()}
        contents |= {p: {"digest": "an-etag", "ref": ref, "size": 1} for p, ref in (references or {}).items()}
        collection = project.collections.setdefault(name, Collection(project, name, type, now, now))
        said = digest or manifest_digest(kind, contents)
        made = Artifact(collection, world.next_number(), said, run or world.user, now, now)
        world.artifacts[made.number] = made
        for path, content in files.items():
            made.stored_files[path] = world.new_file(path, f"/files-of/{made.number}/{path}", made)
            made.stored_files[path].receive(content, now)
        written = world.new_file("wandb_manifest.json", f"/artifact-manifests/{made.number}", made)
        written.receive(json.dumps({"version": 1, "contents": contents}).encode(), now)
        made.manifests.append(Manifest(made, 0, written, said))
        commit(world, made)
        if manifest is not None:
            written.receive(manifest, now)
        if run is not None:
            run.logged.append(made)
        return made

    def asked(self) -> list[str]:
        """The GraphQL operations since the log was last reset."""
        return [seen.name for seen in self.server.requests if seen.kind in ("query", "mutation")]
