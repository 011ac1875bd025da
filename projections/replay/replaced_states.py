"""What resets replaced: kept in the table `replaced_states` until an operator drops it.

Rows get there in the very transaction that replaces them. Documents are in another store: they
are kept before they are replaced, and forgotten again where somebody else was faster, so that a
crash in between leaves one named too many and none too few.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import NamedTuple, TypeVar

import orjson
import psycopg

from projections.replay.job_arrays import job_arrays
from projections.rows.columns import JOB_LISTS
from sql import queries
from sql.retries import TRANSIENT_ERRORS
from streams.keys import JobKey

_QUERIES = queries("rebuild", JOB_LISTS)
T = TypeVar("T")

LOCK_SECONDS = 2.0
"""How long one try for the lock on the rows may take; writers wait meanwhile, readers do not."""
LOCK_TRIES = 30


class Busy(Exception):
    """Somebody held rows for too long: nothing was changed, run it again later."""


class Kept(NamedTuple):
    """How much is kept of one projection."""

    projection: str
    states: int
    runs: int
    """Resets."""
    since: datetime


class Restored(NamedTuple):
    """What became of the last reset's rows."""

    replaced_at: datetime
    restored: int
    left: int
    """Rows that were written since, and stay as they are; what they were is still kept."""


class Replaced(NamedTuple):
    """One job's documents as they were found; b"" for none."""

    status: bytes
    progress: bytes
    removed: bool
    """Whether nothing comes in their place."""


class KeptDocuments:
    """Keeps the documents that one reset replaces.

    Args:
        connect: makes a connection in autocommit mode; called when there is something to keep.
    """

    def __init__(self, connect: Callable[[], psycopg.Connection]) -> None:
        self.states = 0
        """How many are kept of this reset."""
        self._connect = connect
        self._connection: psycopg.Connection | None = None
        self._run = 0

    def keep(self, found: Mapping[JobKey, Replaced]) -> None:
        """Keep these; where there was nothing, there is nothing to keep.

        Raises:
            psycopg.Error: they are not kept, and must not be replaced.
        """
        worth = {job: each for job, each in found.items() if each.status or each.progress}
        if not worth:
            return
        whys = ["removed" if each.removed else "updated" for each in worth.values()]
        was = [_documents(each) for each in worth.values()]
        arguments = {**job_arrays(worth), "whys": whys, "was": was}
        self.states += self._execute("keep_documents", arguments)

    def forget(self, jobs: Collection[JobKey]) -> None:
        """Keep these no more: they were not replaced."""
        if jobs and self._connection is not None:
            self.states -= self._execute("forget_documents", job_arrays(jobs))

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()

    def _execute(self, name: str, arguments: Mapping[str, list[str]]) -> int:
        if self._connection is None:
            self._connection = self._connect()
            self._run, _ = new_run(self._connection)
        return self._connection.execute(_QUERIES[name], {**arguments, "run": self._run}).rowcount


def new_run(connection: psycopg.Connection) -> tuple[int, datetime]:
    """Return a new reset's number and time."""
    row = connection.execute(_QUERIES["new_run"]).fetchone()
    if row is None:
        raise AssertionError("a SELECT without FROM has one row")
    return int(row[0]), row[1]


def kept(connection: psycopg.Connection) -> list[Kept]:
    """Give how much is kept, of those projections of which something is."""
    return [Kept(*row) for row in connection.execute(_QUERIES["kept"])]


def drop(connection: psycopg.Connection, projection: str, tenant: str | None = None) -> int:
    """Drop what is kept of a projection, all resets, and give how many states that were."""
    whose = {"projection": projection, "tenant": tenant}
    return connection.execute(_QUERIES["drop_replaced"], whose).rowcount


def restore(
    connection: psycopg.Connection,
    tenant: str | None = None,
    on_wait: Callable[[], None] = lambda: None,
) -> Restored | None:
    """Put back what the last reset of the rows replaced; None where nothing is kept.

    A row that was written since stays as it is. Readers see all of it at once.

    Raises:
        Busy: the lock was not to be had.
    """
    return when_free(connection, lambda: _restore(connection, tenant), LOCK_SECONDS, on_wait)


def when_free(
    connection: psycopg.Connection,
    work: Callable[[], T],
    seconds: float,
    on_wait: Callable[[], None],
) -> T:
    """Work on the rows in one transaction in which no one else writes any; readers read on.

    Raises:
        Busy: the lock was not to be had, each try of so many seconds.
    """
    for _ in range(LOCK_TRIES):
        try:
            with connection.transaction():
                connection.execute(_QUERIES["patience"], {"milliseconds": int(seconds * 1000)})
                connection.execute(_QUERIES["lock_rows"])
                return work()
        except (psycopg.errors.LockNotAvailable, *TRANSIENT_ERRORS):
            on_wait()
    raise Busy("the table jobs was in use all the time; nothing was changed, try again later")


def _restore(connection: psycopg.Connection, tenant: str | None) -> Restored | None:
    row = connection.execute(_QUERIES["newest_run"], {"tenant": tenant}).fetchone()
    if row is None:
        return None
    run, at, states = row
    connection.execute(_QUERIES["analyze_replaced"])
    whose = {"run": run, "tenant": tenant}
    restored = sum(
        connection.execute(_QUERIES[name], whose).rowcount
        for name in ("put_back_changed", "put_back_removed", "take_back_inserted")
    )
    return Restored(at, restored, states - restored)


def _documents(found: Replaced) -> str:
    """Give both documents in one JSON text, byte for byte where they are JSON themselves."""
    parts = [
        b'"%b":%b' % (name, _json(raw))
        for name, raw in ((b"status", found.status), (b"progress", found.progress))
        if raw
    ]
    return (b"{%b}" % b",".join(parts)).decode()


def _json(raw: bytes) -> bytes:
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        return orjson.dumps({"base64": base64.b64encode(raw).decode()})
    return raw
