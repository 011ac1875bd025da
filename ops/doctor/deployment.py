"""The deployment that the doctor examines: connections, and what several checks read.

Used by `ops.doctor`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from types import TracebackType
from typing import Any, Self

import redis

from consumers.dead_letters.store import DeadLetterStore
from consumers.delivery.lag import Lag, lag_of
from ops.doctor.key_types import UnexpectedKey, unexpected_keys
from projections.registry.lookup import projection_names
from sql import sessions
from sql.migrate import missing
from sql.sessions import Session
from streams.cluster import Cluster, keys_of
from streams.connection import connect
from streams.discovery import tenants
from streams.keys import Keys
from streams.settings import Settings

ANSWER_SECONDS = 60.0
"""The time limit, in seconds, for one answer of PostgreSQL."""


class Server:
    """A primary of Redis.

    Args:
        address: its host and port on a cluster; empty where there is no other.
        client: a connection to it alone.
        settings: those of the deployment.
    """

    def __init__(self, address: str, client: redis.Redis, settings: Settings) -> None:
        self.address = address
        self.client = client
        self.settings = settings

    @cached_property
    def info(self) -> Mapping[str, Any]:
        """The answer to INFO."""
        info: Mapping[str, Any] = self.client.info()
        return info


class Deployment:
    """Redis and PostgreSQL of one deployment, connected when a check first needs them.

    Every property raises what its server raises: `SettingsError` or `InvalidUrl` for a wrong URL,
    `redis.RedisError` or `psycopg.Error` for a server that is unavailable.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @cached_property
    def client(self) -> redis.Redis:
        """The connection to Redis."""
        client = connect(self.settings.require_redis_url())
        self._stack.callback(client.close)
        return client

    @property
    def keys(self) -> Keys:
        """The names of keys."""
        return keys_of(self.client)

    @cached_property
    def servers(self) -> Sequence[Server]:
        """The primaries of Redis; one without a cluster."""
        if not isinstance(self.client, Cluster):
            return [Server("", self.client, self.settings)]
        return [
            Server(f"{host}:{port}", client, self.settings)
            for (host, port), client in sorted(self.client.primaries().items())
        ]

    @cached_property
    def lags(self) -> Sequence[Lag]:
        """The lag of each projection's group for each tenant."""
        return list(lag_of(self.client, self.tenants, projection_names(), self.keys))

    @cached_property
    def tenants(self) -> Sequence[str]:
        """All tenants that have a stream; reading them takes a scan of the keyspace."""
        return tenants(self.client, self.keys)

    @cached_property
    def dead_tenants(self) -> Sequence[str]:
        """All tenants that have dead letters, from another scan."""
        return list(DeadLetterStore(self.client).tenants())

    @cached_property
    def unexpected_keys(self) -> Sequence[UnexpectedKey]:
        """The keys of tenants that have another type than jobtrail's keys of that name."""
        return unexpected_keys(self.client)

    @property
    def database_url(self) -> str:
        """The URL of PostgreSQL."""
        return self.settings.require_database_url()

    @cached_property
    def database(self) -> Session:
        """A read-only connection to PostgreSQL."""
        session = sessions.connect(
            self.database_url, "jobtrail-doctor", read_only=True, answer_seconds=ANSWER_SECONDS
        )
        return self._stack.enter_context(session)

    @cached_property
    def missing_migrations(self) -> Sequence[str]:
        """The migrations that the database lacks."""
        return missing(self.database_url)
