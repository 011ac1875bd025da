"""What both servers have in common: starting, stopping, and the port between the two."""

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
from ops.devstack.private import SERVER_ENVIRON, UMASK, open_private, private_folder
from ops.processes.child import Child

HOST = "127.0.0.1"
PORTS = range(16_000, 32_000)
"""Below what systems use for outgoing connections: a client that keeps trying a stopped server's
port could otherwise be given that very port as its own end, and would then hold it."""

PORT_TRIES = 5
START_TIMEOUT = 60.0
"""Seconds until a server must answer; it may have a log to read again first."""

STOP_TIMEOUT = 20.0
POLL = 0.02
LOG_LINES = 3


class StartFailed(EmbeddedError):
    """The server did not come up; the message has the last lines of its log."""


class PortTaken(StartFailed):
    """Somebody else listens on the port: take another one."""


class EmbeddedServer(ABC):
    """What both servers have in common: starting, stopping, and the port between the two."""

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]

    def __init__(self, data_dir: Path) -> None:
        # Not resolved: a symbolic link is refused, not followed.
        self.data_dir = data_dir.absolute()
        self.log_path = self.data_dir / f"{self.name.lower()}.log"
        self._lock = DirLock(self.data_dir)
        self._child: Child | None = None
        self._port: int | None = None
        self._log_offset = 0

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
            EmbeddedUnavailable, DataDirInUse, NotPrivate, PortTaken, StartFailed: it does not run.
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

    def _working_dir(self) -> Path:
        """Return where the server runs."""
        return self.data_dir

    def _start_on(self, port: int | None, lock_fd: int) -> None:
        """Start on the port asked for, or on one that is free.

        Between finding a port free and the server's taking it, another process may have taken it.
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
        """Return what the server has written to its log since this start."""
        with self.log_path.open("rb") as log:
            log.seek(self._log_offset)
            return log.read().decode(errors="replace")

    def _failure(self, what: str, port: int) -> StartFailed:
        said = self._logged()
        if "ddress already in use" in said:
            return PortTaken(f"{self.name} cannot listen on {HOST}:{port}: the port is taken")
        last = " | ".join(said.split("\n")[-LOG_LINES - 1 :]).strip(" |")
        return StartFailed(f"{self.name} {what}; its log {self.log_path} ends: {last}")


def free_port() -> int:
    """Find a port that nobody listens on right now."""
    while True:
        port = secrets.choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port
