"""Data dirs: one server each, and a lock that says whose it is."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from ops.devstack.errors import EmbeddedError

LOCK_TIMEOUT = 15.0
"""Seconds to wait for the remains of a server whose owner is gone; they are being ended."""

POLL = 0.02


class DataDirInUse(EmbeddedError):
    """Another process runs a server in this data dir: stop that, or take another data dir."""


class DirLock:
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
