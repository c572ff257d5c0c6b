"""One stored file: of a run, of an artifact, or an artifact's manifest."""

from __future__ import annotations

import mimetypes
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from .calls import Call
from .texts import md5_base64, node_id

if TYPE_CHECKING:
    from .artifacts import Artifact

NO_FILE_MD5 = "0"  # what a file that was asked for by name and does not exist has


def _token() -> str:
    return secrets.token_urlsafe(24)


@dataclass(eq=False)
class File:
    """`owner_path` is where the file answers to a caller's key; the two tokens are all that the other addresses need.

    Until its bytes have come it has size 0 and neither md5 nor time.
    """

    name: str
    blob: Path
    owner_path: str
    artifact: Artifact | None = None
    expected_md5: str = ""
    digest: str | None = None
    md5: str | None = None
    size_bytes: int = 0
    updated_at: datetime | None = None
    listed: bool = True
    download_token: str = field(default_factory=_token)
    upload_token: str = field(default_factory=_token)
    wants_upload: bool = True

    def receive(self, content: bytes, when: datetime) -> None:
        self.blob.write_bytes(content)
        self.md5 = md5_base64(content)
        self.digest = self.digest or self.md5
        self.size_bytes = len(content)
        self.updated_at = when

    def content(self) -> bytes:
        return self.blob.read_bytes()

    @property
    def stored(self) -> bool:
        return self.updated_at is not None

    @property
    def id(self) -> str:
        return node_id("File", self.download_token)

    @property
    def display_name(self) -> str:
        return self.name

    @property
    def mimetype(self) -> str:
        return mimetypes.guess_type(self.name)[0] or "application/octet-stream"

    @property
    def storage_path(self) -> str:
        return f"wandb_artifacts/{self.blob.name}"

    @property
    def upload_multipart_urls(self) -> None:
        """Files are never asked for in parts."""

    def url(self, call: Call, upload: bool = False) -> str:
        return self._storage_url(call, self.upload_token) if upload else call.base_url + quote(self.owner_path)

    def direct_url(self, call: Call) -> str:
        return self._storage_url(call, self.download_token)

    def upload_url(self, call: Call) -> str | None:
        return self._storage_url(call, self.upload_token) if self.wants_upload else None

    @property
    def upload_headers(self) -> list[str]:
        return [f"Content-MD5:{self.expected_md5}"] if self.expected_md5 else []

    def _storage_url(self, call: Call, token: str) -> str:
        return f"{call.base_url}/storage/{token}/{quote(self.name)}"
