"""Files of a W&B run: listing, reading and adding them without touching the run itself."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path
from typing import Any

from venturalitica_agent.errors import PermanentError, RetryableError, RunGone, UntrustedInput
from venturalitica_agent.logging import get_logger
from venturalitica_agent.stores import wandb_queries as queries
from venturalitica_agent.stores.local_files import MAX_FILE, safe_relative
from venturalitica_agent.stores.wandb_artifacts import ArtifactFile, Damaged, check_file, checked, pages
from venturalitica_agent.stores.wandb_http import NotUnderstood, WandbHttp

log = get_logger(__name__)

_PAGE = 200
_MOST_FILES = 10_000
_MOST_READ = 64 << 20
_PATIENCE = 15.0  # seconds until a file that was uploaded is listed
_MD5 = 24  # characters; storage that was written in parts says something else in its place
_RUNS = 100  # whose fresh uploads are remembered, so that reading them back costs no further question


@dataclass(frozen=True, slots=True)
class RunFile:
    """A file of a run: POSIX path, bytes, where to read it, base64 of its MD5 (empty when the server doesn't say)."""

    path: str
    size: int
    url: str
    md5: str


class RunFiles:
    """The files of the runs of one project."""

    def __init__(self, http: WandbHttp, entity: str, project: str) -> None:
        self._http = http
        self._where = {"entity": entity, "project": project}
        self._fresh: dict[str, dict[str, RunFile]] = {}
        self._must_mark = True

    def list(self, run_id: str, names: Sequence[str] = ()) -> list[RunFile]:
        """Every file of the run, or those of `names` that there are. Files that never came (0 bytes) are left out."""
        variables = {**self._where, "run": run_id, "names": list(names), "perPage": _PAGE}
        found: list[RunFile] = []
        for node in pages(self._http, queries.RUN_FILES, variables, "run", "files"):
            file = _file(node)
            if file is not None and file.size > 0:
                found.append(file)
            if len(found) == _MOST_FILES:
                log.warning("run.many_files", run=run_id, reason=f"only the first {_MOST_FILES:,} are looked at")
                break
        return found

    def fetch(self, run_id: str, path: str, destination: Path) -> None:
        """Copy one file to `destination`, checked against the MD5 that the server has of it."""
        file = self._find(run_id, path)
        destination.parent.mkdir(parents=True, exist_ok=True)

        def one() -> None:
            self._http.download(file.url, destination, MAX_FILE)
            if file.md5:
                check_file(destination, ArtifactFile(path, file.size, f"md5:{file.md5}"))

        checked(one, f"{path[:200]} of run {run_id}")

    def read(self, run_id: str, path: str) -> bytes:
        """The bytes of one file, checked likewise."""
        file = self._find(run_id, path)

        def one() -> bytes:
            content = self._http.read(file.url, _MOST_READ)
            if file.md5 and file.md5 != _md5(content):
                raise Damaged("the server delivers other bytes than it says")
            return content

        return checked(one, f"{path[:200]} of run {run_id}")

    def _find(self, run_id: str, path: str) -> RunFile:
        fresh = self._fresh.get(run_id, {}).pop(path, None)  # once: such addresses expire
        found = [fresh] if fresh else self.list(run_id, [path])
        if not found:
            raise PermanentError("there is no such file", subject=f"{path[:200]} of run {run_id}")
        return found[0]

    def put(self, run_id: str, files: Mapping[str, bytes]) -> None:
        """Add files to the run, or replace them, and wait until the server lists every one as it was sent.

        Raises:
            RunGone: there is no such run. RetryableError: the server took the files and doesn't list them.
        """
        names = [str(safe_relative(path)) for path in files]
        answer = self._http.ask(queries.CREATE_FILES, {**self._where, "run": run_id, "files": names})["createRunFiles"]
        if not answer or not answer.get("runID"):
            raise RunGone("the run is deleted or was never there", subject=f"run {run_id}")
        pairs = (header.partition(":") for header in answer["uploadHeaders"] or ())
        headers = {name.strip(): value.strip() for name, _, value in pairs if name.strip()}
        urls = {str(f["name"]): str(f["uploadUrl"]) for f in answer["files"]}
        for name, content in zip(names, files.values(), strict=True):
            if name not in urls:
                raise RetryableError("the server names no address to upload to", subject=f"{name} of run {run_id}")
            self._http.upload(urls[name], content, headers)
        self._mark_uploaded(run_id, names)
        self._await(run_id, dict(zip(names, files.values(), strict=True)))

    def _mark_uploaded(self, run_id: str, names: Sequence[str]) -> None:
        """Tell the server that the bytes are there; cloud servers know by themselves, old ones have no word for it."""
        if self._must_mark:
            try:
                self._http.ask(queries.FILES_UPLOADED, {**self._where, "run": run_id, "files": list(names)})
            except NotUnderstood:
                self._must_mark = False
            except PermanentError as error:  # whether they are there is looked at next
                log.warning("run.files_not_marked", run=run_id, reason=error.what)

    def _await(self, run_id: str, sent: Mapping[str, bytes]) -> None:
        deadline, pause = time.monotonic() + _PATIENCE, 0.2
        while True:
            listed = {f.path: f for f in self.list(run_id, list(sent))}
            missing = [name for name, content in sent.items() if not _is(listed.get(name), content)]
            if not missing:
                break
            if time.monotonic() > deadline:
                raise RetryableError(
                    f"the server took {len(missing)} files and does not list them as they were sent: "
                    f"{', '.join(missing[:3])}",
                    subject=f"run {run_id}",
                    remedy="check the server's object storage and its upload notifications; files that its own SDK "
                    "uploads to finished runs will be missing too",
                )
            time.sleep(pause)
            pause = min(2.0, 2 * pause)
        if len(self._fresh) > _RUNS:
            self._fresh.clear()
        self._fresh[run_id] = listed


def _is(file: RunFile | None, content: bytes) -> bool:
    if file is None or file.size != len(content):
        return False
    return not file.md5 or file.md5 == _md5(content)


def _md5(content: bytes) -> str:
    return base64.b64encode(md5(content, usedforsecurity=False).digest()).decode()


def _file(node: Any) -> RunFile | None:
    """None for a name that is no path: nobody can ask for such a file, and it must not hide the others."""
    try:
        path = str(safe_relative(str(node["name"])))
    except UntrustedInput as error:
        log.warning("run.file_refused", reason=str(error))
        return None
    said = str(node["md5"] or "")
    return RunFile(path, int(node["sizeBytes"] or 0), str(node["directUrl"]), said if len(said) == _MD5 else "")
