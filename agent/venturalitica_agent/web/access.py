"""Who may read the status page: a token, or users with passwords. On an address that other machines reach there must be
one of them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from venturalitica_agent.errors import ConfigError
from venturalitica_agent.settings import Settings

_COST, _BLOCK, _LANES = 2**15, 8, 1  # scrypt: 32 MiB and a tenth of a second
_MEMORY = 64 << 20
_SHORTEST_TOKEN, _SHORTEST_PASSWORD = 16, 8
_LARGEST_FILE = 1 << 20
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Access:
    """Who may read.

    Attributes:
        token: what `Authorization: Bearer` or the login form must show; empty when no token is set.
        users: name -> hash of the password.
        loopback: whether only this machine reaches the page.
    """

    token: str = field(default="", repr=False)
    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    loopback: bool = True

    @property
    def asks(self) -> bool:
        """Whether a reader has to show who they are."""
        return bool(self.token or self.users)

    def is_token(self, given: str) -> bool:
        """In constant time."""
        return bool(self.token) and hmac.compare_digest(given.encode(), self.token.encode())

    def is_user(self, name: str, password: str) -> bool:
        """Takes the same time for a name that there isn't."""
        known = self.users.get(name)
        return matches(password, known or _NOBODY) and known is not None


def read_access(settings: Settings) -> Access:
    """What the settings say.

    Raises:
        ConfigError: a file can't be read or used, or anyone could read the page from another machine.
    """
    web = settings.web
    token = web.token or (_read_token(web.token_file) if web.token_file else "")
    users = _read_users(web.users) if web.users else {}
    access = Access(token, users, is_loopback(web.host))
    if token and len(token) < _SHORTEST_TOKEN:
        raise ConfigError(
            f"the token of the status page is shorter than {_SHORTEST_TOKEN} characters",
            remedy='make one with `python3 -c "import secrets; print(secrets.token_urlsafe())"`',
        )
    if not access.loopback and not access.asks:
        raise ConfigError(
            "other machines could read the status page without showing who they are",
            subject=f"web.host {web.host}",
            remedy="set `web: {token_file: …}`, VENTURALITICA_WEB_TOKEN or `web: {users: …}` "
            "(`venturalitica-agent web-password` makes a line of it), or listen on 127.0.0.1",
        )
    return access


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there. Names other than localhost may mean anything."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def user_line(name: str, password: str) -> str:
    """A line of the file of users.

    Raises:
        ConfigError: the name can't stand in it, or the password is too short.
    """
    if not name.isprintable() or name != name.strip() or not name or ":" in name or name.startswith("#"):
        raise ConfigError("can't be the name of a user", subject=repr(name), remedy="use letters and digits")
    if len(password) < _SHORTEST_PASSWORD:
        raise ConfigError("is too short", subject="the password", remedy=f"use {_SHORTEST_PASSWORD} characters or more")
    return f"{name}:{hashed(password)}"


def hashed(password: str) -> str:
    """A password as it stands in the file of users: `scrypt$<n>$<r>$<p>$<salt>$<hash>`, both in base64."""
    salt = secrets.token_bytes(16)
    digest = hashlib.scrypt(password.encode(), salt=salt, n=_COST, r=_BLOCK, p=_LANES, maxmem=_MEMORY)
    return "$".join(("scrypt", str(_COST), str(_BLOCK), str(_LANES), _text(salt), _text(digest)))


def matches(password: str, known: str) -> bool:
    """Whether a password is the one of a hash that `hashed` made; in constant time."""
    n, r, p, salt, digest = _parts(known)
    found = hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=_MEMORY, dklen=len(digest))
    return hmac.compare_digest(found, digest)


def signing_key(settings: Settings) -> bytes:
    """The key that sessions are signed with, kept beside the state, for its owner only; made when it is missing.

    Raises:
        ConfigError: it can't be read or made.
    """
    url = sa.make_url(settings.state)
    home = Path(url.database or "").parent if url.get_backend_name() == "sqlite" else settings.cache.folder
    file = home / "web.key"
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            key = file.read_bytes()
        else:
            key = secrets.token_bytes(_KEY_BYTES)
            with os.fdopen(fd, "wb") as out:
                out.write(key)
    except OSError as error:
        raise ConfigError(
            f"the key of the status page's sessions can't be used: {error.strerror}",
            subject=str(file),
            remedy="let this user read and write the folder of the state",
        ) from error
    if len(key) != _KEY_BYTES:
        raise ConfigError("is not a key of sessions", subject=str(file), remedy="remove the file; a new one is made")
    return key


def _read_token(file: Path) -> str:
    token = _read(file).strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(
            "holds no token", subject=str(file), remedy="write one word of printable ASCII characters into it"
        )
    return token


def _read_users(file: Path) -> dict[str, str]:
    users = {}
    for number, line in enumerate(_read(file).splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, between, known = line.strip().partition(":")
        try:
            _parts(known)
        except ValueError as error:
            raise ConfigError(
                "is not a line `name:hash`",
                subject=f"{file}:{number}",
                remedy="let `venturalitica-agent web-password NAME` make it",
            ) from error
        if not between or not name or name in users:
            raise ConfigError(
                f"{name!r} stands twice" if name in users else "names nobody",
                subject=f"{file}:{number}",
                remedy="keep one line for each user",
            )
        users[name] = known
    if not users:
        raise ConfigError(
            "holds no user", subject=str(file), remedy="add a line of `venturalitica-agent web-password NAME`"
        )
    return users


def _read(file: Path) -> str:
    try:
        with file.open("rb") as source:
            return source.read(_LARGEST_FILE).decode()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(
            f"can't be read: {why}", subject=str(file), remedy="name a file under `web:` that this user may read"
        ) from error


def _parts(known: str) -> tuple[int, int, int, bytes, bytes]:
    """Raises ValueError on anything but a hash that is as hard to guess from as ours, and no harder to check."""
    kind, n, r, p, salt, digest = known.split("$")
    cost = (int(n), int(r), int(p))
    decoded = base64.b64decode(salt, validate=True), base64.b64decode(digest, validate=True)
    if kind != "scrypt" or cost != (_COST, _BLOCK, _LANES) or len(decoded[0]) < 16 or len(decoded[1]) < 32:
        raise ValueError("not one of our hashes")
    return (*cost, *decoded)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


_NOBODY = "$".join(("scrypt", str(_COST), str(_BLOCK), str(_LANES), _text(bytes(16)), _text(bytes(64))))
