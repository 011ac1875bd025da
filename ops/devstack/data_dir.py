"""The lock files that reserve a data directory for one server and its owner.

Used by `ops.devstack`.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from ops.devstack.errors import EmbeddedError

LOCK_TIMEOUT = 15.0
"""Seconds to wait for the processes of a server whose owner has ended; their guards end them."""

POLL = 0.02


class DataDirInUse(EmbeddedError):
    """Another process runs a server in this data directory."""


class DirLock:
    """The two locks of a data directory; the kernel drops each when no process has it open.

    `owner.lock` is open in this process only. `server.lock` is inherited by the server, so that it
    is held until the last process of the server has ended, also if this process ended first.
    """

    def __init__(self, data_dir: Path) -> None:
        self._dir = data_dir
        self._fds: list[int] = []

    def take(self) -> int:
        """Take both locks; return the file descriptor that the server must inherit.

        Raises:
            DataDirInUse: another owner runs (at once), or processes of a server whose owner has
                ended still run (after `LOCK_TIMEOUT`).
        """
        try:
            self._own()
            return self._wait_for_server()
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Release both locks; remaining processes of the server still hold theirs."""
        while self._fds:
            os.close(self._fds.pop())

    def _own(self) -> None:
        fd = self._open("owner.lock")
        if not _try_lock(fd):
            raise self._in_use(f"process {os.pread(fd, 32, 0).decode()}")
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d" % os.getpid(), 0)

    def _wait_for_server(self) -> int:
        fd = self._open("server.lock")
        deadline = time.monotonic() + LOCK_TIMEOUT
        while not _try_lock(fd):
            if time.monotonic() > deadline:
                raise self._in_use("a server whose owner has ended")
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
