"""Connections of `replay` and `verify` to Redis and PostgreSQL, and the readers on top of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg
import redis

from consumers.garbage_collector import tune_collector
from ops.errors import CommandError
from ops.tasks.replay.scope import Scope
from projections.replay.replaced_states import Busy
from projections.replay.served import RowsServed, Served, StatusServed
from projections.replay.sources import Sources
from projections.replay.tenant_shares import ALL, Share
from projections.replay.verify import Comparison
from sql import sessions
from sql.sessions import Session
from streams import logging_setup
from streams.connection import connect
from streams.entry_ids import EntryId
from streams.settings import Settings

_DAY_MS = 86_400_000


class Servers(NamedTuple):
    """Open connections and what reads through them."""

    settings: Settings
    client: redis.Redis
    sources: Sources
    """The events, from the history and the streams."""
    served: Served
    """The projection as readers get it."""
    horizon: EntryId | None

    @property
    def comparison(self) -> Comparison:
        """The comparison of the events with the projection."""
        return Comparison(self.sources, self.served, self.horizon)


@contextmanager
def open_servers(scope: Scope, share: Share = ALL) -> Iterator[Servers]:
    """Connect to both servers, to read the events of a share of the tenants.

    Raises:
        CommandError: the database lacks migrations, or other sessions hold its rows.
        SettingsError, redis.RedisError, psycopg.Error: a server is not set or away.
    """
    settings = scope.settings
    logging_setup.configure(settings)
    tune_collector()
    client = connect(settings.require_redis_url())
    with client, one_line_errors(), open_database(settings) as connection:
        sources = Sources(
            client,
            connection,
            tenant=scope.tenant,
            share=share,
            max_event_bytes=settings.max_event_bytes,
        )
        status = scope.projection == "status"
        served = served_documents(client, settings) if status else RowsServed(connection)
        yield Servers(settings, client, sources, served, _horizon(settings))


def open_database(settings: Settings) -> Session:
    """Return a new connection to PostgreSQL.

    Raises:
        SettingsError: no database is set.
        psycopg.Error: it is away or refuses.
    """
    return sessions.connect(settings.require_database_url(), "jobtrail-replay")


def served_documents(client: redis.Redis, settings: Settings) -> StatusServed:
    """Return the reader of the served status documents."""
    return StatusServed(client, **status_options(settings))


def status_options(settings: Settings) -> dict[str, Any]:
    """Return the settings that readers and writers of status documents take."""
    return {
        "ttl_seconds": settings.status_ttl_seconds,
        "ended_ttl_seconds": settings.ended_ttl_seconds,
        "result_cache_bytes": settings.result_cache_bytes,
    }


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn a missing table or a lock that is not free into one line.

    Raises:
        CommandError: instead of `UndefinedTable`, `UndefinedColumn` and `Busy`.
    """
    try:
        yield
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
        missing = str(error).splitlines()[0]
        raise CommandError(
            f"the database lacks migrations ({missing}): run jobtrail migrate"
        ) from None
    except Busy as error:
        raise CommandError(str(error)) from None


def _horizon(settings: Settings) -> EntryId | None:
    """Return the entry id from which on the history is certainly complete; None for all of it.

    Old history is dropped by partitions of a week, so that some of what is older may be left.
    """
    days = settings.history_keep_days
    if days is None:
        return None
    return EntryId(max(0, int(time.time() * 1000) - days * _DAY_MS), 0)
