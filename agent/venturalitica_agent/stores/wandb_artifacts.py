"""Artifacts of a W&B server: which files they hold, by a manifest that is checked, and their bytes, checked against it.

The SDK's own download checks nothing and keeps what it got in a cache. Here every byte goes to a file of its own and is
hashed on the way. MD5 and XXH128 are what W&B has; they show damage, not malice, so SHA-256 is added later.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TypeVar

from venturalitica_agent.errors import PermanentError, StoreUnavailable, UntrustedInput
from venturalitica_agent.stores import wandb_queries as queries
from venturalitica_agent.stores.local_files import MAX_FILE, safe_relative
from venturalitica_agent.stores.wandb_http import WandbHttp
from venturalitica_agent.stores.wandb_names import is_name

T = TypeVar("T")

_MOST_FILES = 100_000
_MOST_MANIFEST = 64 << 20
_PAGE = 100
_ATTEMPTS = 3
_REMEMBERED = 200_000  # files of manifests: enough for the runs in hand
_HEADER = b"wandb-artifact-manifest-v1\n"  # source: wandb.sdk.artifacts.artifact_manifests.artifact_manifest_v1
_CHUNK = 1 << 20


class Hasher(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class ArtifactFile:
    """One file of a manifest.

    Attributes:
        path: relative, POSIX. size: bytes, None if unsaid. digest: "md5:<base64>" or "xxh128:<base64>".
        ref: where its bytes are, when W&B doesn't hold them.
    """

    path: str
    size: int | None
    digest: str
    ref: str = ""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One version of an artifact.

    Attributes:
        project: `entity/project` that it belongs to.
        digest: hex of the manifest's hash, by which W&B tells versions apart.
        aliases: "latest", "v3", …, as of when it was asked for.
        manifest_url: where its list of files is.
        complete: whether all of it was logged, and it was not deleted since.
        created: when, as the server writes times.
    """

    id: str
    project: str
    name: str
    version: int
    type: str
    digest: str
    aliases: tuple[str, ...]
    manifest_url: str
    complete: bool
    created: str

    @property
    def ref(self) -> str:
        """`name:v3`, as W&B writes it."""
        return f"{self.name}:v{self.version}"

    @property
    def qualified(self) -> str:
        return f"{self.project}/{self.ref}"


def parse_artifact(node: Any) -> Artifact:
    """One GraphQL node. Raises UntrustedInput when its names aren't names."""
    sequence = node["artifactSequence"]
    project = sequence["project"]
    parts = (project["entity"]["name"], project["name"], sequence["name"])
    if not all(is_name(part) for part in parts):
        raise UntrustedInput("an artifact with such a name is refused", subject=repr(parts)[:200])
    return Artifact(
        id=str(node["id"]),
        project=f"{parts[0]}/{parts[1]}",
        name=parts[2],
        version=int(node["versionIndex"] or 0),
        type=str((node["artifactType"] or {}).get("name", "")),
        digest=str(node["digest"]),
        aliases=tuple(str(a["alias"]) for a in node["aliases"] or ()),
        manifest_url=str(((node.get("currentManifest") or {}).get("file") or {}).get("directUrl") or ""),
        complete=node["state"] == "COMMITTED",
        created=str(node["createdAt"]),
    )


class ArtifactReader:
    """Reads artifacts over `http`."""

    def __init__(self, http: WandbHttp) -> None:
        self._http = http
        self._manifests: dict[tuple[str, str], tuple[ArtifactFile, ...]] = {}

    def named(self, entity: str, project: str, name: str) -> Artifact | None:
        """The artifact that `name:alias` means now, or None."""
        answer = self._http.ask(queries.NAMED_ARTIFACT, {"entity": entity, "project": project, "name": name})
        membership = ((answer["project"] or {}).get("artifactCollectionMembership")) or {}
        node = membership.get("artifact")
        return parse_artifact(node) if node else None

    def files(self, artifact: Artifact) -> Sequence[ArtifactFile]:
        """The files of its manifest. Raises UntrustedInput when its manifest is damaged."""
        identity = artifact.id, artifact.digest
        known = self._manifests.get(identity)
        if known is not None:
            return known
        if not artifact.manifest_url:
            raise StoreUnavailable(
                "the server names no manifest for this artifact",
                subject=artifact.qualified,
                remedy="it is tried again; look at the artifact in the W&B UI",
            )
        files = checked(lambda: self._manifest(artifact), artifact.qualified)
        if sum(map(len, [*self._manifests.values(), files])) > _REMEMBERED:
            self._manifests.clear()
        self._manifests[identity] = files
        return files

    def _manifest(self, artifact: Artifact) -> tuple[ArtifactFile, ...]:
        content = self._http.read(artifact.manifest_url, _MOST_MANIFEST)
        return parse_manifest(content, artifact.digest, artifact.qualified)

    def fetch(self, artifact: Artifact, files: Sequence[ArtifactFile], place: Callable[[str], Path]) -> None:
        """Download `files` of the artifact, each to `place(path)`, and check each against the manifest.

        Raises:
            UntrustedInput: what the server delivers isn't what was logged, three times over; or it is a reference.
        """
        for file in files:
            if file.ref:
                raise UntrustedInput(
                    f"{file.path} is only a reference to {file.ref[:200]!r}, which is not followed",
                    subject=artifact.qualified,
                    remedy="log the file itself with artifact.add_file, or bind local data with {file: …}",
                )
        urls = self._urls(artifact, [f.path for f in files])
        left = MAX_FILE
        for file in files:
            if file.path not in urls:
                raise PermanentError(
                    f"the server names no address for {file.path}",
                    subject=artifact.qualified,
                    remedy="look whether its files were deleted",
                )
            destination = place(file.path)
            destination.parent.mkdir(parents=True, exist_ok=True)

            def one(file: ArtifactFile = file, destination: Path = destination, left: int = left) -> None:
                self._http.download(urls[file.path], destination, left)
                check_file(destination, file)

            checked(one, f"{artifact.qualified}/{file.path}")
            left -= destination.stat().st_size

    def _urls(self, artifact: Artifact, names: Sequence[str]) -> Mapping[str, str]:
        entity, _, project = artifact.project.partition("/")
        urls: dict[str, str] = {}
        for start in range(0, len(names), _PAGE):
            asked = list(names[start : start + _PAGE])
            variables = {
                "entity": entity,
                "project": project,
                "collection": artifact.name,
                "alias": f"v{artifact.version}",
                "names": asked,
                "perPage": _PAGE,
            }
            for node in pages(
                self._http, queries.ARTIFACT_FILES, variables, "artifactCollection", "artifactMembership", "files"
            ):
                urls[str(node["name"])] = str(node["directUrl"])
        return urls


