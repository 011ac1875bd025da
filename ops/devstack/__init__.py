"""Embedded servers: a real Redis and a real PostgreSQL from wheels, without root or containers.

Used by `jobtrail up`, the tests and the benchmarks. Each server is a direct child of this process
that ends at the latest with it, listens on 127.0.0.1 only, and keeps its data in one folder, its
*data directory*, which lock files reserve for one server. Of `ops`, nothing but `ops.processes` is
imported here.
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

# Imported on first use: most commands start no server.
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
