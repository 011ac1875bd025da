"""The periodic chore that adds up the changes of jobs' figures, for the console of operators.

It also notes in Redis how many jobs are silent, and whether PostgreSQL is unavailable, for the
samples, whose consumer may have no connection to PostgreSQL.

Each transaction that writes `jobs` appends its changes of the figures; until they are added up,
each read of the figures does that itself. Used by `consumers.composition`, for the consumers of the
group `rows`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import orjson
import psycopg
import redis
import structlog

from consumers.chores.election import Election
from consumers.chores.periodic import PeriodicChore
from consumers.faults import is_outage
from consumers.round_trips import server_ms
from sql import queries
from sql.retries import TRANSIENT_ERRORS
from streams.cluster import keys_of
from streams.keys import Keys
from streams.runtime.safe_text import one_line
from streams.wire import ask

_LOG = structlog.get_logger(__name__)
_QUERIES = queries("figures")
_COUNT_SILENT = queries("console")["count_stalled"]

INTERVAL_SECONDS = 30.0
NOTED_INTERVALS = 4
"""The intervals after which a note in Redis is too old."""
AT_ONCE = 20_000
"""Changes in one transaction, which takes about 0.1 s."""
SILENT_AFTER_SECONDS = 900
"""The time without an event after which a job counts as silent, as in the console."""
MAX_EXAMINED = 5_000
"""The jobs that are examined for that, those that have been running the longest."""


class JobFigures(PeriodicChore):
    """One consumer's part in adding up the figures, done while it is elected.

    Args:
        connect: makes a connection to PostgreSQL in autocommit mode.
        silent_after_seconds: the time without an event after which a job is silent.
        clock: returns monotonic seconds.
    """

    name = "job_figures"

    def __init__(
        self,
        client: redis.Redis,
        connect: Callable[[], psycopg.Connection],
        consumer: str,
        *,
        silent_after_seconds: int = SILENT_AFTER_SECONDS,
        keys: Keys | None = None,
        interval_seconds: float = INTERVAL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = keys or keys_of(client)
        election = Election(client, self._keys.job_figures(), consumer, interval_seconds)
        super().__init__(interval_seconds, election=election, clock=clock)
        self._client = client
        self._connect = connect
        self._silent_after_ms = silent_after_seconds * 1000

    def _work(self) -> None:
        try:
            with self._connect() as connection:
                row = connection.execute(_QUERIES["compact"], {"at_once": AT_ONCE}).fetchone()
                silent = self._count_silent(connection)
        except Exception as error:
            if not is_outage(error):
                raise
            _LOG.warning("job_figures_not_compacted", error=one_line(error))
            self._note(away=_is_away(error), silent=None)
            return
        self._note(away=False, silent=silent)
        if row is not None and row[0] == AT_ONCE:
            self.timer.set(0)

    def _count_silent(self, connection: psycopg.Connection) -> int:
        before = server_ms(self._client) - self._silent_after_ms
        values = {"before": before, "examined": MAX_EXAMINED}
        ((silent, _),) = connection.execute(_COUNT_SILENT, values).fetchall()
        return int(silent)

    def _note(self, *, away: bool, silent: int | None) -> None:
        facts = {"at": server_ms(self._client), "away": away, "silent": silent}
        seconds = int(NOTED_INTERVALS * self._interval) + 1
        key = self._keys.database_figures()
        ask(self._client, "SET", key, orjson.dumps(facts), "EX", seconds)


def _is_away(error: Exception) -> bool:
    """Return whether PostgreSQL is unavailable, and not only slow because others hold locks."""
    busy = (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable, *TRANSIENT_ERRORS)
    return isinstance(error, psycopg.OperationalError) and not isinstance(error, busy)
