"""The reaper: jobs that nobody works at any more are said to have failed.

A worker that was killed says nothing. A job *processing* of which the log has not heard for
`stalled_after_seconds` gets a `failed` event with the code `stalled`, appended by one elected
consumer. A worker that was only slow and says `done` afterwards wins, by the ranks of the fold.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import psycopg
import redis
import structlog

from consumers import metrics
from consumers.delivery.group_states import group_states
from sql import queries
from streams.appender import EventAppender
from streams.connection import LogUnavailable
from streams.keys import Keys
from streams.wire import ask, round_trip

_LOG = structlog.get_logger(__name__)
_QUERIES = queries("reaper")

GROUP = "rows"
"""The group whose rows are looked at; a tenant that it is behind with is left for later."""
INTERVAL_SECONDS = 10.0
AT_ONCE = 500
"""Jobs that one run ends at most; every tenant has a share of them."""


class Stalled(NamedTuple):
    """A job that the log has not heard of for too long."""

    tenant: str
    kind: str
    id: str
    attempt: int
    entry_id: str
    """The last that was heard of it."""


class Reaper:
    """One consumer's part in ending stalled jobs.

    Args:
        connect: makes a connection to PostgreSQL in autocommit mode.
        stalled_after_seconds: how long a job may be silent.
    """

    def __init__(
        self,
        client: redis.Redis,
        connect: Callable[[], psycopg.Connection],
        consumer: str,
        *,
        stalled_after_seconds: float,
        keys: Keys | None = None,
        interval_seconds: float = INTERVAL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._connect = connect
        self._consumer = consumer
        self._stalled_after_ms = int(stalled_after_seconds * 1000)
        self._keys = keys or Keys()
        self._appender = EventAppender(client, keys=self._keys)
        self._interval = min(interval_seconds, stalled_after_seconds)
        self._clock = clock
        self._next = float("-inf")

    def due(self) -> bool:
        """Whether it is time to look again."""
        return self._clock() >= self._next

    def run(self) -> None:
        """Look once, if this consumer is the elected one, and end what is stalled."""
        self._next = self._clock() + self._interval
        # Nobody extends it: whoever comes first after an interval looks.
        ms = int(self._interval * 1000)
        if not ask(self._client, "SET", self._keys.reaper(), self._consumer, "NX", "PX", ms):
            return
        found = self._stalled()
        current = self._current(sorted({job.tenant for job in found}))
        for tenant in current:
            self._end(tenant, [job for job in found if job.tenant == tenant])

    def _end(self, tenant: str, jobs: Sequence[Stalled]) -> None:
        """Append the ends of one tenant's jobs; a stream that takes none stops no other tenant."""
        try:
            self._appender.append_many((tenant, self._failed(job)) for job in jobs)
        except LogUnavailable as error:  # the next run tries again
            _LOG.error("stalled_jobs_not_ended", tenant=tenant, error=str(error))
            return
        for job in jobs:
            metrics.STALLED.inc()
            _LOG.warning("job_stalled", tenant=job.tenant, kind=job.kind, id=job.id)

    def _stalled(self) -> list[Stalled]:
        seconds, _ = ask(self._client, "TIME")
        before = int(seconds) * 1000 - self._stalled_after_ms
        with self._connect() as connection:
            rows = connection.execute(_QUERIES["stalled"], (before, AT_ONCE)).fetchall()
        return [Stalled(*row) for row in rows]

    def _current(self, tenants: Sequence[str]) -> set[str]:
        """Give the tenants whose rows show everything that was appended."""
        logs = [self._keys.stream(tenant).encode() for tenant in tenants]
        current = set()
        for tenant, log, states in zip(
            tenants, logs, group_states(self._client, logs), strict=True
        ):
            state = next((state for state in states if state.name == GROUP), None)
            if state is None or state.pending:
                continue
            after = f"({state.last_delivered}"
            (newer,) = round_trip(self._client, [("XRANGE", log, after, "+", "COUNT", 1)])
            if newer == []:
                current.add(tenant)
        return current

    def _failed(self, job: Stalled) -> dict[str, str | int]:
        silent = self._stalled_after_ms // 1000
        return {
            "type": "failed",
            "kind": job.kind,
            "id": job.id,
            "attempt": job.attempt,
            # Whoever appends it, and however often: one event in the history.
            "event_id": f"stalled:{job.attempt}:{job.entry_id}",
            "code": "stalled",
            "error": f"no event for {silent} s: the worker is gone or stuck",
            "worker": self._consumer,
        }
