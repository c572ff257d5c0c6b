"""A real PostgreSQL on loopback, in a folder of its own: for the tests of many machines. PostgreSQL refuses to run as
root, so there it runs as the user that Debian's package made."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

_PLACES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)


class Postgres:
    """A server that runs; `database` makes an empty database and returns its URL."""

    def __init__(self, host: str, port: int) -> None:
        self._server = f"postgresql+psycopg://agent@{host}:{port}"
        self._made = 0

    def database(self) -> str:
        self._made += 1
        name = f"state_{os.getpid()}_{self._made}"
        engine = sa.create_engine(f"{self._server}/postgres", isolation_level="AUTOCOMMIT")
        with engine.connect() as db:
            db.exec_driver_sql(f"CREATE DATABASE {name}")
        engine.dispose()
        return f"{self._server.replace('+psycopg', '')}/{name}"


@contextmanager
def postgres(*, host: str = "127.0.0.1", durable: bool = False) -> Iterator[Postgres]:
    """A fresh server, ended and removed at the end.

    Args:
        host: the address it listens on. durable: does it wait for the disk, as a real one does?
    """
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    port = _free_port(host)
    options = ["-c", f"listen_addresses={host}", "-c", f"port={port}", "-c", f"unix_socket_directories={folder}"]
    options += [] if durable else ["-c", "fsync=off", "-c", "synchronous_commit=off"]
    options += ["-c", "max_connections=200"]
    server = None
    try:
        user = _user()
        shutil.chown(folder, user)
        data = folder / "data"
        _as(user, "initdb", "-D", str(data), "-U", "agent", "--auth=trust", "--no-sync", "--encoding=UTF8")
        with (data / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all agent {host}/16 trust\n")
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [str(program("postgres")), "-D", str(data), *options], user=user, stdout=log, stderr=log, cwd=folder
            )
        _as(user, "pg_isready", "-h", host, "-p", str(port), "-t", "30", again=server)
        yield Postgres(host, port)
    finally:
        if server is not None:
            server.terminate()  # waits for clients
            server.send_signal(2)  # and this doesn't
            server.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


def program(name: str) -> Path:
    found = next((place / name for place in _PLACES if (place / name).exists()), None) or shutil.which(name)
    if found is None:
        raise RuntimeError(
            f"PostgreSQL's `{name}` is missing, and many machines are not tested without it: "
            "apt-get install postgresql, or scripts/bootstrap dev as root"
        )
    return Path(found)


def _user() -> str | int:
    if os.geteuid() != 0:
        return os.geteuid()
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise RuntimeError("PostgreSQL does not run as root, and there is no user `postgres` or `nobody` here")


def _as(user: str | int, name: str, *args: str, again: subprocess.Popen[bytes] | None = None) -> None:
    """Run one of PostgreSQL's programs; with `again` until it says yes, as long as that process lives."""
    while True:
        done = subprocess.run([str(program(name)), *args], user=user, capture_output=True, text=True, cwd="/")
        if done.returncode == 0:
            return
        if again is None or again.poll() is not None:
            raise RuntimeError(f"{name} ended with {done.returncode}: {done.stdout}{done.stderr}")


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
