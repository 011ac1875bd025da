"""Embedded servers: a real Redis and a real PostgreSQL from wheels, without root or containers.

Each server is a direct child of this process that ends at the latest with it, listens on 127.0.0.1
alone, and keeps everything it has in one folder, its *data dir*. One server a data dir: a lock file
says whose it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.lazy_names import importer

if TYPE_CHECKING:
    from ops.devstack.data_dir import DataDirInUse
    from ops.devstack.errors import EmbeddedError, EmbeddedUnavailable
    from ops.devstack.postgres_server import EmbeddedPostgres
    from ops.devstack.redis_server import EmbeddedRedis
    from ops.devstack.server import EmbeddedServer, PortTaken, StartFailed

__all__ = [
    "DataDirInUse",
    "EmbeddedError",
    "EmbeddedPostgres",
    "EmbeddedRedis",
    "EmbeddedServer",
    "EmbeddedUnavailable",
    "PortTaken",
    "StartFailed",
]

# Most commands start no server.
__getattr__ = importer(
    __name__,
    {
        "data_dir": "DataDirInUse",
        "errors": "EmbeddedError EmbeddedUnavailable",
        "postgres_server": "EmbeddedPostgres",
        "redis_server": "EmbeddedRedis",
        "server": "EmbeddedServer PortTaken StartFailed",
    },
)