def parse_manifest(content: bytes, digest: str, subject: str) -> tuple[ArtifactFile, ...]:
    """The files of a manifest (W&B's JSON, version 1), if it is the one that `digest` (hex) is of; else `Damaged`."""
    try:
        entries = json.loads(content)["contents"]
        said = {str(path): entry for path, entry in entries.items()}
        digests = {path: str(entry["digest"]) for path, entry in said.items()}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged("its manifest can't be read", subject=subject) from error
    if len(said) > _MOST_FILES:
        raise UntrustedInput(f"holds more than {_MOST_FILES:,} files", subject=subject)
    lines = "".join(f"{path}:{digests[path]}\n" for path in sorted(digests)).encode("utf-8", "surrogatepass")
    kind = next((k for k in ("md5", "xxh128") if _hash(k, _HEADER + lines).hex() == digest.lower()), "")
    if not kind:
        raise Damaged("its manifest is not the one that its digest names", subject=subject)
    files = tuple(_entry(path, said[path], f"{kind}:{digests[path]}") for path in sorted(said))
    folders = {str(folder) for file in files for folder in PurePosixPath(file.path).parents}
    twice = [file.path for file in files if file.path in folders] or len({f.path for f in files}) < len(files)
    if twice or any(file.path not in said for file in files):
        raise UntrustedInput("its manifest has paths that can't be files side by side", subject=subject)
    return files


def _entry(path: str, entry: Any, digest: str) -> ArtifactFile:
    size = entry.get("size")
    ref = entry.get("ref") or ""
    return ArtifactFile(
        path=str(safe_relative(path)),
        size=size if isinstance(size, int) and size >= 0 else None,
        digest=digest,
        ref=str(ref),
    )


def check_file(path: Path, file: ArtifactFile) -> None:
    """Raise `Damaged` when the bytes at `path` aren't those of the manifest."""
    hasher = hasher_of(file.digest.partition(":")[0])
    size = 0
    with path.open("rb") as source:
        while chunk := source.read(_CHUNK):
            size += len(chunk)
            hasher.update(chunk)
    if base64.b64encode(hasher.digest()).decode() != file.digest.partition(":")[2]:
        wrong = f" ({size:,} bytes instead of {file.size:,})" if file.size not in (None, size) else ""
        raise Damaged(f"the server delivers other bytes than were logged{wrong}")


class Hidden(StoreUnavailable):
    """The server shows nothing where a project should be: it is not there, or the key is unknown."""


class Damaged(PermanentError):
    """What came isn't what was logged. A transfer can go wrong once, so it is made again before this is said."""


def checked(work: Callable[[], T], subject: str) -> T:
    """What `work` gives, made up to three times while it is `Damaged`; then UntrustedInput."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return work()
        except Damaged:
            continue
    try:
        return work()
    except Damaged as error:
        raise UntrustedInput(
            error.what,
            subject=subject,
            remedy="log it again; the storage behind the server may be damaged",
        ) from error


def pages(
    http: WandbHttp,
    query: str,
    variables: Mapping[str, Any],
    *path: str,
    root: str = "project",
    cursor: str | None = None,
) -> Iterator[Any]:
    """The nodes of the connection at `root` and `path` below it, page by page.

    A page may come without any node although there are more; only the server's word ends the list.

    Raises:
        Hidden: there is nothing at `root`. An empty list would say that its runs are gone.
    """
    seen = {cursor}
    while True:
        found: Any = http.ask(query, {**variables, "cursor": cursor})[root]
        if found is None:
            raise Hidden(
                "shows no such project to this key",
                subject=http.shown,
                remedy="check the key, the spelling of entity/project, and that the key's owner is a member",
            )
        for key in path:
            found = (found or {}).get(key)
        if found is None:
            return
        for edge in found["edges"]:
            yield edge["node"]
        cursor = found["pageInfo"]["endCursor"]
        if not found["pageInfo"]["hasNextPage"]:
            return
        if not cursor or cursor in seen:
            raise StoreUnavailable(
                "says that there is a next page and not which", subject=http.shown, remedy="it is tried again"
            )
        seen.add(cursor)


def _hash(kind: str, content: bytes) -> bytes:
    hasher = hasher_of(kind)
    hasher.update(content)
    return hasher.digest()


def hasher_of(kind: str) -> Hasher:
    """A new hasher for the kinds that W&B's manifests use: "md5" or "xxh128"."""
    if kind == "md5":
        return md5(usedforsecurity=False)
    import xxhash

    return xxhash.xxh128()
