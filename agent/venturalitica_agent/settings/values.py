"""Converters from what people write (`5s`, `2GiB`, `./mlruns`) to what the agent uses."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from venturalitica_agent.errors import ConfigError
from venturalitica_agent.strict_yaml import BadValue, Scalar, nearest, printable, shown, understand

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
          "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}  # fmt: skip
_YEAR = 366 * 86_400.0
_DATABASES = ("postgresql", "mysql", "mssql")
_SCHEMES = ("http", "https", "file", "sqlite", *_DATABASES)
_DATABASE_FILES = (".db", ".sqlite", ".sqlite3")
_one_line = printable(4096)


def duration(scalar: Scalar) -> float:
    """Seconds from `5s`, `500ms`, `30m`, `1h`, `1d` or a plain number of seconds; at most a year."""
    seconds = _quantity(scalar, _SECONDS, 1.0, "a time such as 5s, 500ms, 30m or 1h")
    if seconds > _YEAR:
        raise BadValue(f"must be at most a year, not {shown(scalar.text)}")
    return seconds


def some_time(scalar: Scalar) -> float:
    """A duration that is longer than zero."""
    seconds = duration(scalar)
    if seconds == 0:
        raise BadValue("must be longer than zero")
    return seconds


def seconds_in(text: str, option: str) -> float:
    """The seconds in an option's value, which is written as times in agent.yaml are.

    Raises:
        ConfigError: it is no time, or zero.
    """
    try:
        return some_time(Scalar(text, understand(text)[0]))
    except BadValue as error:
        raise ConfigError(f"the value {error.what}", subject=option, remedy="write it as 90s, 10m or 1h") from error


def size(scalar: Scalar) -> int:
    """Bytes from `2GiB`, `500MB` or a plain number of bytes; from 1 MiB to 1,024 TiB."""
    count = int(_quantity(scalar, _BYTES, 1, "a size such as 500MB or 2GiB"))
    if not 2**20 <= count <= 2**50:
        raise BadValue(f"must be between 1MiB and 1024TiB, not {shown(scalar.text)}")
    return count


def folder_path(scalar: Scalar, folder: Path) -> Path:
    """An absolute path, relative ones taken from `folder`; `~` is the home."""
    text = _one_line(scalar)
    if "://" in text:
        raise BadValue(f"must be a local path, not {shown(text)}")
    try:
        return Path(os.path.normpath(folder / Path(text).expanduser()))
    except RuntimeError as error:
        raise BadValue(f"names a home folder that is not known: {shown(text)}") from error


def mlflow_uri(scalar: Scalar, folder: Path) -> str:
    """A tracking URI: an absolute folder, `sqlite:///<absolute file>`, or a database or http(s) URL as it stands."""
    text = _one_line(scalar)
    scheme = text.partition(":")[0] if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text) else ""
    match scheme.partition("+")[0]:
        case "":
            path = folder_path(scalar, folder)
            return f"sqlite:///{path}" if path.suffix in _DATABASE_FILES else str(path)
        case "file":
            return str(folder_path(Scalar(_file_path(text), None), folder))
        case "sqlite":
            return sqlite_url(text, folder)
        case "http" | "https":
            return web_url(scalar)
        case kind if kind in _DATABASES:
            return text
    raise BadValue(
        f"{shown(text)} is not a kind of store that is known: {', '.join(_SCHEMES)}", nearest(scheme, _SCHEMES)
    )


def state_url(scalar: Scalar, folder: Path) -> str:
    """A SQLAlchemy URL: `sqlite:///<absolute file>` for a path, or `postgresql://...` as it stands."""
    text = _one_line(scalar)
    if text.startswith("sqlite:"):
        return sqlite_url(text, folder)
    if text.startswith(("postgresql://", "postgresql+")):
        return text
    if "://" in text:
        raise BadValue(f"must be a path or a postgresql:// URL, not {shown(text)}")
    return f"sqlite:///{folder_path(scalar, folder)}"


def sqlite_url(text: str, folder: Path) -> str:
    """`sqlite:///relative.db` made absolute; a query string stays."""
    found = re.fullmatch(r"(sqlite(?:\+\w+)?):///([^?]+)(\?.*)?", text)
    if found is None or found[2] == ":memory:":
        raise BadValue("must name a file, e.g. sqlite:///mlflow.db")
    path = os.path.normpath(folder / found[2])
    return f"{found[1]}:///{path}{found[3] or ''}"


def web_url(scalar: Scalar) -> str:
    """An http(s) URL with a host, without a slash at its end."""
    text = _one_line(scalar)
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and parts.hostname is not None and parts.port != 0
    except ValueError:
        usable = False
    if not usable or " " in text:
        raise BadValue(f"must be an http(s) URL, not {shown(text)}")
    return text.rstrip("/")


def page_url(scalar: Scalar) -> str:
    """An http(s) URL that people will see, so it must not carry credentials."""
    url = web_url(scalar)
    if "@" in urlsplit(url).netloc:
        raise BadValue("must not hold credentials: it is shown in links")
    return url


def without_login(url: str) -> str:
    """An http(s) URL without `user:password@` and without its query."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def artifact_glob(scalar: Scalar) -> str:
    """A glob on artifact paths: relative and without `..`."""
    text = _one_line(scalar)
    if text.startswith("/") or ".." in text.split("/") or "://" in text:
        raise BadValue(f"must be a path inside the run's artifacts, not {shown(text)}")
    return text


def wandb_project(scalar: Scalar) -> str:
    """`entity/project`, or `entity/*`."""
    text = _one_line(scalar)
    if not re.fullmatch(r"[\w.-]+/([\w. -]+|\*)", text):
        raise BadValue(f"must be entity/project, not {shown(text)}")
    return text


def yes_or_no(scalar: Scalar) -> bool:
    if not isinstance(scalar.value, bool):
        raise BadValue(f"must be true or false, not {shown(scalar.text)}")
    return scalar.value


def port(scalar: Scalar) -> int:
    return whole(scalar, 1, 65_535)


def whole(scalar: Scalar, low: int, high: int) -> int:
    """A whole number, both bounds inclusive."""
    value = scalar.value
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise BadValue(f"must be a whole number between {low} and {high}, not {shown(scalar.text)}")
    return value


def _file_path(text: str) -> str:
    rest = text[len("file:") :]
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if host not in ("", "localhost"):
            raise BadValue(f"names another machine: {shown(host)}")
        rest = slash + path
    return unquote(rest)


def _quantity(scalar: Scalar, units: dict[str, float] | dict[str, int], unit: float, example: str) -> float:
    found = re.fullmatch(r"\s*([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([A-Za-z]*)\s*", scalar.text[:64])
    factor = None if found is None else units.get(found[2], unit if not found[2] else None)
    if found is None or factor is None:
        raise BadValue(f"must be {example}, not {shown(scalar.text)}")
    return float(found[1]) * factor
