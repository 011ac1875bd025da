"""The base of the embedded servers: start, stop, port, log and locks.

Used by `ops.devstack`, `ops.devstack.postgres_server` and `ops.devstack.redis_server`.
"""

from __future__ import annotations

import os
import pwd
import secrets
import signal
import socket
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from ops.devstack.data_dir import DirLock
from ops.devstack.errors import EmbeddedError
from ops.devstack.private import (
    SERVER_ENVIRON,
    UMASK,
    open_private,
    private_folder,
    read_port,
    write_port,
)
from ops.processes.child import Child

HOST = "127.0.0.1"
PORTS = range(16_000, 32_000)
"""Below the ports of outgoing connections. A client that retries the port of a stopped server could
otherwise get that port for its own end of the connection, and occupy it."""

PORT_TRIES = 5
START_TIMEOUT = 60.0
"""Seconds in which a server must answer; it may replay its log first."""

STOP_TIMEOUT = 20.0
POLL = 0.02
LOG_LINES = 3


class StartFailed(EmbeddedError):
    """The server did not start; the message has the last lines of its log."""


class PortTaken(StartFailed):
    """Another process listens on the port."""


class EmbeddedServer(ABC):
    """A server process on a free port of 127.0.0.1, with its data directory.

    A subclass defines how the directory is prepared, the command line, and when it is ready.
    """

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]

    def __init__(self, data_dir: Path) -> None:
        # Not resolved: `private_folder` must see a symbolic link, to refuse it.
        self.data_dir = data_dir.absolute()
        self.log_path = self.data_dir / f"{self.name.lower()}.log"
        self._lock = DirLock(self.data_dir)
        self._child: Child | None = None
        self._port: int | None = None
        self._log_offset = 0

    def __enter__(self) -> Self:
        """Start the server."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the server."""
        self.stop()

    @property
    @abstractmethod
    def url(self) -> str:
        """The URL for clients; restarts of this object do not change it."""

    @property
    def port(self) -> int:
        """The TCP port; restarts of this object do not change it."""
        if self._port is None:
            raise EmbeddedError(f"{self.name} was never started")
        return self._port

    @property
    def pid(self) -> int:
        """The process id of the server; of the last one if it is stopped."""
        if self._child is None:
            raise EmbeddedError(f"{self.name} was never started")
        return self._child.pid

    def alive(self) -> bool:
        """Return True if the server's process runs."""
        return self._child is not None and self._child.poll() is None

    def start(self, port: int | None = None) -> None:
        """Start the server if it does not run, and return once it answers.

        Without `port` it takes the port it had before, or a free one at the first start.

        Raises:
            EmbeddedUnavailable, DataDirInUse, NotPrivate, PortTaken, StartFailed: it did not start.
        """
        if self.alive():
            return
        self._lock.release()
        private_folder(self.data_dir)
        lock_fd = self._lock.take()
        try:
            self._prepare(lock_fd)
            self._start_on(port or self._port, lock_fd)
        except BaseException:
            self._lock.release()
            raise

    def start_on_kept_port(self) -> None:
        """Start on the port that the data directory keeps, or on a free one if it is taken.

        The port is then kept, so that addresses of clients stay valid the next time.

        Raises:
            EmbeddedUnavailable, DataDirInUse, NotPrivate, PortTaken, StartFailed: as `start`.
        """
        private_folder(self.data_dir)
        try:
            self.start(read_port(self.data_dir))
        except PortTaken:
            self.start()
        write_port(self.data_dir, self.port)

    def stop(self) -> None:
        """Shut it down; it is killed if that takes more than `STOP_TIMEOUT` seconds."""
        if self._child is not None:
            self._child.stop(STOP_TIMEOUT)
        self._lock.release()

    def kill(self) -> None:
        """Kill it (SIGKILL), as in a crash."""
        if self._child is not None:
            self._child.kill()
        self._lock.release()

    @abstractmethod
    def _prepare(self, lock_fd: int) -> None:
        """Prepare the data directory; programs that write there must inherit `lock_fd`."""

    @abstractmethod
    def _argv(self, port: int) -> list[str]:
        """Return the server's command line."""

    @abstractmethod
    def _ready(self, pid: int, port: int) -> bool:
        """Return True if the process `pid` serves on `port`."""

    def _user(self) -> pwd.struct_passwd | None:
        """Return the user that the server runs as; None for the user of this process."""
        return None

    def _working_dir(self) -> Path:
        """Return the working directory of the server."""
        return self.data_dir

    def _start_on(self, port: int | None, lock_fd: int) -> None:
        """Start on the given port, or on a free one.

        Another process may take a free port before the server does; another one is tried then.
        """
        for _ in range(PORT_TRIES if port is None else 1):
            try:
                return self._start_once(port or free_port(), lock_fd)
            except PortTaken as error:
                failure = error
        raise failure

    def _start_once(self, port: int, lock_fd: int) -> None:
        fd = open_private(self.log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        with os.fdopen(fd, "ab") as log:
            self._log_offset = log.seek(0, os.SEEK_END)
            child = Child(
                self._argv(port),
                env=SERVER_ENVIRON,
                cwd=self._working_dir(),
                umask=UMASK,
                user=self._user(),
                output=log.fileno(),
                pass_fds=[lock_fd],
                stop_signal=self.stop_signal,
            )
        try:
            self._wait_until_ready(child, port)
        except BaseException:
            child.kill()
            raise
        self._child, self._port = child, port

    def _wait_until_ready(self, child: Child, port: int) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not self._ready(child.pid, port):
            if child.poll() is not None:
                raise self._failure("ended at once", port)
            if time.monotonic() > deadline:
                raise self._failure(f"did not answer in {START_TIMEOUT:.0f} s", port)
            time.sleep(POLL)

    def _logged(self) -> str:
        """Return the part of the log that was written since this start."""
        with self.log_path.open("rb") as log:
            log.seek(self._log_offset)
            return log.read().decode(errors="replace")

    def _failure(self, reason: str, port: int) -> StartFailed:
        written = self._logged()
        if "ddress already in use" in written:
            return PortTaken(f"{self.name} cannot listen on {HOST}:{port}: the port is taken")
        last = " | ".join(written.split("\n")[-LOG_LINES - 1 :]).strip(" |")
        return StartFailed(f"{self.name} {reason}; its log {self.log_path} ends: {last}")


def free_port() -> int:
    """Return a port that no process listens on at the moment."""
    while True:
        port = secrets.choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port
