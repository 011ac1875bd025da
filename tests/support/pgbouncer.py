"""PgBouncer in front of a test's PostgreSQL, on a socket of its own."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlsplit

import psycopg

from tests.support.debian import debian_environ, debian_program
from tests.support.servers import server_folder
from tests.support.waiting import ENDING, eventually

PORT = 6432
"""Part of the socket's name; no TCP port is taken."""
Mode = Literal["session", "transaction"]

CONFIGURATION = """\
[databases]
* = host={host} port={port}
[pgbouncer]
listen_addr =
listen_port = {own_port}
unix_socket_dir = {folder}
auth_type = trust
auth_file = {folder}/users.txt
pool_mode = {mode}
server_reset_query = DISCARD ALL
default_pool_size = {pool_size}
max_client_conn = 200
ignore_startup_parameters = extra_float_digits
"""


@contextmanager
def pgbouncer(
    url: str, mode: Mode, *, pool_size: int = 20, others: Sequence[str] = ()
) -> Iterator[str]:
    """Start PgBouncer in front of a database and return the URL through it.

    `others` are URLs of the same database with other logins, for which `as_login` is.
    """
    program, server = debian_program("pgbouncer"), urlsplit(url)
    with server_folder() as folder:
        user = _unprivileged()
        logins = [urlsplit(each) for each in (url, *others)]
        users = [f'"{each.username}" "{each.password or ""}"\n' for each in logins]
        (folder / "users.txt").write_text("".join(users))
        (folder / "pgbouncer.ini").write_text(
            CONFIGURATION.format(
                host=server.hostname,
                port=server.port,
                own_port=PORT,
                folder=folder,
                mode=mode,
                pool_size=pool_size,
            )
        )
        if user is not None:
            for path in (folder, *folder.iterdir()):
                os.chown(path, user.pw_uid, user.pw_gid)
        process = subprocess.Popen(
            [str(program), "-q", str(folder / "pgbouncer.ini")],
            env=debian_environ(),
            user=None if user is None else user.pw_uid,
            group=None if user is None else user.pw_gid,
            extra_groups=None if user is None else [],
            stderr=subprocess.DEVNULL,
        )
        try:
            through = _url(folder, server.username or "", server.path)
            eventually(lambda: _answers(through), 20, "PgBouncer")
            yield through
        finally:
            process.terminate()  # it drops its clients at once
            process.wait(ENDING)


def as_login(url: str, login: str) -> str:
    """Return the URL with another login."""
    server = urlsplit(url)
    return url.replace(f"//{server.username}@", f"//{login}@", 1)


def _url(folder: Path, user: str, path: str) -> str:
    return f"postgresql://{user}@{quote(str(folder), safe='')}:{PORT}{path}"


def _answers(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=5):
            return True
    except psycopg.OperationalError:
        return False


def _unprivileged() -> pwd.struct_passwd | None:
    """Return whom it runs as where we are root, which it refuses to run as."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None
