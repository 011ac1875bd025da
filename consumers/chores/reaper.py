"""The reaper: it ends jobs whose worker has disappeared.

A worker that was killed appends nothing. A *stalled* job is one that is processing and has had no
event for `stalled_after_seconds`: the elected consumer appends a `failed` event with the code
`stalled` for it. If the worker was only slow and appends `done` afterwards, `done` wins, because it
ranks higher in the fold. Used by `consumers.composition`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import psycopg
import redis
import structlog

from consumers import metrics
from consumers.chores.election import Election
from consumers.chores.periodic import PeriodicChore
from consumers.delivery.group_states import group_states
from consumers.round_trips import server_ms
from projections.registry.lookup import HISTORY_GROUP
from sql import queries
from streams.appender import EventAppender
from streams.cluster import keys_of
from streams.connection import LogUnavailable
from streams.entry_ids import range_after
from streams.keys import Keys
from streams.wire import round_trip

_LOG = structlog.get_logger(__name__)
_QUERIES = queries("reaper")

INTERVAL_SECONDS = 10.0
MAX_JOBS = 500
"""The most jobs that one run ends; every tenant has a share of them."""


class Stalled(NamedTuple):
    """A job without an event for too long."""

    tenant: str
    kind: str
    id: str
    attempt: int
    entry_id: str
    """The entry id of its last event."""


class Reaper(PeriodicChore):
    """One consumer's part in ending stalled jobs, done while it is elected.

    Args:
        connect: makes a connection to PostgreSQL in autocommit mode.
        stalled_after_seconds: the time without an event after which a job is stalled.
        clock: returns monotonic seconds.
    """

    name = "reaper"

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
        self._keys = keys or keys_of(client)
        interval = min(interval_seconds, stalled_after_seconds)
        election = Election(client, self._keys.reaper(), consumer, interval)
        super().__init__(interval, election=election, clock=clock)
        self._client, self._connect = client, connect
        self._consumer = consumer
        self._stalled_after_ms = int(stalled_after_seconds * 1000)
        self._appender = EventAppender(client, keys=self._keys)

    def _work(self) -> None:
        found = self._stalled()
        current = self._current(sorted({job.tenant for job in found}))
        for tenant in current:
            self._end(tenant, [job for job in found if job.tenant == tenant])

    def _end(self, tenant: str, jobs: Sequence[Stalled]) -> None:
        """Append the `failed` events of one tenant's jobs; log an error of the tenant's stream."""
        try:
            self._appender.append_many((tenant, self._failed(job)) for job in jobs)
        except LogUnavailable as error:  # the next run tries again
            _LOG.error("stalled_jobs_not_ended", tenant=tenant, error=str(error))
            return
        for job in jobs:
            metrics.STALLED.inc()
            _LOG.warning("job_stalled", tenant=job.tenant, kind=job.kind, id=job.id)

    def _stalled(self) -> list[Stalled]:
        before = server_ms(self._client) - self._stalled_after_ms
        with self._connect() as connection:
            rows = connection.execute(_QUERIES["stalled"], (before, MAX_JOBS)).fetchall()
        return [Stalled(*row) for row in rows]

    def _current(self, tenants: Sequence[str]) -> set[str]:
        """Return the tenants whose rows contain every entry of their stream."""
        streams = [self._keys.stream(tenant).encode() for tenant in tenants]
        current = set()
        for tenant, stream, states in zip(
            tenants, streams, group_states(self._client, streams), strict=True
        ):
            state = next((state for state in states if state.name == HISTORY_GROUP), None)
            if state is None or state.pending:
                continue
            after = range_after(state.last_delivered)
            (newer,) = round_trip(self._client, [("XRANGE", stream, *after, "COUNT", 1)])
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
            # The same id in each attempt to append it: it is one event in the history.
            "event_id": f"stalled:{job.attempt}:{job.entry_id}",
            "code": "stalled",
            "error": f"no event for {silent} s: the worker is gone or stuck",
            "worker": self._consumer,
        }
