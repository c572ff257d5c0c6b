"""The fields of the GraphQL root that make, commit, change and use artifacts."""

from __future__ import annotations

import base64
from typing import Any

from .artifacts import NO_TTL, Artifact, Collection, Manifest
from .calls import ApiError, Call
from .files import File
from .mutations import Input
from .paging import everything
from .runs import Run
from .texts import id_parts
from .world import World


class ArtifactMutations:
    """Each takes its input with the keys in snake case and answers the payload as a dict of fields."""

    def create_artifact(self, call: Call, input: Input) -> dict[str, Any]:
        """A pending version, or the committed one of the same collection that has the digest already."""
        world = call.world
        project, _ = world.project_made(input["entity_name"], input["project_name"])
        run = (
            world.run(input["entity_name"], input["project_name"], input["run_name"]) if input.get("run_name") else None
        )
        collection = _collection_made(call, project, input)
        aliases = [one["alias"] for one in input.get("aliases") or []]
        same = [a for a in collection.committed if a.digest == input["digest"]]
        if same and input.get("enable_digest_deduplication"):
            _logged_by(world, run, same[0])
            _point(same[0], [*aliases, "latest"])
            return {"artifact": same[0]}
        made = Artifact(
            collection,
            world.next_number(),
            input["digest"],
            run or world.user,
            world.now(),
            world.now(),
            digest_algorithm=input.get("digest_algorithm") or "MANIFEST_MD5",
            description=input.get("description"),
            metadata=input.get("metadata"),
            client_id=input.get("client_id"),
            history_step=input.get("history_step"),
            ttl_duration_seconds=input.get("ttl_duration_seconds") or NO_TTL,
            wanted_aliases=aliases,
            tag_names=[tag["tag_name"] for tag in input.get("tags") or []],
        )
        collection.digest_algorithm = made.digest_algorithm
        world.artifacts[made.number] = made
        _logged_by(world, run, made)
        return {"artifact": made}

    def create_artifact_manifest(self, call: Call, input: Input) -> dict[str, Any]:
        artifact = call.world.artifact(input["artifact_id"])
        file = call.world.new_file(input["name"], f"/artifact-manifests/{artifact.number}", artifact)
        manifest = Manifest(artifact, len(artifact.manifests), file, input["digest"])
        artifact.manifests.append(manifest)
        return {"artifact_manifest": manifest}

    def update_artifact_manifest(self, call: Call, input: Input) -> dict[str, Any]:
        number, index = map(int, id_parts(input["artifact_manifest_id"], "ArtifactManifest"))
        return {"artifact_manifest": call.world.artifacts[number].manifests[index]}

    def create_artifact_files(self, call: Call, input: Input) -> dict[str, Any]:
        """Where to put each file; nowhere, when an earlier version of the collection has it."""
        return {"files": everything(call, [_file_for(call, spec) for spec in input["artifact_files"]])}

    def commit_artifact(self, call: Call, input: Input) -> dict[str, Any]:
        artifact = call.world.artifact(input["artifact_id"])
        if artifact.state == "PENDING":
            commit(call.world, artifact)
        return {"artifact": artifact}

    def use_artifact(self, call: Call, input: Input) -> dict[str, Any]:
        artifact = call.world.artifact(input["artifact_id"])
        run = call.world.run(input["entity_name"], input["project_name"], input["run_name"])
        if artifact not in run.used:
            run.used.append(artifact)
            artifact.users.append(run)
        call.world.touch(run)
        return {"artifact": artifact}

    def update_artifact(self, call: Call, input: Input) -> dict[str, Any]:
        """Metadata and description are replaced, tags are added and removed, aliases (when given) are all there are."""
        artifact = call.world.artifact(input["artifact_id"])
        for key in ("description", "metadata", "ttl_duration_seconds"):
            if input.get(key) is not None:
                setattr(artifact, key, input[key])
        if input.get("aliases") is not None:
            wanted = [one["alias"] for one in input["aliases"]]
            _unpoint(artifact, [one.alias for one in artifact.aliases if one.alias not in wanted])
            _point(artifact, wanted)
        added = [tag["tag_name"] for tag in input.get("tags_to_add") or []]
        removed = [tag["tag_name"] for tag in input.get("tags_to_delete") or []]
        tags = dict.fromkeys([*artifact.tag_names, *added])
        artifact.tag_names = [tag for tag in tags if tag not in removed]
        artifact.updated_at = call.world.now()
        return {"artifact": artifact}

    def delete_artifact(self, call: Call, input: Input) -> dict[str, Any]:
        artifact = call.world.artifact(input["artifact_id"])
        if artifact.aliases and not input.get("delete_aliases"):
            raise ApiError(409, "artifact has aliases")
        _unpoint(artifact, [one.alias for one in artifact.aliases])
        artifact.state = "DELETED"
        artifact.artifact_sequence.committed.remove(artifact)
        return {"artifact": artifact}

    def add_aliases(self, call: Call, input: Input) -> dict[str, Any]:
        _point(call.world.artifact(input["artifact_id"]), [one["alias"] for one in input["aliases"]])
        return {"success": True}

    def delete_aliases(self, call: Call, input: Input) -> dict[str, Any]:
        _unpoint(call.world.artifact(input["artifact_id"]), [one["alias"] for one in input["aliases"]])
        return {"success": True}


