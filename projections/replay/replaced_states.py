"""States that resets replaced, in the table `replaced_states` until an operator drops them.

Replaced rows are kept in the transaction that replaces them. Documents are in another store: they
are kept before they are replaced, and deleted here again if another writer was first; so a crash in
between can leave a document here that was not replaced, but never loses one that was. Used by
`ops.doctor.postgres_checks`, `ops.tasks.replay.replaced`, `projections.registry.definition`,
`projections.registry.rows` and `projections.replay.reset`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

import psycopg

from projections.replay.row_lock import LOCK_SECONDS, with_locked_rows
from projections.rows.columns import JOB_LISTS
from sql import queries

_QUERIES = queries("rebuild", JOB_LISTS)


class KeptStates(NamedTuple):
    """The number of kept states of one projection."""

    projection: str
    states: int
    runs: int
    """Resets that replaced them."""
    since: datetime


class Restored(NamedTuple):
    """The result of restoring the rows that the last reset replaced."""

    replaced_at: datetime
    restored: int
    left: int
    """Rows that were written since and were not restored; their old states are still kept."""


def new_run(connection: psycopg.Connection) -> tuple[int, datetime]:
    """Return the number and the time of a new reset."""
    row = connection.execute(_QUERIES["new_run"]).fetchone()
    if row is None:
        raise AssertionError("a SELECT without FROM has one row")
    return int(row[0]), row[1]


def kept_states(connection: psycopg.Connection) -> list[KeptStates]:
    """Return the numbers of kept states, of each projection that has some."""
    return [KeptStates(*row) for row in connection.execute(_QUERIES["kept"])]


def drop(connection: psycopg.Connection, projection: str, tenant: str | None = None) -> int:
    """Delete the kept states of a projection, of all resets; return their number.

    `tenant` is the only tenant whose states are deleted; None for all tenants.
    """
    parameters = {"projection": projection, "tenant": tenant}
    return connection.execute(_QUERIES["drop_replaced"], parameters).rowcount


def restore_rows(
    connection: psycopg.Connection,
    tenant: str | None = None,
    on_wait: Callable[[], None] = lambda: None,
) -> Restored | None:
    """Restore the rows that the last reset replaced; return None if no row is kept.

    A row that was written since is not changed. Readers see all changes at once.

    Args:
        connection: a connection that may write rows of all tenants.
        tenant: the only tenant whose rows are restored; None for all tenants.
        on_wait: called when other sessions hold the rows.

    Raises:
        Busy: other sessions held the rows all the time; nothing was changed.
    """
    return with_locked_rows(connection, lambda: _restore(connection, tenant), LOCK_SECONDS, on_wait)


def _restore(connection: psycopg.Connection, tenant: str | None) -> Restored | None:
    row = connection.execute(_QUERIES["newest_run"], {"tenant": tenant}).fetchone()
    if row is None:
        return None
    run, replaced_at, states = row
    connection.execute(_QUERIES["analyze_replaced"])
    parameters = {"run": run, "tenant": tenant}
    restored = sum(
        connection.execute(_QUERIES[name], parameters).rowcount
        for name in ("put_back_changed", "put_back_removed", "take_back_inserted")
    )
    return Restored(replaced_at, restored, states - restored)
