"""Logins beside the embedded server's own, which alone is let in by itself."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import uuid4

import psycopg
from psycopg.sql import SQL, Identifier, Literal

from ops.devstack import EmbeddedPostgres
from tests.support.servers import login
from tests.support.waiting import eventually


@contextmanager
def new_login(server: EmbeddedPostgres, url: str, word: str, rights: str) -> Iterator[str]:
    """Make a login with a password, and return the URL of a database by which it connects.

    Its name begins with `word`; `rights` are options of CREATE ROLE, as `IN ROLE jobtrail_api`.
    """
    name, password = f"{word}_{uuid4().hex[:12]}", uuid4().hex
    with psycopg.connect(server.url, autocommit=True) as connection:
        statement = f"CREATE ROLE {{}} LOGIN PASSWORD {{}} {rights}"
        connection.execute(SQL(statement).format(Identifier(name), Literal(password)))
        # What this login makes is to be taken over in the end.
        connection.execute(SQL("GRANT {} TO CURRENT_USER").format(Identifier(name)))
        let_in(server, name)
        own = login(url, name, password)
        eventually(lambda: lets_in(own), what="the login")
        yield own
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SQL("REASSIGN OWNED BY {} TO CURRENT_USER").format(Identifier(name)))
        connection.execute(SQL("DROP OWNED BY {}").format(Identifier(name)))
        connection.execute(SQL("DROP ROLE {}").format(Identifier(name)))


def let_in(server: EmbeddedPostgres, name: str) -> None:
    """Add a rule by which a login may connect with its password."""
    with (server.data_dir / "cluster" / "pg_hba.conf").open("a") as rules:
        rules.write(f"host all {name} 127.0.0.1/32 scram-sha-256\n")
    os.kill(server.pid, signal.SIGHUP)


def lets_in(url: str) -> bool:
    """Return True if the server accepts the login of a URL."""
    with suppress(psycopg.OperationalError), psycopg.connect(url):
        return True
    return False
