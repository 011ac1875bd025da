"""Deadlines of our own on PostgreSQL sessions.

A server's time limits do not help while the server itself is frozen, or while the network drops
packets. So the client measures how long it has waited: a session whose time is over is closed,
and the caller gets an `Unanswered`, which is an outage like any other. `NETWORK` lets the kernel
give up connections whose other end does not even acknowledge bytes.

All times are in seconds unless a name says otherwise.
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
"""Connection parameters: after some 10 s without an acknowledgement a connection is given up."""

LIVENESS_SECONDS = 10.0
"""After so long without an answer the server is asked, beside the session, whether it is there."""

LIVENESS_CONNECT_SECONDS = 3


class Unanswered(psycopg.OperationalError):
    """The server did not answer in time; the session is closed, and its transaction undone."""


def network_options(url: str) -> dict[str, Any]:
    """Return the parameters of `NETWORK` that the URL leaves open."""
    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        given = {}  # whoever connects is told what is wrong with the URL
    return {name: value for name, value in NETWORK.items() if name not in given}


class Connection(psycopg.Connection[Any]):
    """A blocking session that does not wait for a dead server for ever.

    Every `LIVENESS_SECONDS` of waiting for one answer, the server is asked whether it is there, so
    that a statement may take hours on a server that works on it. A server whose statements are
    short has `answer_seconds` too.
    """

    answer_seconds: float = math.inf
    """The time limit for one answer, even from a server that is alive."""

    def wait(self, gen: PQGen[RV], *args: Any, **kwargs: Any) -> RV:
        """Wait for one answer.

        Raises:
            Unanswered: it took too long, or the server is not there any more.
        """
        began = time.monotonic()
        asked = began

        def check() -> None:
            nonlocal asked
            now = time.monotonic()
            if now - began >= self.answer_seconds:
                raise Unanswered(f"no answer within {self.answer_seconds:g} s")
            if now - asked >= LIVENESS_SECONDS:
                if not self._there():
                    raise Unanswered(f"no answer within {now - began:.0f} s, nor to a new session")
                asked = time.monotonic()

        try:
            return super().wait(_checked(gen, check), *args, **kwargs)
        except Unanswered:
            self.pgconn.finish()
            raise

    def _there(self) -> bool:
        """Return whether the server says anything to a new connection; a refusal counts."""
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
    """An asyncio session with a time by which it must have answered.

    Do not cancel a task that waits for it: psycopg then asks the server to end the statement and
    waits for that, too. `limit` is what ends a wait.
    """

    _answer_by: float = math.inf

    def limit(self, seconds: float) -> None:
        """Set how long all answers from now on may take together."""
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
    """Run `check` whenever psycopg finds nothing to read or write, each 0.1 s or so."""
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
