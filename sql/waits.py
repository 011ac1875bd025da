"""Reporting who holds the locks that a session waits for.

Any login that may read a table may keep others from changing its definition: for as long as its
transaction is open, nobody gets the exclusive lock. So a migration that waits names the sessions in
its way, again and again, until an operator has ended them or they end by themselves.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
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


@contextmanager
def reported_waits(waiting: Session) -> Iterator[None]:
    """Log the sessions that `waiting` waits for, as long as the block lasts.

    It looks from a thread and with a session of its own, whose transactions are short: CREATE INDEX
    CONCURRENTLY waits for every transaction that is open when it begins.
    """
    stop, pid = Event(), waiting.info.backend_pid
    with connect(waiting.url, "jobtrail-waits", connect_seconds=10, read_only=True) as session:
        session.settle()
        thread = Thread(target=_report, args=(session, pid, stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def _report(session: Session, pid: int, stop: Event) -> None:
    since, due = dict[int, float](), float("-inf")
    while not stop.wait(LOOK_SECONDS):
        try:
            found = session.execute(_QUERIES["in_the_way"], (pid,)).fetchall()
        except psycopg.Error:
            return  # the session that waits meets the same, and reports it
        now = time.monotonic()
        for other, _, _ in found:
            since.setdefault(other, now)
        held = [row for row in found if now - since[row[0]] >= REPORT_AFTER_SECONDS]
        if held and now >= due:
            due = now + REPORT_AGAIN_SECONDS
            _LOG.warning(
                "waiting_for_locks",
                held_by=", ".join(f"{login} ({name}), pid {other}" for other, login, name in held),
                advice="end the transactions of these sessions, or run pg_terminate_backend(pid)",
            )
