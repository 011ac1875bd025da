"""A streaming replica of an embedded PostgreSQL."""

from __future__ import annotations

import subprocess
from pathlib import Path

import psycopg

from ops.devstack import EmbeddedPostgres
from ops.devstack.private import SERVER_ENVIRON, write_password

# For tests that pause a replica: the functions work when connected to the database `postgres`.
_RIGHTS = """\
ALTER ROLE jobtrail REPLICATION;
GRANT EXECUTE ON FUNCTION pg_wal_replay_pause(), pg_wal_replay_resume() TO jobtrail;
"""


class PrimaryPostgres(EmbeddedPostgres):
    """A server that replicas may connect to, from this machine and with the usual password."""

    def _write_rules(self, cluster: Path) -> None:
        super()._write_rules(cluster)
        with (cluster / "pg_hba.conf").open("a") as rules:
            rules.write("host replication jobtrail 127.0.0.1/32 scram-sha-256\n")

    def _prepare(self, lock_fd: int) -> None:
        super()._prepare(lock_fd)
        self._run_single(lock_fd, self._cluster, _RIGHTS)

    def copy_to(self, folder: Path) -> None:
        """Copy the running server as a replica of it into a folder."""
        cluster = folder / "cluster"
        subprocess.run(
            [
                str(self._programs / "pg_basebackup"),
                *("-D", str(cluster), "-d", self.url, "-R", "-X", "stream", "-c", "fast"),
                "--no-sync",
            ],
            env={**SERVER_ENVIRON},
            check=True,
        )
        write_password(folder, self._password)
        user = self._user()
        if user is not None:
            subprocess.run(
                ["chown", "-R", f"{user.pw_uid}:{user.pw_gid}", str(cluster)], check=True
            )


def execute(url: str, statement: str) -> object:
    """Run one statement, and return the first value of its result, if there is one."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        row = cursor.fetchone() if cursor.description else None
    return row and row[0]
