"""Logging of the sessions that hold the locks which a session waits for.

Any login that may read a table can prevent changes of its definition: while its transaction is
open, no session gets the exclusive lock. So a migration that waits logs the blocking sessions
repeatedly, until an operator ends them or they end by themselves. Used by `sql.migrate`.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

import psycopg
import structlog

from sql import queries
from sql.sessions import Session, connect

_LOG = structlog.get_logger(__name__)
_QUERIES = queries("waits")

LOOK_SECONDS = 0.1
"""The interval at which the blocking sessions are read."""
REPORT_AFTER_SECONDS = 2.0
"""The time after which a blocking session is logged; most locks are held for less."""
REPORT_AGAIN_SECONDS = 30.0


class BlockingSessions:
    """The sessions that block another one, and since when.

    A session that waits by trying again waits for none between two tries. So a blocking session
    counts as gone only after it was absent for longer than the pause between tries. A writer, whose
    transactions are short, is absent during most of a try as well.

    Args:
        report_after: seconds after which a session is reported.
        gone_after: seconds of absence after which a session counts as gone.
    """

    def __init__(self, report_after: float, gone_after: float) -> None:
        self._report_after = report_after
        self._gone_after = gone_after
        self._since = dict[int, float]()
        self._absent_since = dict[int, float]()

    def update(self, now: float, found: Collection[int]) -> set[int]:
        """Take the process ids of the blocking sessions, and return those to report."""
        for pid in self._since.keys() - set(found):
            if now - self._absent_since.setdefault(pid, now) > self._gone_after:
                del self._since[pid], self._absent_since[pid]
        for pid in found:
            self._since.setdefault(pid, now)
            self._absent_since.pop(pid, None)
        return {pid for pid in found if now - self._since[pid] >= self._report_after}


@contextmanager
def reported_waits(waiting: Session, pause: float) -> Iterator[None]:
    """Log the sessions that block `waiting`, as long as the context lasts.

    `pause` is the time, in seconds, between two tries of `waiting` to get its locks.

    A thread reads them with a session of its own. Its transactions are short, because CREATE INDEX
    CONCURRENTLY waits for every transaction that is open when it begins. If that session fails,
    nothing more is logged.

    Raises:
        psycopg.Error: that session cannot be opened.
    """
    stop, pid = Event(), waiting.info.backend_pid
    # A try waits for its lock only some time after it began.
    blocking = BlockingSessions(REPORT_AFTER_SECONDS, pause + LOOK_SECONDS)
    with connect(waiting.url, "jobtrail-waits", connect_seconds=10, read_only=True) as session:
        session.settle()
        thread = Thread(target=_report, args=(session, pid, blocking, stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def named_sessions(found: Iterable[tuple[int, str, str]]) -> str:
    """Return sessions, rows of the queries of `waits.sql`, as text for a log line."""
    return ", ".join(f"{login} ({name}), pid {pid}" for pid, login, name in found)


def _report(session: Session, pid: int, blocking: BlockingSessions, stop: Event) -> None:
    due = float("-inf")
    while not stop.wait(LOOK_SECONDS):
        try:
            found = session.execute(_QUERIES["blocking_sessions"], (pid,)).fetchall()
        except psycopg.Error:
            return  # the waiting session has the same error, and reports it
        now = time.monotonic()
        reported = blocking.update(now, [other for other, _, _ in found])
        held = [row for row in found if row[0] in reported]
        if held and now >= due:
            due = now + REPORT_AGAIN_SECONDS
            _LOG.warning(
                "waiting_for_locks",
                held_by=named_sessions(held),
                advice="end the transactions of these sessions, or run pg_terminate_backend(pid)",
            )
