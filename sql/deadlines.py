"""Time limits of the client for answers of PostgreSQL.

The time limits of a server have no effect while the server itself is frozen, or while the network
drops packets. So the client measures its waits: a session that exceeds its limit is closed, and the
caller gets an `Unanswered`, which is an outage like any other. With the parameters of `NETWORK` the
kernel closes connections whose other end acknowledges no bytes. The classes of `sql/sessions.py`
are based on those of this module.

All times are in seconds unless a comment says otherwise. Used by `api.jobs.database`,
`sql.sessions` and `sql.url_options`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import psycopg
from psycopg import pq
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo

RV = TypeVar("RV")

NETWORK: Mapping[str, int] = {
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # milliseconds
}
"""Connection parameters: a connection ends after about 10 s without an acknowledgement."""

LIVENESS_SECONDS = 10.0
"""Interval, while an answer is awaited, at which another connection tests if the server is up."""

LIVENESS_CONNECT_SECONDS = 3


class Unanswered(psycopg.OperationalError):
    """The server did not answer in time; the session is closed, and its transaction rolled back."""


def network_options(url: str) -> dict[str, Any]:
    """Return the parameters of `NETWORK` that the URL does not set."""
    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        given = {}  # connecting reports what is wrong with the URL
    return {name: value for name, value in NETWORK.items() if name not in given}


class Connection(psycopg.Connection[Any]):
    """A blocking session that does not wait forever for a dead server.

    A statement may take hours, as long as the server accepts another connection every
    `LIVENESS_SECONDS`. A session of short statements has `answer_seconds`, too.
    """

    answer_seconds: float = math.inf
    """The time limit for one answer, even from a server that is alive."""
    while_waiting: Callable[[], None] = staticmethod(lambda: None)
    """Called about every 0.1 s while an answer is awaited; it must not raise."""

    def wait(self, gen: PQGen[RV], *args: Any, **kwargs: Any) -> RV:
        """Wait for one answer.

        Raises:
            Unanswered: it took too long, or the server is away.
        """
        began = time.monotonic()
        tested = began

        def check() -> None:
            nonlocal tested
            now = time.monotonic()
            if now - began >= self.answer_seconds:
                raise Unanswered(f"no answer within {self.answer_seconds:g} s")
            if now - tested >= LIVENESS_SECONDS:
                if not self._is_server_up():
                    raise Unanswered(f"no answer within {now - began:.0f} s, nor to a new session")
                tested = time.monotonic()
            self.while_waiting()

        try:
            return super().wait(_checked(gen, check), *args, **kwargs)
        except Unanswered:
            self.pgconn.finish()
            raise

    def _is_server_up(self) -> bool:
        """Return True if the server answers a new connection, be it with a refusal."""
        info = self.info
        address = {"hostaddr": info.hostaddr} if info.hostaddr else {}
        conninfo = make_conninfo(
            host=info.host,
            port=info.port,
            dbname=info.dbname,
            user=info.user,
            connect_timeout=LIVENESS_CONNECT_SECONDS,
            **address,
        )
        return pq.PGconn.ping(conninfo.encode()) != pq.Ping.NO_RESPONSE


class AsyncConnection(psycopg.AsyncConnection[Any]):
    """An asyncio session with a time limit for all its answers.

    Do not cancel a task that waits for it: psycopg then requests that the server ends the
    statement, and waits for that, too. Set a `limit` instead.
    """

    _answer_by: float = math.inf

    def limit(self, seconds: float) -> None:
        """Set the time that all answers from now on may take together."""
        self._answer_by = time.monotonic() + seconds

    async def wait(self, gen: PQGen[RV], *args: Any, **kwargs: Any) -> RV:
        """Wait for one answer.

        Raises:
            Unanswered: the time is over.
        """

        def check() -> None:
            if time.monotonic() >= self._answer_by:
                raise Unanswered("no answer in time")

        try:
            return await super().wait(_checked(gen, check), *args, **kwargs)
        except Unanswered:
            self.pgconn.finish()
            raise


def _checked(gen: PQGen[RV], check: Callable[[], None]) -> PQGen[RV]:
    """Call `check` while psycopg finds nothing to read or write, about every 0.1 s."""
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready:
                check()
            wanted = gen.send(ready)
    except StopIteration as end:
        result: RV = end.value
        return result
