"""Reporting who holds the locks that a session waits for.

Any login that may read a table may keep others from changing its definition: for as long as its
transaction is open, nobody gets the exclusive lock. So a migration that waits names the sessions in
its way, again and again, until an operator has ended them or they end by themselves.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from threading import Event, Thread

import psycopg
import structlog

from sql import queries
from sql.sessions import Session, connect

_LOG = structlog.get_logger(__name__)
_QUERIES = queries("waits")

LOOK_SECONDS = 0.1
"""The interval at which the server is asked who is in the way."""
REPORT_AFTER_SECONDS = 2.0
"""The time for which a session is in the way before it is named: most locks are held for less."""
REPORT_AGAIN_SECONDS = 30.0


class InTheWay:
    """The sessions that are in the way, and since when.

    Who waits by trying again waits for nobody between two tries. So a session is gone only once it
    was absent at every look for longer than such a pause; a writer, whose transactions are short,
    is absent during most of a try as well.

    Args:
        report_after: the seconds after which a session is reported.
        gone_after: the seconds of absence after which it is gone.
    """

    def __init__(self, report_after: float, gone_after: float) -> None:
        self._report_after = report_after
        self._gone_after = gone_after
        self._since = dict[int, float]()
        self._absent_since = dict[int, float]()

    def look(self, now: float, found: Collection[int]) -> set[int]:
        """Take the sessions in the way now, and return those of them to report."""
        for pid in self._since.keys() - set(found):
            if now - self._absent_since.setdefault(pid, now) > self._gone_after:
                del self._since[pid], self._absent_since[pid]
        for pid in found:
            self._since.setdefault(pid, now)
            self._absent_since.pop(pid, None)
        return {pid for pid in found if now - self._since[pid] >= self._report_after}


@contextmanager
def reported_waits(waiting: Session, pause: float) -> Iterator[None]:
    """Log the sessions that `waiting` waits for, as long as the block lasts.

    `pause` is the time, in seconds, between two tries of `waiting` to get its locks.

    It looks from a thread and with a session of its own, whose transactions are short: CREATE INDEX
    CONCURRENTLY waits for every transaction that is open when it begins.
    """
    stop, pid = Event(), waiting.info.backend_pid
    # A try comes to its lock a moment after it began.
    in_the_way = InTheWay(REPORT_AFTER_SECONDS, pause + LOOK_SECONDS)
    with connect(waiting.url, "jobtrail-waits", connect_seconds=10, read_only=True) as session:
        session.settle()
        thread = Thread(target=_report, args=(session, pid, in_the_way, stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def _report(session: Session, pid: int, in_the_way: InTheWay, stop: Event) -> None:
    due = float("-inf")
    while not stop.wait(LOOK_SECONDS):
        try:
            found = session.execute(_QUERIES["in_the_way"], (pid,)).fetchall()
        except psycopg.Error:
            return  # the session that waits meets the same, and reports it
        now = time.monotonic()
        reported = in_the_way.look(now, [other for other, _, _ in found])
        held = [row for row in found if row[0] in reported]
        if held and now >= due:
            due = now + REPORT_AGAIN_SECONDS
            _LOG.warning(
                "waiting_for_locks",
                held_by=", ".join(f"{login} ({name}), pid {other}" for other, login, name in held),
                advice="end the transactions of these sessions, or run pg_terminate_backend(pid)",
            )
