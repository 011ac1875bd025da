"""The periodic chore that adds up the changes of jobs' figures, for the console of operators.

Each transaction that writes `jobs` appends its changes of the figures; until they are added up,
each read of the figures does that itself. Used by `consumers.composition`, for the consumers of the
group `rows`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import psycopg
import redis
import structlog

from consumers.chores.election import Election
from consumers.chores.periodic import PeriodicChore
from consumers.faults import is_outage
from sql import queries
from streams.cluster import keys_of
from streams.keys import Keys
from streams.runtime.safe_text import one_line

_LOG = structlog.get_logger(__name__)
_QUERIES = queries("figures")

INTERVAL_SECONDS = 30.0
AT_ONCE = 20_000
"""Changes in one transaction, which takes about 0.1 s."""


class JobFigures(PeriodicChore):
    """One consumer's part in adding up the figures, done while it is elected.

    Args:
        connect: makes a connection to PostgreSQL in autocommit mode.
        clock: returns monotonic seconds.
    """

    name = "job_figures"

    def __init__(
        self,
        client: redis.Redis,
        connect: Callable[[], psycopg.Connection],
        consumer: str,
        *,
        keys: Keys | None = None,
        interval_seconds: float = INTERVAL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        keys = keys or keys_of(client)
        election = Election(client, keys.job_figures(), consumer, interval_seconds)
        super().__init__(interval_seconds, election=election, clock=clock)
        self._connect = connect

    def _work(self) -> None:
        try:
            with self._connect() as connection:
                row = connection.execute(_QUERIES["compact"], {"at_once": AT_ONCE}).fetchone()
        except Exception as error:
            if not is_outage(error):
                raise
            _LOG.warning("job_figures_not_compacted", error=one_line(error))
            return
        if row is not None and row[0] == AT_ONCE:
            self.timer.set(0)