def commit(world: World, artifact: Artifact) -> None:
    """Gives the version its number, its files and its aliases.

    Raises:
        ApiError: the manifest is not there, or names a file that was never uploaded.
    """
    entries = {path: entry for path, entry in artifact.manifest_entries().items() if not entry.get("ref")}
    files: dict[str, File] = {}
    for path, entry in entries.items():
        birth = entry.get("birthArtifactID") or artifact.id
        file = artifact.stored_files.get(path) or world.artifact(birth).stored_files.get(path)
        if file is None or not file.stored:
            raise ApiError(400, f"file {path!r} of artifact {artifact.id} was not uploaded")
        files[path] = file
    sequence = artifact.artifact_sequence
    artifact.stored_files = files
    artifact.size = sum(file.size_bytes for file in files.values())
    artifact.file_count = len(files)
    artifact.version_index = max((a.version_index or 0 for a in sequence.committed), default=-1) + 1
    artifact.state = "COMMITTED"
    sequence.committed.append(artifact)
    sequence.updated_at = world.now()
    _point(artifact, [*artifact.wanted_aliases, "latest"])


def _collection_made(call: Call, project: Any, input: Input) -> Collection:
    name = input.get("artifact_collection_name") or next(iter(input.get("artifact_collection_names") or []), None)
    if not name:
        raise ApiError(400, "an artifact needs a collection")
    found: Collection | None = project.collections.get(name)
    if found is None:
        now = call.world.now()
        found = project.collections[name] = Collection(project, name, input["artifact_type_name"], now, now)
    if found.type_name != input["artifact_type_name"]:
        raise ApiError(409, f"artifact {name} has the type {found.type_name}, not {input['artifact_type_name']}")
    return found


def _file_for(call: Call, spec: Input) -> File:
    artifact, name = call.world.artifact(spec["artifact_id"]), spec["name"]
    digest = spec.get("digest") or spec["md5"]
    for earlier in reversed(artifact.artifact_sequence.committed):
        known = earlier.stored_files.get(name)
        if known and known.digest == digest:
            artifact.stored_files[name] = known
            return known
    if name not in artifact.stored_files:
        where = artifact.artifact_sequence.project.path, artifact.artifact_sequence.name
        hexadecimal = base64.b64decode(digest).hex()
        path = f"/artifactsV2/default/{'/'.join(where)}/{artifact.id}/{artifact.id}/{hexadecimal}/{name}"
        file = call.world.new_file(name, path, artifact)
        file.expected_md5, file.digest = spec["md5"], digest
        artifact.stored_files[name] = file
    return artifact.stored_files[name]


def _logged_by(world: World, run: Run | None, artifact: Artifact) -> None:
    if run is not None:
        if artifact not in run.logged:
            run.logged.append(artifact)
        world.touch(run)


def _point(artifact: Artifact, aliases: list[str]) -> None:
    for alias in dict.fromkeys(aliases):
        artifact.artifact_sequence.by_alias[alias] = artifact


def _unpoint(artifact: Artifact, aliases: list[str]) -> None:
    for alias in aliases:
        if artifact.artifact_sequence.by_alias.get(alias) is artifact:
            del artifact.artifact_sequence.by_alias[alias]
