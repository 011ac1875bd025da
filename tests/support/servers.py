"""Servers for tests: in folders of their own, gone after use."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
from psycopg.sql import SQL, Identifier

from ops.devstack import EmbeddedPostgres, EmbeddedRedis, EmbeddedServer
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

TEMPLATE = "jobtrail_template"


class RedisFactory(Protocol):
    """Starts a Redis of the test's own."""

    def __call__(self, *, persist: bool = True) -> EmbeddedRedis: ...


PostgresFactory = Callable[[], EmbeddedPostgres]
"""Starts a PostgreSQL of the test's own, with migrations applied."""


@contextmanager
def server_folder() -> Iterator[Path]:
    """Give a folder for servers' data.

    Not pytest's `tmp_path`: PostgreSQL runs as another user under root, and each pytest session
    closes the folder above all `tmp_path`s to other users.
    """
    with tempfile.TemporaryDirectory(prefix="jobtrail-") as folder:
        yield Path(folder)


def copy_folder(original: Path, copy: Path) -> None:
    """Copy a stopped server's folder, its files' owners too; setting up anew takes far longer."""
    subprocess.run(["cp", "-a", f"{original}/.", str(copy)], check=True)


def migrate(server: EmbeddedPostgres, database: str = "jobtrail") -> None:
    """Apply all migrations to a database of the server."""
    from sql.migrate import apply  # noqa: PLC0415 - most tests need no PostgreSQL

    apply(database_url(server, database))


def database_url(server: EmbeddedPostgres, database: str) -> str:
    """Give the URL of a database of the server."""
    return f"{server.url.rpartition('/')[0]}/{database}"


def login(url: str, user: str, password: str) -> str:
    """Return the URL of a server with another login."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{user}:{password}@{host}"))


def through(server: EmbeddedServer, proxy: Proxy) -> str:
    """Return the URL of a server by way of a proxy."""
    return server.url.replace(f":{server.port}/", f":{proxy.port}/")


def create_template(server: EmbeddedPostgres) -> None:
    """Make the database that those of the tests are cloned from."""
    _execute(server, "CREATE DATABASE {}", TEMPLATE)
    migrate(server, TEMPLATE)


@contextmanager
def cloned_database(server: EmbeddedPostgres) -> Iterator[str]:
    """Give the URL of a fresh clone of the template; it is dropped, whoever is connected."""
    name = f"test_{uuid4().hex}"
    _execute(server, "CREATE DATABASE {} TEMPLATE {}", name, TEMPLATE)
    try:
        yield database_url(server, name)
    finally:
        drop_database(server, name)


def drop_database(server: EmbeddedPostgres, name: str) -> None:
    """Drop a database, whoever is connected; the server's own cleaner is waited for."""

    def dropped() -> bool:
        try:
            _execute(server, "DROP DATABASE {} WITH (FORCE)", name)
        except psycopg.errors.InsufficientPrivilege:
            return False  # autovacuum is at it, which is not ours to end
        return True

    eventually(dropped, timeout=60, what="the end of autovacuum")


def _execute(server: EmbeddedPostgres, statement: str, *names: str) -> None:
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(SQL(statement).format(*map(Identifier, names)))
