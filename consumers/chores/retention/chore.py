"""The periodic chore of retention: trimming all streams and dropping old history.

Used by `consumers.composition`, for the consumers of the group `rows`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import redis
import structlog

from consumers import metrics
from consumers.chores.election import Election
from consumers.chores.periodic import PeriodicChore
from consumers.chores.retention.trimming import trim
from consumers.faults import is_outage
from streams.cluster import keys_of
from streams.discovery import START, scan_streams
from streams.keys import Keys
from streams.runtime.safe_text import one_line
from streams.wire import as_text

_LOG = structlog.get_logger(__name__)

INTERVAL_SECONDS = 60.0
SCAN_CALLS = 50
"""SCANs in one slice of a pass."""


class Retention(PeriodicChore):
    """One consumer's part in retention, done while it is elected.

    A pass over all streams is done in slices, one in each run, so that batches are consumed between
    them. The run after an unfinished slice is due at once.

    Args:
        keep_seconds: the age below which no entry is trimmed.
        drop_history: drops the history that is too old; None keeps all of it.
        clock: returns monotonic seconds.
    """

    name = "retention"

    def __init__(
        self,
        client: redis.Redis,
        consumer: str,
        *,
        keep_seconds: float,
        drop_history: Callable[[], object] | None = None,
        keys: Keys | None = None,
        interval_seconds: float = INTERVAL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = keys or keys_of(client)
        election = Election(client, self._keys.retention(), consumer, interval_seconds)
        super().__init__(interval_seconds, election=election, clock=clock)
        self._client = client
        self._keep_seconds = keep_seconds
        self._drop_history = drop_history
        self._start_pass()

    def _work(self) -> None:
        """Do one slice; the last one of a pass also reports and drops old history."""
        self._trim_slice()
        if self._cursor != START:
            self.timer.set(0)
            return
        self._report()
        self._start_pass()
        self._drop()

    def _drop_state(self) -> None:
        self._start_pass()
        metrics.HELD_BACK.clear()

    def _start_pass(self) -> None:
        self._cursor = START
        self._held_back = dict[str, set[str]]()
        """The tenants whose streams a group holds back, by group; sets, because SCAN may find a
        stream twice."""

    def _trim_slice(self) -> None:
        for _ in range(SCAN_CALLS):
            self._cursor, streams = scan_streams(self._client, self._cursor)
            tenants = [self._keys.tenant_of(as_text(stream)) for stream in streams]
            for one in trim(self._client, self._keys, self._keep_seconds, tenants):
                for group in one.held_by:
                    self._held_back.setdefault(group, set()).add(one.tenant)
            if self._cursor == START:
                return

    def _report(self) -> None:
        metrics.HELD_BACK.clear()
        for group, tenants in self._held_back.items():
            metrics.HELD_BACK.labels(group).set(len(tenants))

    def _drop(self) -> None:
        if self._drop_history is None:
            return
        try:
            self._drop_history()
        except Exception as error:
            if not is_outage(error):
                raise
            _LOG.warning("history_not_dropped", error=one_line(error))
