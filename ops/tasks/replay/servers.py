"""Connections of `replay` and `verify` to Redis and PostgreSQL. Used by `ops.tasks`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import psycopg

from consumers.garbage_collector import tune_collector
from ops.errors import CommandError
from ops.tasks.replay.scope import Scope
from ops.tasks.replay.settled import settled
from projections.registry.definition import Replay
from projections.replay.events.sources import Sources
from projections.replay.row_lock import Busy
from projections.replay.tenant_shares import ALL, Share
from sql import sessions
from sql.sessions import Session
from streams import logging_setup
from streams.connection import connect
from streams.entry_ids import EntryId
from streams.settings import Settings

_DAY_MS = 86_400_000


@contextmanager
def open_replay(
    scope: Scope, share: Share = ALL, on_wait: Callable[[], None] = lambda: None
) -> Iterator[Replay]:
    """Connect to both servers, to read the events of a share of the tenants.

    `on_wait` is called when other sessions hold what a reset replaces.

    Raises:
        CommandError: the database lacks migrations, or other sessions hold its rows.
        SettingsError, redis.RedisError, psycopg.Error: a server is not configured or unavailable.
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
        yield Replay(
            settings,
            client,
            sources,
            connect=lambda: open_database(settings),
            settled=partial(settled, client, scope.projection),
            horizon=_horizon(settings),
            on_wait=on_wait,
        )


def open_database(settings: Settings) -> Session:
    """Return a new connection to PostgreSQL.

    Raises:
        SettingsError: no database is configured.
        psycopg.Error: it is unavailable or refuses the connection.
    """
    return sessions.connect(settings.require_database_url(), "jobtrail-replay")


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
