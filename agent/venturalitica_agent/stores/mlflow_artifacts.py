"""Artifacts of an MLflow store: on this machine read without MLflow and below trusted folders only, elsewhere through
MLflow's client, whose answers are not trusted either."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from venturalitica_agent.errors import PermanentError, RunGone, StoreUnavailable, UntrustedInput
from venturalitica_agent.stores import local_files
from venturalitica_agent.stores.base import RemoteFile
from venturalitica_agent.stores.mlflow_asking import Asking
from venturalitica_agent.stores.naming import redacted

_REMOTE_SCHEMES = frozenset({"mlflow-artifacts", "s3", "gs", "wasbs", "abfss", "az"})


class Artifacts:
    """What lies below artifact locations, which are URIs or paths as MLflow's records have them.

    Args:
        roots: local folders that artifacts may live in; a location elsewhere on this machine is UntrustedInput.
    """

    def __init__(self, tracking_uri: str, roots: Sequence[Path], asking: Asking) -> None:
        self._tracking_uri = tracking_uri
        self._roots = roots
        self._asking = asking

    def local(self, location: str) -> Path | None:
        """The local folder behind an artifact location; None when it is remote. Refuses every other scheme."""
        path = local_files.local_path(location)
        if path is not None:
            return local_files.inside(path, self._roots)
        scheme = urlsplit(location).scheme
        if scheme not in _REMOTE_SCHEMES:
            raise UntrustedInput(
                f"artifacts behind `{scheme}:` are not read",
                subject=location[:200],
                remedy="use file, s3, gs, wasbs or mlflow-artifacts",
            )
        if scheme == "mlflow-artifacts":
            self._must_be_ours(location)
        return None

    def _must_be_ours(self, location: str) -> None:
        """Refuse artifacts behind another server: MLflow's client would show it the credentials of the tracking server,
        and whoever trains chooses the location."""
        try:
            asked, ours = urlsplit(location), urlsplit(self._tracking_uri)
            same = asked.hostname is None or (asked.hostname, asked.port) == (ours.hostname, ours.port)
            same = same and "@" not in asked.netloc
        except ValueError:
            same = False
        if not same:
            raise UntrustedInput(
                "artifacts behind another server than the tracking server are not read",
                subject=redacted(location)[:200],
                remedy="log to an experiment whose artifact location is mlflow-artifacts:/ without a host",
            )

    def files(self, location: str) -> Sequence[RemoteFile]:
        """Every file below `location`, by path; none when nothing is there."""
        local = self.local(location)
        if local is not None:
            if not local.is_dir():
                return []
            return [RemoteFile(path, size) for path, size in local_files.list_regular(local)]
        from venturalitica_agent.stores.mlflow_api import list_artifacts

        found: list[RemoteFile] = []
        pending = [""]
        while pending:
            folder = pending.pop()
            with self._asking_files(location):
                entries = list_artifacts(
                    artifact_uri=f"{location}/{folder}" if folder else location, tracking_uri=self._tracking_uri
                )
            for entry in entries:
                # Listings of a sub-folder come relative to it or to its parent, depending on the repository.
                name = entry.path.rsplit("/", 1)[-1]
                path = str(local_files.safe_relative(f"{folder}/{name}" if folder else name))
                if entry.is_dir:
                    pending.append(path)
                else:
                    found.append(RemoteFile(path, entry.file_size))
            if len(found) + len(pending) > 10_000:
                raise UntrustedInput("holds more than 10,000 files", subject=location[:200])
        return sorted(found, key=lambda f: f.path)

    def fetch(self, location: str, path: str, destination: Path) -> None:
        """Copy one file to `destination`."""
        relative = local_files.safe_relative(path)
        local = self.local(location)
        if local is not None:
            local_files.copy_regular(local, path, destination)
            return
        from venturalitica_agent.stores.mlflow_api import download_artifacts

        destination.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=destination.parent) as folder:
            with self._asking_files(f"{location}/{relative}"):
                download_artifacts(
                    artifact_uri=f"{location}/{relative}", dst_path=folder, tracking_uri=self._tracking_uri
                )
            # A server may answer with anything: only a regular file of the asked name is taken.
            answer = [p for p, _ in local_files.list_regular(Path(folder))]
            if len(answer) != 1:
                raise UntrustedInput(f"the store answered with {len(answer)} files instead of one", subject=path[:200])
            local_files.copy_regular(Path(folder), answer[0], destination)

    def read(self, location: str, path: str) -> bytes:
        """The content of one file, which is read into memory as a whole."""
        local = self.local(location)
        if local is not None:
            return local_files.read_regular(local, path)
        with tempfile.TemporaryDirectory() as folder:
            self.fetch(location, path, Path(folder) / "file")
            return (Path(folder) / "file").read_bytes()

    @contextmanager
    def _asking_files(self, location: str) -> Iterator[None]:
        """Like `asking`; but it is the file that is not there, not the run."""
        try:
            with self._asking(location[:300]):
                yield
        except (RunGone, StoreUnavailable) as error:
            # Only the words of a failed download carry the server's answer.
            if isinstance(error, RunGone) or "404 Client Error" in error.what:
                raise PermanentError("there is no such artifact", subject=location[:300]) from error
            raise
