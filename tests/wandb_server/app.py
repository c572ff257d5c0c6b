"""What each address answers: GraphQL, the file stream, a run's files, and the storage behind unguessable addresses."""

from __future__ import annotations

import base64
import binascii
import gzip
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from . import filestream
from .calls import Access, ApiError, Call
from .faults import Effects
from .files import File
from .graph import Graph, Operation, read_operation
from .texts import md5_base64
from .world import World


@dataclass(frozen=True)
class Request:
    """One HTTP request; the names of its headers are in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path)

    @property
    def parts(self) -> list[str]:
        return [unquote(part) for part in urlsplit(self.target).path.split("/")[1:]]

    @property
    def key(self) -> str | None:
        """The API key of basic authentication."""
        scheme, _, value = self.headers.get("authorization", "").partition(" ")
        try:
            return base64.b64decode(value).decode().partition(":")[2] if scheme.lower() == "basic" else None
        except (binascii.Error, UnicodeDecodeError):
            return None


@dataclass(frozen=True)
class Response:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def of(status: int, content: Any) -> Response:
        return Response(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    @staticmethod
    def error(status: int, message: str) -> Response:
        return Response.of(status, {"error": message, "errors": [{"message": message}]})


class App:
    """Answers requests from one world; it knows nothing of sockets."""

    def __init__(self, world: World, graph: Graph) -> None:
        self._world = world
        self._graph = graph

    def describe(self, request: Request) -> tuple[str, str]:
        """The kind of a request, and its name: its operation's, or its path."""
        if request.path == "/graphql":
            try:
                operation = read_operation(request.body)
            except ApiError:
                return "query", request.path
            return operation.kind, operation.name
        if request.path.endswith("/file_stream"):
            return "filestream", request.path
        return ("upload" if request.method == "PUT" else "download"), request.path

    def answer(self, request: Request, effects: Effects) -> Response:
        with self._world.lock:
            try:
                return self._route(request, effects)
            except ApiError as error:
                return Response.error(error.status, str(error))

    def _route(self, request: Request, effects: Effects) -> Response:
        match request.method, request.parts:
            case "POST", ["graphql"]:
                return self._graphql(read_operation(request.body), self._call(request, effects))
            case "POST", ["files", entity, project, run, "file_stream"]:
                return self._filestream(request, self._call(request, effects), (entity, project, run))
            case "GET", ["files", entity, project, run, *name]:
                self._refuse_strangers(request)
                return _bytes(self._world.run(entity, project, run).stored_files.get("/".join(name)))
            case "GET", ["artifactsV2", _, _, _, _, artifact, _, digest, *_]:
                self._refuse_strangers(request)
                return _bytes(self._by_digest(artifact, digest))
            case "PUT", ["storage", token, *_]:
                return self._upload(token, request, effects)
            case "GET", ["storage", token, *_]:
                return _bytes(self._world.downloads.get(token))
        raise ApiError(404, f"no such address: {request.method} {request.path}")

    def _refuse_strangers(self, request: Request) -> None:
        if request.key not in self._world.keys:
            raise ApiError(401, "user is not logged in")

    def _call(self, request: Request, effects: Effects) -> Call:
        access = self._world.keys.get(request.key or "")
        if access is None and not self._world.anonymous:
            raise ApiError(401, "user is not logged in")
        return Call(self._world, access or Access.ANONYMOUS, f"http://{request.headers['host']}", effects)

    def _graphql(self, operation: Operation, call: Call) -> Response:
        status, content = self._graph.execute(operation, call)
        return Response.of(status, content)

    def _filestream(self, request: Request, call: Call, where: tuple[str, str, str]) -> Response:
        if call.access is not Access.FULL:
            raise ApiError(403, "permission denied")
        run = self._world.run(*where)
        packed = request.headers.get("content-encoding") == "gzip"
        message = json.loads(gzip.decompress(request.body) if packed else request.body)
        return Response.of(200, filestream.receive(self._world, run, message))

    def _by_digest(self, artifact: str, digest: str) -> File | None:
        files = self._world.artifact(artifact).stored_files.values()
        return next((f for f in files if f.digest and base64.b64decode(f.digest).hex() == digest), None)

    def _upload(self, token: str, request: Request, effects: Effects) -> Response:
        file = self._world.uploads.get(token)
        if file is None:
            raise ApiError(403, "the address has expired")
        expected = request.headers.get("content-md5")
        if expected and expected != md5_base64(request.body):
            raise ApiError(400, "BadDigest: the Content-MD5 is not that of the content")
        if effects.unregistered is None:
            file.receive(request.body, self._world.now())
        if effects.unregistered != "absent":
            file.listed = True
        return Response(200)


def _bytes(file: File | None) -> Response:
    if file is None or not file.stored:
        raise ApiError(404, "file not found")
    return Response(200, file.content(), {"Content-Type": "application/octet-stream"})
